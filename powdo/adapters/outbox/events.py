"""Events that are no gift wraps: those that wait for the primary relay, and the latest of some.

What `publish` is given is kept here before it is sent and forgotten once the primary relay has it. Of what is
counted from tracked time, and of profiles made with their user, the latest event of each address (NIP-01) is
kept too, so that the same wish gives the same event.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from powdo.adapters.outbox.captures import FIRST_RETRY, LONGEST_RETRY
from powdo.adapters.outbox.overview import Overview

if TYPE_CHECKING:
    from powdo.nips.event import Event


class Waiting(NamedTuple):
    """One event that waits: as a JSON object, and whether it may go to fan-out relays."""

    id: str
    event: dict[str, Any]
    public: bool
    created: int
    error: str | None


def _waiting(row: sqlite3.Row) -> Waiting:
    return Waiting(row["id"], json.loads(row["event"]), bool(row["public"]), row["created"], row["error"])


class Events(Overview):
    """The events of the outbox."""

    def keep_event(self, event: Event, *, public: bool, now: int) -> bool:
        """Keep *event* until the primary relay has it; return whether it may go to fan-out relays.

        That stays so once it may. An earlier event that it replaces (NIP-01) waits no longer.
        """
        from powdo.nips.actions import address_of

        address = address_of(event)
        with self._transaction() as db:
            _keep(db, event, address, public=public, now=now)
            row = db.execute("SELECT public FROM event WHERE id = ?", (event.id,)).fetchone()
            return bool(row["public"])

    def waiting_events(self) -> Iterator[Waiting]:
        """Yield the events that wait, those that failed before last; what has gone meanwhile is left out."""
        for row in self._query("SELECT id FROM event ORDER BY attempts > 0, created, rowid"):
            found = self.waiting_event(row["id"])
            if found is not None:
                yield found

    def waiting_event(self, event_id: str) -> Waiting | None:
        """Return the event *event_id* if it waits."""
        rows = self._query("SELECT * FROM event WHERE id = ?", event_id)
        return _waiting(rows[0]) if rows else None

    def events_that_wait(self) -> tuple[int, int | None, int | None, str | None]:
        """Return how many events wait, since when, when the next is due, and what the latest failure said."""
        row = self._query(
            "SELECT count(*) AS count, min(created) AS oldest, "
            "min(CASE WHEN attempts > 0 THEN retry_at END) AS due FROM event"
        )[0]
        failed = self._query("SELECT error FROM event WHERE attempts > 0 ORDER BY retry_at DESC LIMIT 1")
        return row["count"], row["oldest"], row["due"], failed[0]["error"] if failed else None

    def defer_event(self, event_id: str, error: str, *, now: int) -> None:
        """Remember that sending *event_id* failed for now; the delay to the next try doubles."""
        with self._transaction() as db:
            db.execute(
                "UPDATE event SET error = ?, attempts = attempts + 1, "
                "retry_at = ? + min(? * (1 << min(attempts, 10)), ?) WHERE id = ?",
                (error, now, FIRST_RETRY, LONGEST_RETRY, event_id),
            )

    def forget_event(self, event_id: str) -> None:
        """End the wait of *event_id*."""
        with self._transaction() as db:
            db.execute("DELETE FROM event WHERE id = ?", (event_id,))

    def next_event_retry(self, *, now: int) -> float | None:
        """Return the unix time at which the events that failed are worth another look, or None."""
        at = self._query("SELECT min(retry_at) AS at FROM event WHERE attempts > 0")[0]["at"]
        return None if at is None else float(min(at, now + LONGEST_RETRY))  # the clock may have been ahead

    # --- what was signed last ---

    def signed(self, address: str) -> dict[str, Any] | None:
        """Return the latest event that was signed for *address*, or None."""
        rows = self._query("SELECT event FROM signed WHERE address = ?", address)
        return json.loads(rows[0]["event"]) if rows else None

    def keep_signed(self, address: str, event: Mapping[str, Any]) -> None:
        """Keep *event* as the latest one of *address*."""
        with self._transaction() as db:
            _keep_signed(db, address, event)

    def keep_to_send(self, address: str, event: Event, *, now: int) -> None:
        """Keep *event* as the latest one of *address* and for the primary relay, both or none."""
        with self._transaction() as db:
            _keep_signed(db, address, event.to_json())
            _keep(db, event, address, public=True, now=now)


def _keep(db: sqlite3.Connection, event: Event, address: str | None, *, public: bool, now: int) -> None:
    if address is not None:
        db.execute(
            "DELETE FROM event WHERE address = ? AND json_extract(event, '$.created_at') < ?",
            (address, event.created_at),
        )
    db.execute(
        "INSERT INTO event (id, address, event, public, created) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET public = max(public, excluded.public)",
        (event.id, address, json.dumps(event.to_json(), ensure_ascii=False), public, now),
    )


def _keep_signed(db: sqlite3.Connection, address: str, event: Mapping[str, Any]) -> None:
    db.execute(
        "INSERT INTO signed VALUES (?, ?) ON CONFLICT DO UPDATE SET event = excluded.event",
        (address, json.dumps(event, ensure_ascii=False)),
    )
