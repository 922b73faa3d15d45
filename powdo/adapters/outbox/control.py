"""Pauses and overrides of the hours, in microseconds since the epoch; what is stored is never taken back.

Each is in force until its end, an open one until FOREVER. The latest word counts: a new one ends what
was in force.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from powdo.adapters.outbox.base import Store

if TYPE_CHECKING:
    from powdo.worktime.hours import Control, Offset, Range
    from powdo.worktime.intervals import Interval


class Controls(Store):
    """What the worker said of when to capture."""

    def pause(self, now: int, end: int | None = None) -> None:
        """Store that nothing is captured from *now* on, up to *end* or until `resume`."""
        from powdo.worktime.hours import FOREVER

        with self._transaction() as db:
            self._end("pause", now)
            db.execute("INSERT INTO control VALUES ('pause', ?, ?)", (now, FOREVER if end is None else end))

    def resume(self, now: int, until: int | None = None) -> None:
        """End the pause that is in force; up to *until* capture whatever the hours."""
        with self._transaction() as db:
            self._end("pause", now)
            if until is not None:
                self._end("override", now)
                db.execute("INSERT INTO control VALUES ('override', ?, ?)", (now, until))

    def _end(self, kind: Literal["pause", "override"], now: int) -> None:
        # One that begins later was stored before the clock was set back; it is over all the same.
        self._db.execute(
            "UPDATE control SET begin = min(begin, ?), end = ? WHERE kind = ? AND end > ?",
            (now, now, kind, now),
        )

    def control(self, hours: tuple[Range, ...], offset: Offset, *, since: int = 0) -> Control:
        """Return what the worker allows, as far as it matters from *since* on."""
        from powdo.worktime.hours import Control
        from powdo.worktime.intervals import Interval

        now = time.time_ns() // 1000
        # A pause that lies ahead was stored before the clock was set back: it is in force, not to come.
        pauses = (
            Interval(min(item.begin, since), item.end) if item.begin > now else item
            for item in self._intervals("pause", since)
        )
        return Control(
            hours=hours,
            overrides=self._intervals("override", since),
            pauses=tuple(pauses),
            offset=offset,
        )

    def _intervals(self, kind: Literal["pause", "override"], since: int) -> tuple[Interval, ...]:
        from powdo.worktime.intervals import Interval

        rows = self._query(
            "SELECT begin, end FROM control WHERE kind = ? AND end > ? ORDER BY begin", kind, since
        )
        return tuple(Interval(int(row["begin"]), int(row["end"])) for row in rows)
