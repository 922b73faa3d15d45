"""What the DVM has answered: which bundles it has, which it refuses, and what it stated of each.

Rules:
- a receipt that says "stored" ends the wait of its bundle, however far a second sending has come;
- one that says "refused" counts for what was wrapped, and never undoes one that says "stored";
- a receipt ends the wait of its own DVM's wrap alone: what else waits for a relay, the worker's own copy
  above all, goes there first. Until then the receipt is early, and the capture stays where it stands.
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
                db.execute(
                    "DELETE FROM wrap WHERE capture = ? AND recipient = ? AND published IS NULL",
                    (receipt.id, dvm),
                )
                db.execute("DELETE FROM resent WHERE capture = ?", (receipt.id,))
            db.execute(
                "INSERT OR IGNORE INTO early SELECT id, ? FROM capture WHERE id = ? AND (state IN "
                "('wrapped', 'published') OR (? AND state IN ('bundled', 'uploaded', 'rejected')))",
                (dvm, receipt.id, stored),
            )
            settle(db, receipt.id)

    def has_it(self, capture_id: str) -> frozenset[str]:
        """Return the pubkeys of DVMs that have *capture_id*, while other wraps of it are still to be sent."""
        rows = self._query(
            "SELECT dvm FROM early JOIN receipt USING (capture, dvm) WHERE capture = ? AND stored", capture_id
        )
        return frozenset(row["dvm"] for row in rows)

    def receipts(self, capture_id: str) -> list[dict[str, Any]]:
        """Return the receipts of *capture_id* as records in JSON, the oldest first."""
        rows = self._query("SELECT record FROM receipt WHERE capture = ? ORDER BY at, dvm", capture_id)
        return [json.loads(row["record"]) for row in rows]

    def all_receipts(self) -> Iterator[dict[str, Any]]:
        """Yield all receipts as records in JSON, the oldest first."""
        for row in self._query("SELECT capture FROM receipt GROUP BY capture ORDER BY min(at), capture"):
            yield from self.receipts(row["capture"])


def settle(db: sqlite3.Connection, capture_id: str) -> None:
    """Once no wrap of *capture_id* waits for a relay, let it stand where its early receipts say, or none."""
    waits = db.execute(
        "SELECT 1 FROM wrap WHERE capture = ? AND published IS NULL LIMIT 1", (capture_id,)
    ).fetchone()
    if waits is not None:
        return
    answer = db.execute(
        "SELECT stored, json_extract(record, '$.reason') AS reason FROM early "
        "JOIN receipt USING (capture, dvm) WHERE capture = ? ORDER BY stored DESC, at DESC LIMIT 1",
        (capture_id,),
    ).fetchone()
    if answer is None:
        db.execute("UPDATE capture SET state = 'published' WHERE id = ? AND state = 'wrapped'", (capture_id,))
    elif answer["stored"]:
        db.execute(
            "UPDATE capture SET state = 'acknowledged', attempts = 0, retry_at = 0, error = NULL "
            "WHERE id = ? AND state IN ('bundled', 'uploaded', 'wrapped', 'published', 'rejected')",
            (capture_id,),
        )
    else:
        db.execute(
            "UPDATE capture SET state = 'rejected', error = ? "
            "WHERE id = ? AND state IN ('wrapped', 'published')",
            (answer["reason"], capture_id),
        )
    db.execute("DELETE FROM early WHERE capture = ?", (capture_id,))
