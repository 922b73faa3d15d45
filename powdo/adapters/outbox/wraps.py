"""Gift wraps in the outbox: one a recipient, until the primary relay has said OK."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from powdo.adapters.outbox.captures import FIRST_RETRY, LONGEST_RETRY
from powdo.adapters.outbox.events import Events
from powdo.adapters.outbox.receipts import settle

#: A wrap's back-dating must stay inside what listeners ask for, so an unsent one is made anew.
STALE_WRAP_SECONDS = 24 * 3600
#: What lies so far in the future was noted while the clock was wrong.
_CLOCK_SLACK = 60


class Wrap(NamedTuple):
    """One gift wrap: its *event* as a JSON object, and when (unix) it was made and published."""

    id: str
    capture: str
    recipient: str
    event: dict[str, Any]
    created: int
    published: int | None


class Delivery(NamedTuple):
    """What one relay said of one wrap."""

    relay: str
    accepted: bool
    message: str


def _wrap(row: sqlite3.Row) -> Wrap:
    return Wrap(
        id=row["id"],
        capture=row["capture"],
        recipient=row["recipient"],
        event=json.loads(row["event"]),
        created=row["created"],
        published=row["published"],
    )


class Outbox(Events):
    """The whole outbox."""

    def add_wraps(
        self,
        capture_id: str,
        wraps: Sequence[tuple[str, Mapping[str, Any]]],
        *,
        now: int,
        rumor: str | None = None,
        addressees: Sequence[str] = (),
    ) -> list[Wrap]:
        """Store (recipient, event) pairs as the wraps of *capture_id*; unpublished older ones give way.

        All hold *rumor*; of the *addressees* a receipt for it is believed.
        """
        with self._transaction() as db:
            if rumor is not None:
                db.executemany(
                    "INSERT OR IGNORE INTO sent VALUES (?, ?, ?)",
                    [(rumor, pubkey, capture_id) for pubkey in addressees],
                )
            db.execute("INSERT OR IGNORE INTO sealed VALUES (?)", (capture_id,))
            db.execute("DELETE FROM wrap WHERE capture = ? AND published IS NULL", (capture_id,))
            db.executemany(
                "INSERT INTO wrap (id, capture, recipient, event, created) VALUES (?, ?, ?, ?, ?)",
                [
                    (event["id"], capture_id, recipient, json.dumps(event, ensure_ascii=False), now)
                    for recipient, event in wraps
                ],
            )
            db.execute(
                # A receipt may have come meanwhile.
                "UPDATE capture SET attempts = 0, retry_at = 0, error = NULL, "
                "state = CASE state WHEN 'acknowledged' THEN state ELSE 'wrapped' END WHERE id = ?",
                (capture_id,),
            )
            settle(db, capture_id)
        return self.wraps(capture_id)

    def wraps(self, capture_id: str) -> list[Wrap]:
        """Return the wraps of *capture_id*."""
        return [
            _wrap(row)
            for row in self._query("SELECT * FROM wrap WHERE capture = ? ORDER BY rowid", capture_id)
        ]

    def wrap(self, event_id: str) -> Wrap | None:
        """Return the wrap *event_id*, or None when it is not ours."""
        rows = self._query("SELECT * FROM wrap WHERE id = ?", event_id)
        return _wrap(rows[0]) if rows else None

    def set_right(self, *, now: int) -> None:
        """Count what was noted while the clock was ahead from *now* on; wraps of that time grow stale."""
        ahead = now + _CLOCK_SLACK
        late = now + LONGEST_RETRY + _CLOCK_SLACK
        found = self._query(
            "SELECT EXISTS (SELECT 1 FROM capture WHERE created > ?) OR EXISTS (SELECT 1 FROM capture "
            "WHERE state IN ('captured', 'bundled', 'uploaded') AND attempts > 0 AND retry_at > ?) OR EXISTS "
            "(SELECT 1 FROM wrap WHERE published IS NULL AND created > ?) OR EXISTS "
            "(SELECT 1 FROM wrap WHERE published IS NULL AND attempts > 0 AND retry_at > ?) OR EXISTS "
            "(SELECT 1 FROM wrap WHERE published > ?) OR EXISTS "
            "(SELECT 1 FROM receipt WHERE stored AND at > ?) AS any",
            *(ahead, late, ahead, late, ahead, ahead),
        )
        if not found[0]["any"]:
            return
        with self._transaction() as db:
            db.execute("UPDATE capture SET created = ? WHERE created > ?", (now, ahead))
            db.execute("UPDATE capture SET retry_at = ? WHERE retry_at > ?", (now, late))
            # Dates of seal and wrap lie ahead too, so relays may refuse them and listeners not ask for them.
            stale = now - STALE_WRAP_SECONDS - 1
            db.execute("UPDATE wrap SET created = ? WHERE created > ? AND published IS NULL", (stale, ahead))
            db.execute("UPDATE wrap SET retry_at = ? WHERE retry_at > ?", (now, late))
            db.execute("UPDATE wrap SET published = ? WHERE published > ?", (now, ahead))
            db.execute("UPDATE receipt SET at = ? WHERE at > ?", (now, ahead))

    def stale_captures(self, *, now: int) -> list[str]:
        """Return the ids of captures with an unpublished wrap older than STALE_WRAP_SECONDS."""
        rows = self._query(
            # What waits for upload or wrap gets fresh ones on its way.
            "SELECT DISTINCT wrap.capture FROM wrap JOIN capture ON capture.id = wrap.capture "
            "WHERE published IS NULL AND wrap.created < ? AND state NOT IN ('bundled', 'uploaded') "
            "ORDER BY wrap.created",
            now - STALE_WRAP_SECONDS,
        )
        return [row["capture"] for row in rows]

    def unpublished(self, *, now: int) -> Iterator[Wrap]:
        """Yield the wraps that wait for `publish`, what failed last, else the oldest first; no stale ones."""
        rows = self._query(
            "SELECT id FROM wrap WHERE published IS NULL AND created >= ? ORDER BY attempts, created, rowid",
            now - STALE_WRAP_SECONDS,
        )
        for row in rows:
            wrap = self.wrap(row["id"])
            if wrap is not None and wrap.published is None:
                yield wrap

    def mark_published(self, event_id: str, deliveries: Sequence[Delivery], *, done: bool, now: int) -> None:
        """Store what the relays said; *done* when the primary relay has the wrap."""
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO delivery VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "accepted = excluded.accepted, message = excluded.message, at = excluded.at",
                [(event_id, item.relay, item.accepted, item.message, now) for item in deliveries],
            )
            if not done:
                return
            db.execute(
                "UPDATE wrap SET published = coalesce(published, ?), error = NULL WHERE id = ?",
                (now, event_id),
            )
            for row in db.execute("SELECT capture FROM wrap WHERE id = ?", (event_id,)).fetchall():
                settle(db, row["capture"])

    def deliveries(self, event_id: str) -> list[Delivery]:
        """Return what the relays said of *event_id*."""
        return [
            Delivery(row["relay"], bool(row["accepted"]), row["message"])
            for row in self._query("SELECT * FROM delivery WHERE wrap = ? ORDER BY rowid", event_id)
        ]

    def defer_wrap(self, event_id: str, error: str, *, now: int) -> None:
        """Remember that publishing *event_id* failed for now; the delay to the next try doubles."""
        with self._transaction() as db:
            db.execute(
                "UPDATE wrap SET error = ?, attempts = attempts + 1, "
                "retry_at = ? + min(? * (1 << min(attempts, 10)), ?) WHERE id = ?",
                (error, now, FIRST_RETRY, LONGEST_RETRY, event_id),
            )
