"""When capture is allowed: `[capture] hours`, what overrides them, and pauses.

Rules:
- hours are what the wall clock shows: `Mo-Fr 08:00-18:00`, days and times each several by comma, several
  ranges by `;` or as a list; a range may run past midnight and belongs to the day on which it begins;
- where the clock is set back, the hour that it shows twice counts twice; an hour it skips counts never;
- no hours at all allow every time; an override allows its time whatever the hours; a pause beats both;
- the local clock comes in as *offset*: the seconds east of UTC that it keeps at a unix second.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from powdo.errors import ConfigurationError
from powdo.worktime.intervals import SECOND, Interval, intersect, subtract, union

Offset = Callable[[int], int]
State = Literal["on", "paused", "off-hours"]

_DAYS = ("mo", "tu", "we", "th", "fr", "sa", "su")
_TIMES = re.compile(r"(\d\d):([0-5]\d)-(\d\d):([0-5]\d)", re.ASCII)
_DAY, _HOUR = 86_400, 3_600
#: How far ahead the next change is looked for: whatever recurs, recurs within a week.
_HORIZON = 8 * _DAY
#: Later than any clock will show, in microseconds.
FOREVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Range:
    """The wall-clock seconds [begin, end) after the midnight of each of *days* (Monday is 0)."""

    days: frozenset[int]
    begin: int
    end: int


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.lower().split(","):
        first, _, last = part.partition("-")
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        found.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return frozenset(found)


def _times(text: str) -> Iterator[tuple[int, int]]:
    for part in text.split(","):
        match = _TIMES.fullmatch(part)
        if match is None:
            raise ValueError(part)
        hour, minute, last_hour, last_minute = map(int, match.groups())
        begin, end = hour * _HOUR + minute * 60, last_hour * _HOUR + last_minute * 60
        if begin >= _DAY or end > _DAY or begin == end:
            raise ValueError(part)
        yield begin, end if end > begin else end + _DAY


def parse_hours(value: object) -> tuple[Range, ...]:
    """Return the ranges that *value* (a text or a list of them) means. Raises: ConfigurationError."""
    result: list[Range] = []
    for item in value if isinstance(value, list | tuple) else [value]:
        for text in item.split(";") if isinstance(item, str) else [""]:
            words = re.sub(r"\s*([,-])\s*", r"\1", text.strip()).split()
            try:
                days, times = ("mo-su", *words) if len(words) == 1 else words
                result += [Range(_days(days), begin, end) for begin, end in _times(times)]
            except ValueError:
                raise ConfigurationError(f"'{text or item}' are no hours such as Mo-Fr 08:00-18:00") from None
    return tuple(result)


# --- from the wall clock to instants ---------------------------------------------------------------


def _steady(begin: int, end: int, offset: Offset) -> Iterator[tuple[int, int, int]]:
    """Yield [begin, end) in pieces during which the clock keeps one offset, with that offset."""
    start, kept, at = begin, offset(begin), begin
    while at < end:
        ahead = min(at + _HOUR, end)
        if offset(ahead) != kept:
            while ahead - at > 1:
                middle = (at + ahead) // 2
                at, ahead = (middle, ahead) if offset(middle) == kept else (at, middle)
            yield start, ahead, kept
            start, kept = ahead, offset(ahead)
        at = ahead
    if start < end:
        yield start, end, kept


def _within(ranges: Sequence[Range], begin: int, end: int, offset: int) -> Iterator[Interval]:
    """Yield the times of *ranges* in [begin, end), seconds during which the clock keeps *offset*."""
    for day in range((begin + offset) // _DAY - 1, (end + offset) // _DAY + 1):
        weekday = (day + 3) % 7  # 1970-01-01 was a Thursday
        midnight = day * _DAY - offset
        for item in ranges:
            first, last = max(midnight + item.begin, begin), min(midnight + item.end, end)
            if weekday in item.days and first < last:
                yield Interval(first * SECOND, last * SECOND)


def in_hours(ranges: Sequence[Range], begin: int, end: int, offset: Offset) -> list[Interval]:
    """Return the times in [begin, end), microseconds, at which the clock shows one of *ranges*."""
    first, last = begin // SECOND, -(-end // SECOND)
    found = [
        interval
        for start, stop, kept in _steady(first, last, offset)
        for interval in _within(ranges, start, stop, kept)
    ]
    return intersect(found, [Interval(begin, end)])


# --- all together ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What the worker allows: *hours*, *overrides* of them, and *pauses*; an open one ends at FOREVER."""

    hours: tuple[Range, ...]
    overrides: tuple[Interval, ...]
    pauses: tuple[Interval, ...]
    offset: Offset

    def hours_allow(self, begin: int, end: int) -> list[Interval]:
        """Return the times in [begin, end) that are no off-hours, paused or not."""
        whole = [Interval(begin, end)]
        if not self.hours:
            return union(whole)
        return union(in_hours(self.hours, begin, end, self.offset) + intersect(self.overrides, whole))

    def allowed(self, begin: int, end: int) -> list[Interval]:
        """Return the times in [begin, end), microseconds, that may be captured."""
        return subtract(self.hours_allow(begin, end), self.pauses)

    def reasons(self, begin: int, end: int) -> list[State]:
        """Return why a part of [begin, end) may not be captured: `paused`, `off-hours`, both or nothing."""
        found: list[State] = []
        if intersect(self.pauses, [Interval(begin, end)]):
            found.append("paused")
        if self.hours_allow(begin, end) != union([Interval(begin, end)]):
            found.append("off-hours")
        return found

    def state(self, at: int) -> State:
        """Return what holds at the instant *at*, microseconds."""
        if any(item.begin <= at < item.end for item in self.pauses):
            return "paused"
        return "on" if self.hours_allow(at, at + 1) else "off-hours"

    def next_change(self, at: int) -> int | None:
        """Return when another state than that of *at* begins, or None when hours do not say so for a week."""
        state = self.state(at)
        end = at + _HORIZON * SECOND
        edges = {edge for item in (*self.pauses, *self.overrides) for edge in (item.begin, item.end)}
        if self.hours:
            found = in_hours(self.hours, at, end, self.offset)
            edges |= {edge for item in found for edge in (item.begin, item.end)}
        return next(
            (edge for edge in sorted(edges) if at < edge < FOREVER and self.state(edge) != state), None
        )
