"""The figures of a page."""

from __future__ import annotations

from datetime import UTC, date, datetime

from hypothesis import given
from hypothesis import strategies as st

from powdo.worktime.activity import Focus, Slice
from powdo.worktime.book import Book
from powdo.worktime.days import Days
from powdo.worktime.figures import WINDOWS, by_day, in_front, ranked_labels
from powdo.worktime.intervals import SECOND
from powdo.worktime.manual import APP, Manual
from powdo.worktime.timesheets import Limits

DAYS = Days(UTC)
MIDNIGHT = int(datetime(2026, 11, 18, tzinfo=UTC).timestamp()) * SECOND


def item(begin: int, end: int, app: str, title: str = "") -> Slice:
    """Return a slice whose times are seconds of the day."""
    return Slice(MIDNIGHT + begin * SECOND, MIDNIGHT + end * SECOND, Focus(app, title))


def test_a_day_counts_exactly_and_draws_roughly() -> None:
    """Two stretches of one label with a short break are drawn as one; the break does not count."""
    slices = [item(0, 60, "a"), item(80, 100, "a"), item(100, 110, "b"), item(200, 260, "a")]
    (day,) = by_day(slices, lambda one: one.focus.app, DAYS)
    assert day.spent == {"a": 140 * SECOND, "b": 10 * SECOND}
    assert [
        ((one.begin - MIDNIGHT) // SECOND, (one.end - MIDNIGHT) // SECOND, one.label) for one in day.stretches
    ] == [
        (0, 100, "a"),
        (100, 110, "b"),
        (200, 260, "a"),
    ]
    assert day.active == 150 * SECOND


def test_a_slice_across_midnight_is_on_both_days() -> None:
    """Each day has its own part."""
    days = list(by_day([item(86_000, 86_500, "a")], lambda _: None, DAYS))
    assert [(day.day, day.active // SECOND) for day in days] == [
        (date(2026, 11, 18), 400),
        (date(2026, 11, 19), 100),
    ]


def test_the_longest_windows_are_named() -> None:
    """A day names its longest windows, the longest first, and no more than fit."""
    slices = [item(10 * n, 10 * n + 1 + n % 9, "a", str(n)) for n in range(40)]
    (day,) = by_day(slices, lambda _: "x", DAYS)
    assert len(day.windows) == WINDOWS
    assert [window.length for window in day.windows] == sorted(
        (window.length for window in day.windows), reverse=True
    )
    assert day.windows[0].length == 9 * SECOND


def test_what_was_in_front() -> None:
    """At each time the window of that instant, or none in a pause; ends do not belong to a slice."""
    slices = [item(0, 10, "a"), item(10, 20, "b"), item(30, 40, "c")]
    times = [MIDNIGHT + second * SECOND for second in (-1, 0, 10, 20, 39, 40)]
    assert [focus and focus.app for focus in in_front(slices, times)] == [None, "a", "b", None, "c", None]


def test_labels_come_by_length_and_what_has_none_at_the_end() -> None:
    """Unassigned time comes last, however long it is."""
    slices = [item(0, 10, "b"), item(10, 40, "a"), item(40, 140, "")]
    days = list(by_day(slices, lambda one: one.focus.app or None, DAYS))
    assert [label for label, _ in ranked_labels(days)] == ["a", "b", None]


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 4000), st.sampled_from("abc"))))
def test_nothing_is_lost(parts: list[tuple[int, int, str]]) -> None:
    """Over all days every second is under one label, and days come in their order."""
    slices, at = [], 0
    for gap, length, app in parts:
        slices.append(item(at + gap, at + gap + length, app))
        at += gap + length
    days = list(by_day(slices, lambda one: one.focus.app, DAYS))
    assert sum(day.active for day in days) == sum(one.end - one.begin for one in slices)
    assert [day.day for day in days] == sorted({day.day for day in days})


def test_what_was_stated_by_hand_is_not_measured() -> None:
    """Time by hand has its own label and its own sum, and is no time at the screen."""
    stated = Slice(
        MIDNIGHT, MIDNIGHT + 60 * SECOND, Focus(APP, "call", manual=Manual("Shop", customer="Acme"))
    )
    book = Book(rules=(), limits=Limits(), zone=UTC)
    (day,) = by_day([stated, item(60, 100, "a")], book.labels(), DAYS)
    assert day.spent == {"Acme / Shop (manual)": 60 * SECOND, None: 40 * SECOND}
    assert (day.active, day.stated) == (40 * SECOND, 60 * SECOND)
