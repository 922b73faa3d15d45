"""A worker's days: they begin at one time of the wall clock all year round, so two have 23 and 25 hours."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

from powdo.worktime.intervals import Interval

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Days(NamedTuple):
    """The days of *zone*, each of which begins *day_start* seconds after its midnight."""

    zone: tzinfo
    day_start: int = 0

    def local(self, at: int) -> datetime:
        """Return what the clock shows at the instant *at*, microseconds."""
        return (_EPOCH + timedelta(microseconds=at)).astimezone(self.zone)

    def begin(self, day: date) -> int:
        """Return the instant at which *day* begins."""
        # The wall clock is moved, so that a day begins at the same time of it all year round.
        clock = datetime.combine(day, time()) + timedelta(seconds=self.day_start)
        return (clock.replace(tzinfo=self.zone) - _EPOCH) // _MICROSECOND

    def span(self, day: date) -> Interval:
        """Return all of *day*."""
        return Interval(self.begin(day), self.begin(day + timedelta(days=1)))

    def cut(self, begin: int, end: int) -> Iterator[tuple[date, int, int]]:
        """Yield [begin, end) in its days, as (day, begin, end)."""
        shift = timedelta(seconds=self.day_start)
        while begin < end:
            day = (self.local(begin).replace(tzinfo=None) - shift).date()
            until = min(end, self.begin(day + timedelta(days=1)))
            if until <= begin:  # the second pass through an hour that a clock change repeats
                day, until = day + timedelta(days=1), end
            yield day, begin, until
            begin = until

    def day(self, at: int) -> date:
        """Return the day in which the instant *at* lies."""
        return next(self.cut(at, at + 1))[0]
