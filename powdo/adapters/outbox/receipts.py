"""What the DVM has answered: which bundles it has, which it refuses, and what it stated of each.

Rules:
- a receipt that says "stored" ends the wait of its bundle, however far a second sending has come;
- one that says "refused" counts for what was sent whole, and never undoes one that says "stored".
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from powdo.adapters.outbox.decisions import Decisions

if TYPE_CHECKING:
    from powdo.records.receipt import Receipt


class Sent(NamedTuple):
    """A rumor that announced *capture*, and the pubkeys of those it was wrapped for."""

    capture: str
    recipients: frozenset[str]


class Receipts(Decisions):
    """The receipts of the outbox."""

    def sent(self, rumor: str) -> Sent | None:
        """Return what *rumor* announced, or None when it is not ours."""
        rows = self._query("SELECT capture, recipient FROM sent WHERE rumor = ?", rumor)
        return Sent(rows[0]["capture"], frozenset(row["recipient"] for row in rows)) if rows else None

    def add_receipt(self, receipt: Receipt, dvm: str, *, now: int) -> None:
        """Store *receipt* by the pubkey *dvm*, its signature checked, and let its capture stand there."""
        stored = receipt.status != "error"
        with self._transaction() as db:
            known = db.execute(
                "SELECT stored FROM receipt WHERE capture = ? AND dvm = ?", (receipt.id, dvm)
            ).fetchone()
            if known is not None and known["stored"] and not stored:
                return
            # The first day counts: what is kept after a receipt is not kept anew because it came again.
            at = "min(at, excluded.at)" if known is not None and known["stored"] else "excluded.at"
            db.execute(
                "INSERT INTO receipt VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "  # noqa: S608 - one of two texts of ours
                f"stored = excluded.stored, record = excluded.record, at = {at}",
                (receipt.id, dvm, stored, json.dumps(receipt.to_json()), now),
            )
            if stored:
                _acknowledge(db, receipt.id)
            else:
                db.execute(
                    "UPDATE capture SET state = 'rejected', error = ? WHERE id = ? AND state = 'published'",
                    (receipt.reason, receipt.id),
                )

    def receipts(self, capture_id: str) -> list[dict[str, Any]]:
        """Return the receipts of *capture_id* as records in JSON, the oldest first."""
        rows = self._query("SELECT record FROM receipt WHERE capture = ? ORDER BY at, dvm", capture_id)
        return [json.loads(row["record"]) for row in rows]

    def all_receipts(self) -> Iterator[dict[str, Any]]:
        """Yield all receipts as records in JSON, the oldest first."""
        for row in self._query("SELECT capture FROM receipt GROUP BY capture ORDER BY min(at), capture"):
            yield from self.receipts(row["capture"])


def _acknowledge(db: sqlite3.Connection, capture_id: str) -> None:
    db.execute(
        "UPDATE capture SET state = 'acknowledged', attempts = 0, retry_at = 0, error = NULL WHERE id = ? "
        "AND state IN ('bundled', 'uploaded', 'wrapped', 'published', 'rejected')",
        (capture_id,),
    )
    db.execute("DELETE FROM wrap WHERE capture = ? AND published IS NULL", (capture_id,))
    db.execute("DELETE FROM resent WHERE capture = ?", (capture_id,))
