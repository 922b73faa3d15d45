"""What no receipt covers is sent again, and what one covers is kept no longer than is wished.

Rules:
- after each sending twice as long is waited for a receipt; after RESENDS times a person is told, and nothing
  more is sent by itself;
- nothing of a capture is removed before its receipt is there and each of its wraps at a relay; then bundle
  and key go, and the key is overwritten; links, statements and the rows stay.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from typing import NamedTuple

from powdo.adapters.outbox.captures import Entry
from powdo.adapters.outbox.receipts import Receipts
from powdo.errors import BadRecordError, OutputError
from powdo.settings.paths import fsync_path

#: So often a bundle is sent again by itself: after 1, 2, 4 and 8 times what is waited first.
RESENDS = 4
_RESENT = ("uploaded", "wrapped", "published", "acknowledged", "rejected")

#: What was published, when last, and how often it was sent again by itself; by a wrap's index.
_UNANSWERED = (
    "SELECT capture.id AS id, max(wrap.published) AS sent, coalesce(resent.times, 0) AS times, "
    "coalesce(resent.told, 0) AS told FROM capture JOIN wrap ON wrap.capture = capture.id "
    "LEFT JOIN resent ON resent.capture = capture.id WHERE capture.state = 'published' "
    "AND wrap.published IS NOT NULL GROUP BY capture.id ORDER BY sent, capture.id"
)


class Unanswered(NamedTuple):
    """A capture that was published at *sent* (unix) and has no receipt yet.

    It is sent again at *again*, or by nobody but a person, who is to be told once it is *overdue*.
    """

    id: str
    sent: int
    times: int
    again: int | None
    overdue: bool
    told: bool


class Resending(Receipts):
    """The outbox as receipts have it."""

    def unanswered(self, *, now: int, after: int) -> list[Unanswered]:
        """Return what no receipt covers, the longest first; *after* seconds are waited for the first time."""
        found = []
        for row in self._query(_UNANSWERED):
            last = row["times"] >= RESENDS
            again = row["sent"] + (after << row["times"]) if after and not last else None
            overdue = last and row["sent"] + after <= now
            found.append(Unanswered(row["id"], row["sent"], row["times"], again, overdue, bool(row["told"])))
        return found

    def resend_due(self, *, now: int, after: int) -> list[str]:
        """Make what waited long enough for its receipt wait for upload and wrap again; return the ids.

        Hold the locks `upload` and `wrap`.
        """
        sent = []
        for item in self.unanswered(now=now, after=after):
            if item.again is None or item.again > now:
                continue
            kept = self.bundle_path(item.id).is_file()
            with self._transaction() as db:
                entry = self.known(item.id)
                if entry.state != "published":
                    continue  # its receipt has come meanwhile
                db.execute(
                    "INSERT INTO resent VALUES (?, ?, 0) ON CONFLICT DO UPDATE SET times = excluded.times",
                    # Of a bundle that somebody removed all that is left to do is to tell.
                    (item.id, item.times + 1 if kept else RESENDS),
                )
                if kept:
                    again(db, entry)
                    sent.append(item.id)
        return sent

    def resend(self, capture_id: str) -> None:
        """Make the bundle of *capture_id* wait for upload and wrap again, and count its waits anew.

        Hold the locks `upload` and `wrap`. Raises: BadRecordError.
        """
        entry = self.known(capture_id)
        if entry.state == "bundled":  # it waits already, and an early receipt is not what is asked for now
            with self._transaction() as db:
                db.execute("DELETE FROM early WHERE capture = ?", (capture_id,))
            return
        if entry.state not in _RESENT or entry.bundle is None:
            raise BadRecordError(f"capture '{capture_id}' is '{entry.state}' and was not sent")
        if not self.bundle_path(capture_id).is_file():
            raise BadRecordError(f"the bundle of '{capture_id}' is not kept any more")
        with self._transaction() as db:
            db.execute("DELETE FROM resent WHERE capture = ?", (capture_id,))
            again(db, entry)

    def mark_person_told(self, captures: list[str]) -> None:
        """Store that a person was told that no receipt comes for *captures*."""
        with self._transaction() as db:
            db.executemany("UPDATE resent SET told = 1 WHERE capture = ?", [(item,) for item in captures])

    # --- what is kept ---

    def expire(self, *, before: int) -> list[str]:
        """Destroy the bundles and keys of what was acknowledged up to *before* (unix); return the ids.

        Hold the locks `upload` and `wrap`. Raises: OutputError.
        """
        rows = self._query(
            # CROSS: from what is kept to its receipts; there are receipts of all that was ever sent.
            "SELECT DISTINCT capture.id AS id FROM capture "
            "CROSS JOIN receipt ON receipt.capture = capture.id "
            "WHERE capture.state = 'acknowledged' AND capture.key IS NOT NULL "
            "AND receipt.stored AND receipt.at <= ? AND NOT EXISTS "
            "(SELECT 1 FROM wrap WHERE wrap.capture = capture.id AND wrap.published IS NULL)",
            before,
        )
        ids = [str(row["id"]) for row in rows]
        if not ids:
            return []
        try:
            for capture_id in ids:
                self.bundle_path(capture_id).unlink(missing_ok=True)
            fsync_path(self.bundles)
        except OSError as error:
            raise OutputError(f"cannot remove a bundle in '{self.bundles}': {error.strerror}") from None
        with self._transaction() as db:
            for capture_id in ids:
                db.execute("UPDATE capture SET key = NULL WHERE id = ?", (capture_id,))
                # The worker's own copy holds the key, sealed for the access key.
                own = "SELECT id FROM wrap WHERE capture = ?"
                db.execute(f"DELETE FROM delivery WHERE wrap IN ({own})", (capture_id,))  # noqa: S608 - our own text
                db.execute("DELETE FROM wrap WHERE capture = ?", (capture_id,))
        self._query("PRAGMA wal_checkpoint(TRUNCATE)")  # an old page in the log still holds the keys
        return ids


def again(db: sqlite3.Connection, entry: Entry) -> None:
    """Let *entry*, which has a bundle, wait for upload; a copy for the worker that no relay has stays."""
    assert entry.bundle is not None
    if entry.state != "uploaded":
        db.execute("INSERT OR IGNORE INTO sealed VALUES (?)", (entry.capture.id,))
    db.execute("DELETE FROM early WHERE capture = ?", (entry.capture.id,))
    db.execute(
        "DELETE FROM wrap WHERE capture = ? AND published IS NULL "
        "AND recipient IN (SELECT recipient FROM sent WHERE sent.capture = wrap.capture)",
        (entry.capture.id,),
    )
    db.execute(
        "UPDATE capture SET state = 'bundled', bundle = ?, attempts = 0, retry_at = 0, error = NULL "
        "WHERE id = ?",
        (json.dumps(replace(entry.bundle, blobs=()).to_json()), entry.capture.id),
    )
