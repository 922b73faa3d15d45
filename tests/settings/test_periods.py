"""Periods in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.errors import ConfigurationError
from powdo.settings.periods import Period, parse_last
from powdo.settings.units import Calendar

BERLIN = ZoneInfo("Europe/Berlin")
#: 00:30 on a Wednesday in Berlin, while the machine's own clock still has Tuesday.
NOW = datetime(2026, 3, 3, 23, 30, tzinfo=UTC)


def berlin(*parts: int) -> datetime:
    """Return what the clock in Berlin shows as an instant."""
    return datetime(*parts, tzinfo=BERLIN)  # type: ignore[misc, arg-type]  # year, month, day…


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("1d", berlin(2026, 3, 4), None),
        ("7d", berlin(2026, 2, 26), None),
        ("2w", berlin(2026, 2, 19), None),
        ("day", berlin(2026, 3, 3), berlin(2026, 3, 4)),
        ("week", berlin(2026, 2, 23), berlin(2026, 3, 2)),
        ("Month", berlin(2026, 2, 1), berlin(2026, 3, 1)),
        ("year", berlin(2025, 1, 1), berlin(2026, 1, 1)),
        ("8h", NOW - timedelta(hours=8), None),
        ("90m", NOW - timedelta(minutes=90), None),
    ],
)
def test_last_counts_whole_days_of_the_worker(text: str, begin: datetime, end: datetime | None) -> None:
    """Days and weeks reach to today, units are the last that are over, hours are exact."""
    assert parse_last(text, Calendar(NOW, BERLIN)) == (begin, end)


@pytest.mark.parametrize("text", ["", "0d", "-1d", "3", "fortnight", "1.5h", "99999999w", "4000d", "٣d", "w"])
def test_what_is_no_period_is_refused(text: str) -> None:
    """Bare numbers, other words and what is longer than ten years are refused."""
    with pytest.raises(ConfigurationError, match="is no period"):
        parse_last(text, Calendar(NOW, BERLIN))


def test_a_day_that_begins_at_four_is_still_yesterday_at_night() -> None:
    """At half past midnight today is the day before where days begin at four."""
    begin, _ = parse_last("1d", Calendar(NOW, BERLIN, 4 * 3600))
    assert begin == berlin(2026, 3, 3, 4)
    assert Period(NOW, since="today").within(BERLIN, 4 * 3600)[0] == berlin(2026, 3, 3, 4)


def test_dates_are_days_of_the_worker_and_instants_are_not_moved() -> None:
    """A date or a weekday is a day in the worker's zone; what has an offset means that."""
    period = Period(NOW, since="2026-03-29", until="2026-03-30")
    begin, end = period.within(BERLIN)
    assert begin is not None and end is not None
    # Of one zone Python subtracts what the clocks show; between these two they go forward.
    assert end.astimezone(UTC) - begin.astimezone(UTC) == timedelta(hours=23)
    assert Period(NOW, since="2026-03-29T00:00:00Z").within(BERLIN)[0] == datetime(2026, 3, 29, tzinfo=UTC)
    assert Period(NOW, since="monday").within(BERLIN) == (berlin(2026, 3, 2), None)
    assert Period(NOW, since="2026-03-04 09:00").within(BERLIN)[0] == berlin(2026, 3, 4, 9)


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)),
    st.sampled_from(["day", "week", "month", "year"]),
)
def test_the_last_unit_is_over_and_a_whole_one(at: datetime, unit: str) -> None:
    """Whenever it is asked, the last unit ends at or before the begin of today, and begins before that."""
    calendar = Calendar(at.replace(tzinfo=UTC), BERLIN)
    begin, end = parse_last(unit, calendar)
    assert end is not None
    assert begin < end <= calendar.begin(calendar.today)
    assert (begin.hour, begin.minute, end.hour, end.minute) == (0, 0, 0, 0)
