"""Half-open intervals [begin, end) of whole microseconds, and the set arithmetic on lists of them.

Rules: every function takes its intervals in any order, overlapping or not, and returns them sorted, apart
from each other, and never empty.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SECOND = 1_000_000
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """The time from *begin* up to, but not including, *end*."""

    begin: int
    end: int


def union(intervals: Iterable[Interval], gap: int = 0) -> list[Interval]:
    """Return what any of *intervals* covers; pieces no further than *gap* apart become one."""
    result: list[tuple[int, int]] = []
    for begin, end in sorted((item.begin, item.end) for item in intervals if item.end > item.begin):
        if result and begin <= result[-1][1] + gap:
            if end > result[-1][1]:
                result[-1] = (result[-1][0], end)
        else:
            result.append((begin, end))
    return [Interval(begin, end) for begin, end in result]


def intersect(one: Iterable[Interval], other: Iterable[Interval]) -> list[Interval]:
    """Return what both *one* and *other* cover."""
    left, right = union(one), union(other)
    result: list[Interval] = []
    i = j = 0
    while i < len(left) and j < len(right):
        begin = max(left[i].begin, right[j].begin)
        end = min(left[i].end, right[j].end)
        if begin < end:
            result.append(Interval(begin, end))
        if left[i].end <= right[j].end:
            i += 1
        else:
            j += 1
    return result


def subtract(one: Iterable[Interval], other: Iterable[Interval]) -> list[Interval]:
    """Return what *one* covers and *other* does not."""
    holes = union(other)
    result: list[Interval] = []
    first = 0
    for item in union(one):
        begin = item.begin
        while first < len(holes) and holes[first].end <= begin:
            first += 1
        at = first
        while at < len(holes) and holes[at].begin < item.end:
            if begin < holes[at].begin:
                result.append(Interval(begin, holes[at].begin))
            begin = holes[at].end
            at += 1
        if begin < item.end:
            result.append(Interval(begin, item.end))
    return result


def total(intervals: Iterable[Interval]) -> int:
    """Return the time *intervals* cover, counted once."""
    return sum(item.end - item.begin for item in union(intervals))
