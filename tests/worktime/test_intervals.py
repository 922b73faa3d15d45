"""`powdo.worktime.intervals` against sets of points."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from powdo.worktime.intervals import Interval, intersect, subtract, total, union

_lists = st.lists(st.builds(Interval, st.integers(0, 40), st.integers(0, 40)), max_size=8)


def _points(intervals: list[Interval]) -> set[int]:
    return {point for item in intervals for point in range(item.begin, item.end)}


def _tidy(intervals: list[Interval]) -> None:
    assert all(item.begin < item.end for item in intervals)
    assert all(one.end < other.begin for one, other in pairwise(intervals))


@given(_lists, _lists)
def test_they_are_sets_of_points(one: list[Interval], other: list[Interval]) -> None:
    """Union, intersection, difference and total are those of the sets of points."""
    assert _points(union([*one, *other])) == _points(one) | _points(other)
    assert _points(intersect(one, other)) == _points(one) & _points(other)
    assert _points(subtract(one, other)) == _points(one) - _points(other)
    assert total(one) == len(_points(one))
    _tidy(union([*one, *other]))
    _tidy(intersect(one, other))
    _tidy(subtract(one, other))


def test_a_gap_joins() -> None:
    """Pieces no further apart than the gap become one."""
    assert union([Interval(0, 5), Interval(8, 9)], 3) == [Interval(0, 9)]
    assert union([Interval(0, 5), Interval(8, 9)], 2) == [Interval(0, 5), Interval(8, 9)]
