"""How long active time was, by app, project, activity or day."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from powdo.worktime.activity import Slice
from powdo.worktime.intervals import SECOND, Interval
from powdo.worktime.rules import Rule

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: What one part of a slice counts for; None is time that no rule books.
Key = str | None
Keys = Callable[[Slice], Iterable[tuple[Key, int]]]


def clipped(slices: Iterable[Slice], window: Interval) -> Iterator[Slice]:
    """Yield the parts of *slices* that lie in *window*."""
    first, last = window.begin, window.end
    for item in slices:
        if first <= item.begin and item.end <= last:
            yield item
        elif item.begin < last and item.end > first:
            yield item._replace(begin=max(item.begin, first), end=min(item.end, last))


def by_app(item: Slice) -> Iterable[tuple[Key, int]]:
    """Return the app of *item* and its length."""
    return ((item.app, item.end - item.begin),)


def by_booking(find: Callable[[Slice], Rule | None], field: str) -> Keys:
    """Return what gives the *field* (project, activity) of the rule that *find* has for a slice."""

    def keys(item: Slice) -> Iterable[tuple[Key, int]]:
        rule = find(item)
        return ((None if rule is None else getattr(rule, field), item.end - item.begin),)

    return keys


def by_day(zone: tzinfo, day_start: int = 0) -> Keys:
    """Return what gives the days in *zone* that a slice lies in; a day begins *day_start* seconds late."""
    shift = timedelta(seconds=day_start)

    def midnight(day: date) -> int:
        # The wall clock is moved, so that a day begins at the same time of it all year round.
        start = (datetime.combine(day, time()) + shift).replace(tzinfo=zone)
        return (start - _EPOCH) // timedelta(microseconds=1)

    def keys(item: Slice) -> Iterator[tuple[Key, int]]:
        begin = item.begin
        while begin < item.end:
            local = (_EPOCH + timedelta(microseconds=begin)).astimezone(zone).replace(tzinfo=None)
            day = (local - shift).date()
            end = min(item.end, midnight(day + timedelta(days=1)))
            if end <= begin:  # the second pass through an hour that a clock change repeats
                day, end = day + timedelta(days=1), item.end
            yield day.isoformat(), end - begin
            begin = end

    return keys


def count(slices: Iterable[Slice], keys: Keys, into: dict[Key, int]) -> None:
    """Add the microseconds of *slices* to *into*, under each of their *keys*."""
    for item in slices:
        for key, length in keys(item):
            into[key] = into.get(key, 0) + length


def ranked(counted: Mapping[Key, int], *, by_name: bool = False) -> list[tuple[Key, int]]:
    """Return *counted* in whole seconds, the longest first, or by name."""
    rows = [(key, (length + SECOND // 2) // SECOND) for key, length in counted.items()]
    if by_name:
        return sorted(rows, key=lambda row: row[0] or "")
    return sorted(rows, key=lambda row: (-row[1], row[0] or ""))
