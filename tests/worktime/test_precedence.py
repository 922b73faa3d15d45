"""Which word counts at an instant: manual, always active, editor, browser in focus, title; and days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from powdo.worktime import tally
from powdo.worktime.activity import Bucket, BucketEvent, Focus, Slice
from powdo.worktime.book import Book
from powdo.worktime.intervals import SECOND, Interval, total
from powdo.worktime.manual import BUCKET, BUCKET_TYPE
from powdo.worktime.ruleset import parse_rules
from powdo.worktime.timesheets import Limits

_HERE = {"status": "not-afk"}
_FOX, _CODE, _ZOOM = ({"app": app, "title": "t"} for app in ("firefox", "Code", "zoom"))
_RULES = parse_rules([
    {"name": "fox", "app": "firefox", "project": "Reading", "activity": "A"},
    {"name": "code", "editor_file": ".", "project": "Coding", "activity": "A"},
    {"name": "docs", "url": "docs", "project": "Docs", "activity": "A"},
    {"name": "meeting", "app": "zoom", "project": "Talking", "activity": "A", "always_active": True},
])[0]  # fmt: skip
_BOOK = Book(rules=_RULES, limits=Limits(), zone=UTC)

Event = tuple[int, int, dict[str, str]]


def _bucket(kind: str, name: str, device: str, events: list[Event]) -> Bucket:
    made = tuple(BucketEvent(begin * SECOND, end * SECOND, data) for begin, end, data in events)
    return Bucket(name, kind, "test", device, made, device)


def _device(
    name: str, windows: list[Event], here: list[Event], web: list[Event], files: list[Event]
) -> list[Bucket]:
    return [
        _bucket("currentwindow", "aw-watcher-window_x", name, windows),
        _bucket("afkstatus", "aw-watcher-afk_x", name, here),
        _bucket("web.tab.current", "aw-watcher-web-firefox_x", name, web),
        _bucket("app.editor.activity", "aw-watcher-vscode_x", name, files),
    ]  # fmt: skip


def _stated(*events: Event, device: str = "one") -> Bucket:
    return _bucket(BUCKET_TYPE, BUCKET, device, list(events))


def _projects(buckets: list[Bucket]) -> list[tuple[float, float, str | None]]:
    from powdo.worktime.rules import matcher

    find = matcher(_RULES)
    slices = _BOOK.slices(buckets)
    found = [
        (one.begin / SECOND, one.end / SECOND, rule.project if (rule := find(one)) else None)
        for one in slices
    ]
    joined: list[tuple[float, float, str | None]] = []
    for begin, end, project in found:
        if joined and joined[-1][1:] == (begin, project):
            begin = joined.pop()[0]
        joined.append((begin, end, project))
    return joined


def test_the_order_of_precedence() -> None:
    """Manual goes before a meeting, that before the editor, that before the browser, that before a title."""
    laptop = _device("laptop", [(0, 300, _ZOOM)], [], [], [])
    desk = _device("desk", [(0, 600, _CODE)], [(0, 600, _HERE)], [], [(200, 400, {"file": "a"})])
    fox = _device(
        "fox", [(0, 900, _FOX)], [(0, 900, _HERE)], [(0, 700, {"url": "https://docs.example/"})], []
    )
    manual = _stated((100, 150, {"project": "Call", "activity": "A"}))
    assert _projects([*laptop, *desk, *fox, manual]) == [
        (0, 100, "Talking"), (100, 150, "Call"), (150, 300, "Talking"), (300, 400, "Coding"),
        (400, 700, "Docs"), (700, 900, "Reading"),
    ]  # fmt: skip


def test_a_rule_for_meetings_goes_before_one_for_the_editor() -> None:
    """Within one window too, a rule that is always active is asked first, wherever it stands."""
    rules = parse_rules([
        {"editor_file": ".", "project": "Coding", "activity": "A"},
        {"app": "Code", "project": "Pairing", "activity": "A", "always_active": True},
    ])[0]  # fmt: skip
    book = Book(rules=rules, limits=Limits(), zone=UTC)
    buckets = _device("one", [(0, 600, _CODE)], [], [], [(0, 600, {"file": "a"})])
    assert [block.project for block in book.sheet(book.slices(buckets)).blocks] == ["Pairing"]


_windows = st.lists(
    st.tuples(st.integers(0, 50), st.integers(1, 20), st.sampled_from([_FOX, _CODE, _ZOOM])), max_size=5
)
_spans = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20), st.just(_HERE)), max_size=3)
_files = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20), st.just({"file": "a"})), max_size=3)
_said = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 20), st.sampled_from([{"project": "P"}, {"project": "Q"}])),
    max_size=3,
)


def _ends(events: list[tuple[int, int, Any]]) -> list[Event]:
    return [(begin, begin + length, data) for begin, length, data in events]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(_windows, _spans, _files), min_size=1, max_size=3), _said)
def test_no_second_counts_twice(devices: list[Any], said: list[Any]) -> None:
    """Whatever devices and records overlap, slices are apart, and together what any of them covers alone."""
    groups = [
        _device(str(number), _ends(windows), _ends(here), [], _ends(files))
        for number, (windows, here, files) in enumerate(devices)
    ]
    stated = [_stated(*_ends(said))]
    slices = _BOOK.slices([bucket for group in (*groups, stated) for bucket in group])
    assert all(one.begin < one.end for one in slices)
    assert all(one.end <= other.begin for one, other in pairwise(slices))
    alone = [Interval(one.begin, one.end) for group in (*groups, stated) for one in _BOOK.slices(group)]
    assert total(alone) == sum(one.end - one.begin for one in slices)
    ours = [one for one in slices if one.focus.manual is not None]
    assert total(Interval(a * SECOND, b * SECOND) for a, b, _ in _ends(said)) == sum(
        one.end - one.begin for one in ours
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(_windows, _spans, _files), min_size=2, max_size=2))
def test_what_says_most_wins(devices: list[Any]) -> None:
    """At each instant the merged worker does what the richest of their devices says."""
    groups = [
        _device(str(number), _ends(windows), _ends(here), [], _ends(files))
        for number, (windows, here, files) in enumerate(devices)
    ]
    merged = _BOOK.slices([bucket for group in groups for bucket in group])
    alone = [_BOOK.slices(group) for group in groups]

    def rank(focus: Focus) -> tuple[bool, bool]:
        return focus.app == "zoom", focus.editor_file is not None

    for instant in range(0, 75 * SECOND, SECOND):
        there = [one.focus for slices in alone for one in slices if one.begin <= instant < one.end]
        [found] = [one.focus for one in merged if one.begin <= instant < one.end] or [None]
        assert (found is None) == (not there)
        if found is not None:
            assert found in there and rank(found) == max(map(rank, there))


# --- days ---------------------------------------------------------------------------------------------

_ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu", "UTC")


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23), ("Europe/Berlin", date(2026, 10, 25), 25),
        ("America/New_York", date(2026, 3, 8), 23), ("America/New_York", date(2026, 11, 1), 25),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5), ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
        ("Europe/Berlin", date(2026, 6, 1), 24),
    ],
)  # fmt: skip
@pytest.mark.parametrize("day_start", [0, 3 * 3600, 4 * 3600 + 1800])
def test_a_day_of_a_clock_change(zone: str, day: date, hours: float, day_start: int) -> None:
    """A day in which clocks change has 23 or 25 hours, whether it begins at midnight or later."""
    if day_start and hours != 24:
        day -= timedelta(days=1)  # the night's change lies in the day that began the evening before
    book = Book(rules=(), limits=Limits(merge_gap=0), zone=ZoneInfo(zone), day_start=day_start)
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(zone))
    at = int(noon.timestamp()) * SECOND
    [window] = book.days([Interval(at, at + SECOND)])
    assert (window.end - window.begin) / SECOND / 3600 == hours
    counted: dict[tally.Key, int] = {}
    tally.count(tally.by_day(book.zone, day_start)([Slice(window.begin, window.end, Focus("", ""))]), counted)
    assert counted == {day.isoformat(): window.end - window.begin}


@given(st.sampled_from(_ZONES), st.integers(1_600_000_000, 1_900_000_000), st.integers(0, 86_399))
def test_days_are_whole_and_meet(zone: str, second: int, day_start: int) -> None:
    """The day of an instant holds it, and ends where that of its end begins, whatever the zone."""
    book = Book(rules=(), limits=Limits(merge_gap=0), zone=ZoneInfo(zone), day_start=day_start)
    at = second * SECOND
    [window] = book.days([Interval(at, at + 1)])
    assert window.begin <= at < window.end
    [after] = book.days([Interval(window.end, window.end + 1)])
    assert after.begin == window.end
