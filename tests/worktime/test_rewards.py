"""Rewards counted from timesheets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.worktime.rewards import PERIODS, Earned, Tracked, earned, period_of

_BERLIN = ZoneInfo("Europe/Berlin")
_T0 = datetime(2026, 10, 31, 22, 30, tzinfo=UTC)


def _sheet(user: str, begin: datetime, seconds: int) -> Tracked:
    return Tracked(user, begin, seconds, (user, begin.isoformat(), str(seconds)))


def test_each_worker_and_period_has_one_reward() -> None:
    """Seconds are summed by the period in which a timesheet begins, there; only the amount is rounded."""
    sheets = [
        _sheet("bob", _T0, 3600),  # 23:30 in Berlin, still October
        _sheet("ana", _T0 + timedelta(minutes=30), 1000),  # midnight in Berlin: November
        _sheet("ana", _T0 + timedelta(days=3), 1000),
    ]
    assert earned([*sheets, sheets[0]], rate=Decimal("1.5"), period="month", zone=_BERLIN) == [
        Earned("ana", "2026-11", 2000, Decimal("0.83")),
        Earned("bob", "2026-10", 3600, Decimal("1.50")),
    ]
    assert earned([], rate=Decimal(1), period="day", zone=_BERLIN) == []


@pytest.mark.parametrize(
    ("period", "name"), [("day", "2027-01-01"), ("week", "2026-W53"), ("month", "2027-01"), ("year", "2027")]
)
def test_periods_have_the_names_of_iso_8601(period, name: str) -> None:
    """A day, a week (which may be of another year), a month and a year."""
    assert period_of(datetime(2027, 1, 1, tzinfo=_BERLIN), period) == name


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 10**6), st.integers(0, 10**5)), unique=True),
    st.sampled_from(PERIODS),
)
def test_no_second_is_lost_or_counted_twice(rows, period) -> None:
    """Whatever comes in whatever order, and twice, the seconds are those of the timesheets."""
    sheets = [_sheet(user, _T0 + timedelta(minutes=minute), seconds) for user, minute, seconds in rows]
    found = earned(sheets, rate=Decimal(1), period=period, zone=_BERLIN)
    assert sum(item.seconds for item in found) == sum(seconds for _, _, seconds in rows)
    assert earned(sheets[::-1] * 2, rate=Decimal(1), period=period, zone=_BERLIN) == found
