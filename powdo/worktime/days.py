"""A worker's days: they begin at one time of the wall clock all year round, so two have 23 and 25 hours."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple

from powdo.worktime.intervals import Interval

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1)


@lru_cache(maxsize=1024)  # thousands of slices ask for the borders of the same day
def _begin(zone: tzinfo, day_start: int, day: date) -> int:
    # The wall clock is moved, so that a day begins at the same time of it all year round.
    clock = datetime.combine(day, time()) + timedelta(seconds=day_start)
    return (clock.replace(tzinfo=zone) - _EPOCH) // _MICROSECOND


class Days(NamedTuple):
    """The days of *zone*, each of which begins *day_start* seconds after its midnight."""

    zone: tzinfo
    day_start: int = 0

    def local(self, at: int) -> datetime:
        """Return what the clock shows at the instant *at*, microseconds."""
        return (_EPOCH + timedelta(microseconds=at)).astimezone(self.zone)

    def begin(self, day: date) -> int:
        """Return the instant at which *day* begins."""
        return _begin(self.zone, self.day_start, day)

    def span(self, day: date) -> Interval:
        """Return all of *day*."""
        return Interval(self.begin(day), self.begin(day + _DAY))

    def cut(self, begin: int, end: int) -> Iterator[tuple[date, int, int]]:
        """Yield [begin, end) in its days, as (day, begin, end)."""
        day = self.day(begin)
        while begin < end:
            border = self.begin(day + _DAY)
            if begin < border:  # a zone that skips a date has a day without a length
                until = min(end, border)
                yield day, begin, until
                begin = until
            day += _DAY

    def day(self, at: int) -> date:
        """Return the day in which the instant *at* lies."""
        day = (self.local(at).replace(tzinfo=None) - timedelta(seconds=self.day_start)).date()
        # Where a clock change skips or repeats the time at which days begin, the clock alone misleads.
        if at < self.begin(day):
            return day - _DAY
        return day if at < self.begin(day + _DAY) else day + _DAY
