from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from powdo.worktime import tally
from powdo.worktime.activity import Focus, Slice
from powdo.worktime.intervals import SECOND, Interval

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> int:
    """Return the microseconds of a UTC time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


def days(begin: str, end: str, *, day_start: int = 0) -> dict[tally.Key, float]:
    """Return hours by day in Berlin."""
    counted: dict[tally.Key, int] = {}
    slices = [Slice(at(begin), at(end), Focus("a", "t"))]
    tally.count(tally.by_day(BERLIN, day_start)(slices), counted)
    return {key: length / 3600 / SECOND for key, length in counted.items()}


def test_a_night_belongs_to_two_days() -> None:
    """A slice across midnight is divided at the midnight of the worker's zone."""
    assert days("2026-01-10 22:00", "2026-01-10 23:30") == {"2026-01-10": 1.0, "2026-01-11": 0.5}


def test_a_day_may_begin_later() -> None:
    """With a day that begins at four, an hour before four is still yesterday's."""
    assert days("2026-01-11 02:00", "2026-01-11 04:00", day_start=4 * 3600) == {
        "2026-01-10": 1.0,
        "2026-01-11": 1.0,
    }


def test_days_of_clock_changes_have_23_and_25_hours() -> None:
    """Nothing is lost or doubled on the days when clocks change."""
    assert days("2026-03-28 23:00", "2026-03-29 22:00") == {"2026-03-29": 23.0}
    assert days("2026-10-24 22:00", "2026-10-25 23:00") == {"2026-10-25": 25.0}
    assert days("2026-10-24 12:00", "2026-10-26 12:00", day_start=9000) == {
        "2026-10-24": 12.5,
        "2026-10-25": 25.0,
        "2026-10-26": 10.5,
    }


@given(st.integers(0, 2**51), st.integers(1, 2**43), st.integers(0, 86399))
def test_days_add_up(begin: int, length: int, day_start: int) -> None:
    """Whatever the day's begin and the slice, its parts are as long as the whole."""
    counted: dict[tally.Key, int] = {}
    slices = [Slice(begin, begin + length, Focus("a", "t"))]
    tally.count(tally.by_day(BERLIN, day_start)(slices), counted)
    assert sum(counted.values()) == length


def test_clipping_keeps_what_lies_inside() -> None:
    """Slices are cut at the borders of the window, and those outside are left out."""
    a, b, c = (Focus(name, "") for name in "abc")
    slices = [Slice(0, 10, a), Slice(10, 20, b), Slice(30, 40, c)]
    assert list(tally.clipped(slices, Interval(5, 30))) == [(5, 10, a), (10, 20, b)]


def test_the_longest_comes_first() -> None:
    """Rows are in whole seconds, the longest first, days in their order; what has no key is kept."""
    counted: dict[tally.Key, int] = {"b": 3 * SECOND, "a": 3 * SECOND + 1, None: 9 * SECOND + SECOND // 2}
    assert tally.ranked(counted) == [(None, 10), ("a", 3), ("b", 3)]
    assert tally.ranked(counted, by_name=True) == [(None, 10), ("a", 3), ("b", 3)]


@given(st.lists(st.integers(0, 2**45)))
def test_whole_seconds_keep_their_total(lengths: list[int]) -> None:
    """Rows in whole seconds add up to the rounded whole, and none is a second off."""
    rounded = tally.whole(lengths)
    assert sum(rounded) == (sum(lengths) + SECOND // 2) // SECOND
    assert all(
        abs(second * SECOND - length) < SECOND for second, length in zip(rounded, lengths, strict=True)
    )
