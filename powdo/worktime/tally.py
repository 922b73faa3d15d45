"""How long active time was, by app, project, activity or day."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo

from powdo.worktime.activity import Slice
from powdo.worktime.days import Days
from powdo.worktime.intervals import SECOND, Interval
from powdo.worktime.manual import marked
from powdo.worktime.rules import Rule

#: What time is counted for; None is time that no rule books.
Key = str | None
#: Turns slices into keys, each with the microseconds that count for it.
Keys = Callable[[Iterable[Slice]], Iterable[tuple[Key, int]]]


def clipped(slices: Iterable[Slice], window: Interval) -> Iterator[Slice]:
    """Yield the parts of *slices* that lie in *window*."""
    first, last = window.begin, window.end
    for item in slices:
        begin, end, focus = item
        if first <= begin and end <= last:
            yield item
        elif begin < last and end > first:
            yield Slice(max(begin, first), min(end, last), focus)


def parted(keys: Keys) -> Keys:
    """Return what gives the keys of *keys*, with a mark for what was stated by hand and not measured."""

    def told(slices: Iterable[Slice]) -> Iterator[tuple[Key, int]]:
        measured: list[Slice] = []
        stated: list[Slice] = []
        for item in slices:
            (measured if item.focus.manual is None else stated).append(item)
        yield from keys(measured)
        yield from ((marked(key or "(unassigned)"), length) for key, length in keys(stated))

    return told


def by_app(slices: Iterable[Slice]) -> Iterator[tuple[Key, int]]:
    """Yield the app and the length of each of *slices*."""
    return ((focus.app, end - begin) for begin, end, focus in slices)


def by_booking(find: Callable[[Slice], Rule | None], field: str) -> Keys:
    """Return what gives the *field* (project, activity) of the rule that *find* has for a slice."""

    def keys(slices: Iterable[Slice]) -> Iterator[tuple[Key, int]]:
        for item in slices:
            rule = find(item)
            yield None if rule is None else getattr(rule, field), item.end - item.begin

    return keys


def by_day(zone: tzinfo, day_start: int = 0) -> Keys:
    """Return what gives the days in *zone* that a slice lies in; a day begins *day_start* seconds late."""
    days = Days(zone, day_start)

    def keys(slices: Iterable[Slice]) -> Iterator[tuple[Key, int]]:
        for begin, last, _ in slices:
            for day, start, end in days.cut(begin, last):
                yield day.isoformat(), end - start

    return keys


def count(parts: Iterable[tuple[Key, int]], into: dict[Key, int]) -> None:
    """Add the microseconds of *parts* to *into*, under the key of each."""
    for key, length in parts:
        into[key] = into.get(key, 0) + length


def whole(lengths: Sequence[int]) -> list[int]:
    """Return *lengths* in whole seconds, the largest remainders rounded up so that they keep their total."""
    seconds = [length // SECOND for length in lengths]
    missing = (sum(lengths) + SECOND // 2) // SECOND - sum(seconds)
    for place in sorted(range(len(lengths)), key=lambda at: -(lengths[at] % SECOND))[:missing]:
        seconds[place] += 1
    return seconds


def ranked(counted: Mapping[Key, int], *, by_name: bool = False) -> list[tuple[Key, int]]:
    """Return *counted* in whole seconds that add up to their rounded total, the longest first, or by name."""
    rows = list(zip(counted, whole(list(counted.values())), strict=True))
    if by_name:
        return sorted(rows, key=lambda row: row[0] or "")
    return sorted(rows, key=lambda row: (-row[1], row[0] or ""))


def clock(seconds: int) -> str:
    """Return *seconds* as hours, minutes and seconds."""
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
