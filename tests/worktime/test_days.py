"""A worker's days."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.worktime.book import Book
from powdo.worktime.days import Days
from powdo.worktime.intervals import SECOND, Interval, union
from powdo.worktime.timesheets import Limits

#: Zones, each with an instant (unix) at which its clock changes: an hour, half of one, at midnight, a date.
_CHANGES = [
    ("Europe/Berlin", 1_774_746_000),
    ("Europe/Berlin", 1_792_890_000),
    ("America/Havana", 1_772_946_000),
    ("America/Havana", 1_793_509_200),
    ("Australia/Lord_Howe", 1_775_314_800),
    ("Australia/Lord_Howe", 1_791_041_400),
    ("Africa/Cairo", 1_776_981_600),
    ("Africa/Cairo", 1_793_307_600),
    ("Pacific/Apia", 1_325_239_200),
]
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


@pytest.mark.parametrize(("zone", "change"), _CHANGES)
def test_the_changes_are_changes(zone: str, change: int) -> None:
    """At each of the instants the clock jumps, and a second before it does not."""
    shown = [datetime.fromtimestamp(change + at, ZoneInfo(zone)).replace(tzinfo=None) for at in (-2, -1, 0)]
    assert (shown[1] - shown[0]).total_seconds() == 1
    assert (shown[2] - shown[1]).total_seconds() != 1


@given(
    st.sampled_from(_CHANGES),
    st.integers(-90_000, 90_000),
    st.integers(1, 100_000),
    st.integers(0, 16).map(lambda quarters: quarters * 900),
)
def test_days_hold_what_lies_in_them(place: tuple[str, int], off: int, length: int, day_start: int) -> None:
    """Where clocks change, at whatever time days begin, each instant lies in one day and in its span."""
    zone, change = place
    days = Days(ZoneInfo(zone), day_start)
    begin = (change + off) * SECOND
    end = begin + length * SECOND
    parts = list(days.cut(begin, end))
    assert [part[1] for part in parts] == [begin] + [part[2] for part in parts[:-1]]
    assert parts[-1][2] == end
    for day, first, last in parts:
        span = days.span(day)
        assert span.begin <= first < last <= span.end
    assert [part[0] for part in parts] == sorted({part[0] for part in parts})
    book = Book(rules=(), limits=Limits(merge_gap=0), zone=ZoneInfo(zone), day_start=day_start)
    [whole] = union(book.days([Interval(begin, end)]))
    assert whole.begin <= begin
    assert end <= whole.end
