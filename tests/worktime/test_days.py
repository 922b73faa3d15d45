"""A worker's days."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.worktime.days import Days
from powdo.worktime.intervals import SECOND

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3600 * SECOND


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 27), 24), (date(2026, 3, 29), 23), (date(2026, 10, 25), 25)]
)
@pytest.mark.parametrize("day_start", [0, 4 * 3600])
def test_days_of_clock_changes_are_shorter_and_longer(day: date, hours: int, day_start: int) -> None:
    """The clocks go forward and back within the night: that day has 23 or 25 hours, or the one before it."""
    days = Days(BERLIN, day_start)
    if day_start:  # at two or three in the morning it is still the day before
        day = date.fromordinal(day.toordinal() - (hours != 24))
    span = days.span(day)
    assert (span.end - span.begin) / HOUR == hours


def test_a_day_that_begins_late_reaches_into_the_night() -> None:
    """At half past three it is still yesterday where days begin at four."""
    at = int(datetime(2026, 1, 11, 2, 30, tzinfo=UTC).timestamp()) * SECOND
    assert Days(BERLIN).day(at) == date(2026, 1, 11)
    assert Days(BERLIN, 4 * 3600).day(at) == date(2026, 1, 10)


@given(st.integers(0, 2**51), st.integers(1, 2**42), st.integers(0, 86399))
def test_pieces_follow_each_other(begin: int, length: int, day_start: int) -> None:
    """What is cut at the borders of days is whole again when put together, and no day comes twice."""
    days = Days(BERLIN, day_start)
    parts = list(days.cut(begin, begin + length))
    assert [part[1] for part in parts] == [begin] + [part[2] for part in parts[:-1]]
    assert parts[-1][2] == begin + length
    assert len({part[0] for part in parts}) == len(parts)
