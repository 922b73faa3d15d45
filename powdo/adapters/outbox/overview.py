"""The outbox at a glance: from indexes alone, so that it takes no longer with ten thousand captures."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from powdo.adapters.outbox.asking import Asking
from powdo.adapters.outbox.captures import Entry

if TYPE_CHECKING:
    from powdo.worktime.intervals import Interval

STATES = ("captured", "bundled", "uploaded", "wrapped", "published", "acknowledged", "rejected", "withheld")

_FAILED_CAPTURES = (
    "SELECT count(*) AS count, min(retry_at) AS at FROM capture WHERE state = ? AND attempts > 0",
    "SELECT error FROM capture WHERE state = ? AND attempts > 0 ORDER BY retry_at DESC LIMIT 1",
)
_FAILED_WRAPS = (
    "SELECT count(*) AS count, min(retry_at) AS at FROM wrap WHERE published IS NULL AND attempts > 0",
    "SELECT error FROM wrap WHERE published IS NULL AND attempts > 0 ORDER BY retry_at DESC LIMIT 1",
)


class Queue(NamedTuple):
    """How many captures are in *state*, the oldest from when, and what the latest failure said."""

    state: str
    captures: int
    oldest: int | None
    failed: int
    retry_at: int | None
    error: str | None


class Overview(Asking):
    """What `status` and `today` ask."""

    def queues(self) -> list[Queue]:
        """Return a queue a state, in the order of the pipeline."""
        rows = self._query(
            "SELECT state, count(*) AS count, min(created) AS oldest FROM capture GROUP BY state"
        )
        found = {row["state"]: row for row in rows}
        return [
            self._queue(state, found[state]["count"], found[state]["oldest"])
            if state in found
            else self._queue(state, 0, None)
            for state in STATES
        ]

    def _queue(self, state: str, count: int, oldest: int | None) -> Queue:
        # What is wrapped fails a wrap at a time, everything before it a capture at a time.
        counted, latest = _FAILED_WRAPS if state == "wrapped" else _FAILED_CAPTURES
        values = () if state == "wrapped" else (state,)
        failed = self._query(counted, *values)[0]
        errors = self._query(latest, *values)
        return Queue(
            state=state,
            captures=count,
            oldest=oldest,
            failed=failed["count"],
            retry_at=failed["at"],
            error=errors[0]["error"] if errors else None,
        )

    def latest_refusal(self) -> str | None:
        """Return why the DVM refuses the capture it refused last, None when it refuses none."""
        rows = self._query(
            "SELECT error FROM receipt JOIN capture ON capture.id = receipt.capture "
            "WHERE capture.state = 'rejected' ORDER BY receipt.at DESC LIMIT 1"
        )
        return rows[0]["error"] if rows else None

    def held(self, since: int) -> tuple[int, int | None]:
        """Return how many captures made after the unix second *since* nobody released, and the oldest's."""
        rows = self._query(
            "SELECT count(*) AS count, min(created) AS oldest FROM capture WHERE state = 'captured' "
            "AND created > ? AND id NOT IN (SELECT capture FROM released)",
            since,
        )
        return rows[0]["count"], rows[0]["oldest"]

    def failed_wraps(self) -> dict[str, tuple[int, str]]:
        """Return by capture when its wraps that could not be published are tried again, and why."""
        rows = self._query(
            "SELECT capture, max(retry_at) AS at, error FROM wrap WHERE published IS NULL AND attempts > 0 "
            "GROUP BY capture"
        )
        return {row["capture"]: (row["at"], row["error"]) for row in rows}

    def released(self) -> frozenset[str]:
        """Return the ids of captures that somebody released though they were held."""
        return frozenset(row["capture"] for row in self._query("SELECT capture FROM released"))

    def last_capture(self) -> Entry | None:
        """Return the capture that was made last, or None."""
        rows = self._query("SELECT id FROM capture ORDER BY created DESC, rowid DESC LIMIT 1")
        return self.get(rows[0]["id"]) if rows else None

    def captured_since(self, created: int) -> list[Entry]:
        """Return the captures made since the unix second *created*, by device and sequence."""
        # Without the + SQLite would read all there are, in the order that is asked for.
        rows = self._query("SELECT id FROM capture WHERE created >= ? ORDER BY +device, sequence", created)
        return [self.known(row["id"]) for row in rows]

    def pauses(self, since: int) -> tuple[Interval, ...]:
        """Return the pauses that were in force after *since*, microseconds."""
        return self._intervals("pause", since)
