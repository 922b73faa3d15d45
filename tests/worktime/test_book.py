"""`powdo.worktime.book`: whole days in the worker's zone, and pieces of a week."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from powdo.worktime.book import Book, chunks, limits
from powdo.worktime.intervals import DAY, MINUTE, SECOND, Interval
from powdo.worktime.timesheets import Limits


def _book(day_start: int = 0) -> Book:
    return Book(rules=(), limits=Limits(), zone=ZoneInfo("Europe/Berlin"), day_start=day_start)


def _at(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()) * SECOND  # type: ignore[arg-type,misc]  # year to minute


def test_days_are_local_and_whole() -> None:
    """A span takes the local days that it touches, widened by the merge gap."""
    [day] = _book().days([Interval(_at(2026, 11, 16, 9), _at(2026, 11, 16, 10))])
    assert day == Interval(_at(2026, 11, 16), _at(2026, 11, 17))
    [two] = _book().days([Interval(_at(2026, 11, 16, 9), _at(2026, 11, 16, 23, 58))])
    assert two == Interval(_at(2026, 11, 16), _at(2026, 11, 18))
    [early] = _book(4 * 3600).days([Interval(_at(2026, 11, 16, 2), _at(2026, 11, 16, 3))])
    assert early == Interval(_at(2026, 11, 15, 4), _at(2026, 11, 16, 4))


def test_a_day_of_twenty_five_hours_is_whole() -> None:
    """The last hour of the day on which the clocks go back belongs to it."""
    [day] = _book().days([Interval(_at(2026, 10, 25, 23, 10), _at(2026, 10, 25, 23, 40))])
    assert day == Interval(_at(2026, 10, 25), _at(2026, 10, 26))
    assert day.end - day.begin == 25 * 60 * MINUTE


_instants = st.integers(0, 4 * 10**9).map(lambda seconds: seconds * SECOND)


@given(st.lists(st.tuples(_instants, st.integers(0, 3 * 86_400)), min_size=1, max_size=5))
def test_every_span_is_covered(spans: list[tuple[int, int]]) -> None:
    """Whatever the spans, the windows cover them, are apart, and are a week long at most."""
    wanted = [Interval(begin, begin + length * SECOND) for begin, length in spans]
    windows = _book().days(wanted)
    for span in wanted:
        covered = sum(max(0, min(window.end, span.end) - max(window.begin, span.begin)) for window in windows)
        assert covered == span.end - span.begin
    assert all(one.end <= other.begin for one, other in pairwise(windows))
    assert all(window.end - window.begin <= 7 * DAY for window in windows)


def test_limits_are_whole_minutes() -> None:
    """Seconds become microseconds; borders are multiples of whole minutes."""

    class Lengths:
        merge_gap, minimum, absorb, rounding = 300, 60, 60, 90

    assert limits(Lengths()) == Limits(rounding=2 * MINUTE)  # type: ignore[arg-type]  # plain attributes do
    assert list(chunks(Interval(0, 8 * DAY))) == [Interval(0, 7 * DAY), Interval(7 * DAY, 8 * DAY)]
