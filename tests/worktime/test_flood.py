"""`powdo.worktime.flood`: the rules of aw-core 0.5.18, one by one, and fragments of events."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from powdo.errors import BadRecordError
from powdo.worktime.activity import Bucket, active
from powdo.worktime.flood import PULSETIME, REDACTED, BucketEvent, flood, parse_bucket_event
from powdo.worktime.intervals import SECOND

Spans = list[tuple[float, float, str]]


def _events(spans: Spans) -> list[BucketEvent]:
    return [BucketEvent(round(a * SECOND), round(b * SECOND), {"app": name}) for a, b, name in spans]


def _spans(events: list[BucketEvent]) -> Spans:
    return [(event.begin / SECOND, event.end / SECOND, str(event.data["app"])) for event in events]


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ([(0, 10, "a"), (14, 20, "b")], [(0, 12, "a"), (12, 20, "b")]),
        ([(0, 10, "a"), (16, 20, "b")], [(0, 10, "a"), (16, 20, "b")]),
        ([(0, 10, "a"), (14, 20, "a")], [(0, 20, "a")]),
        ([(0, 10, "a"), (5, 20, "a")], [(0, 20, "a")]),
        ([(0, 10, "a"), (5, 20, "b")], [(0, 5, "a"), (5, 20, "b")]),
        ([(0, 10, "a"), (2, 3, "b")], [(0, 2, "a"), (2, 3, "b")]),
        ([(0, 10.08, "a"), (10, 20, "b")], [(0, 10.04, "a"), (10.04, 20, "b")]),
        ([(0, 10, "a"), (12, 12, "b"), (30, 31, "c")], [(0, 11, "a"), (11, 12, "b"), (30, 31, "c")]),
        ([(0, 0, "a")], []),
    ],
)
def test_gaps_and_overlaps(given_: Spans, expected: Spans) -> None:
    """Short gaps meet in the middle or join, of two that overlap the later wins, empty ones vanish."""
    assert _spans(flood(_events(given_))) == expected


def test_events_that_touch_within_a_second_stay_apart() -> None:
    """Two events of equal data with another over their border are the watcher's, not cut by a capture."""
    spans: Spans = [(0, 10.5, "a"), (8, 12, "b"), (10.5, 20, "a")]
    assert _spans(flood(_events(spans))) == [(0, 8, "a"), (8, 10.5, "b"), (10.5, 20, "a")]


_names = st.sampled_from("abc")
_milliseconds = st.integers(0, 120_000)


@st.composite
def _streams(draw: st.DrawFn) -> list[BucketEvent]:
    """Return events as watchers leave them: apart, touching, overlapping, empty."""
    parts = draw(st.lists(st.tuples(_milliseconds, st.integers(0, 30_000), _names), max_size=15))
    return [BucketEvent(a * 1000, (a + length) * 1000, {"app": name}) for a, length, name in parts]


def _cut(events: list[BucketEvent], cursors: list[int]) -> list[BucketEvent]:
    """Return *events* as captures deliver them whose cursors stand at whole seconds."""
    result: list[BucketEvent] = []
    edges = [-1, *sorted(set(cursors)), 10**6]
    for low, high in pairwise(edges):
        for event in events:
            begin, end = max(event.begin, low * SECOND), min(event.end, high * SECOND)
            if begin < end or (event.begin == event.end and low * SECOND <= event.begin < high * SECOND):
                result.append(BucketEvent(begin, max(begin, end), event.data))
    return result


@settings(max_examples=300, deadline=None)
@given(_streams(), st.lists(st.integers(0, 150), max_size=6))
def test_any_slicing_gives_the_same(events: list[BucketEvent], cursors: list[int]) -> None:
    """However captures cut the events, at whole seconds, flooding gives the same as with the whole."""
    assert flood(_cut(events, cursors)) == flood(events)


@settings(max_examples=100, deadline=None)
@given(_streams(), _streams(), st.lists(st.integers(0, 150), max_size=6))
def test_any_slicing_gives_the_same_active_time(
    windows: list[BucketEvent], away: list[BucketEvent], cursors: list[int]
) -> None:
    """The active slices are the same, cut or whole."""
    states = {"a": "not-afk", "b": "afk", "c": "not-afk"}
    presence = [BucketEvent(e.begin, e.end, {"status": states[str(e.data["app"])]}) for e in away]

    def slices(cut: bool) -> Any:
        parts = [_cut(item, cursors) if cut else item for item in (windows, presence)]
        return active(
            [
                Bucket("aw-watcher-window_h", "currentwindow", "t", "h", tuple(parts[0])),
                Bucket("aw-watcher-afk_h", "afkstatus", "t", "h", tuple(parts[1])),
            ]
        )

    assert slices(True) == slices(False)


@given(_streams())
def test_nothing_is_counted_twice(events: list[BucketEvent]) -> None:
    """What comes out is sorted, without overlap, and never longer than the hull of what went in."""
    result = flood(events)
    assert all(item.begin < item.end for item in result)
    assert all(one.end <= other.begin for one, other in pairwise(result))


def test_parses_activitywatch_json() -> None:
    """A bucket event is read to the microsecond; nonsense is refused."""
    event = parse_bucket_event(
        {"timestamp": "2026-11-20T11:06:30.587000+00:00", "duration": 22.347, "data": {}}
    )
    assert event.end - event.begin == 22_347_000
    assert event.begin % SECOND == 587_000
    good = {"timestamp": "2026-11-20T11:06:30Z", "duration": 1, "data": {}}
    for bad in (
        {"timestamp": 5},
        {"timestamp": "yesterday"},
        {"duration": -1},
        {"duration": True},
        {"duration": 1e12},
        {"data": []},
    ):
        with pytest.raises(BadRecordError):
            parse_bucket_event({**good, **bad})


def test_redacted_events_are_not_taken_for_one() -> None:
    """Overlapping events whose titles were redacted count as they did before redaction."""
    told = [
        (0, 22, "firefox", "one"),
        (5, 13, "firefox", "two"),
        (17, 19, "Code", "cart.py"),
        (20, 25, "firefox", "three"),
    ]

    def seconds(redacted: bool) -> dict[str, int]:
        events = [
            BucketEvent(
                begin * SECOND + 1,
                end * SECOND + 1,
                {"app": app, "title": "[redacted]" if redacted and app == "firefox" else title},
            )
            for begin, end, app, title in told
        ]
        result: dict[str, int] = {}
        for event in flood(events):
            app = str(event.data["app"])
            result[app] = result.get(app, 0) + event.end - event.begin
        return result

    assert seconds(redacted=True) == seconds(redacted=False)


# --- the definition: no short cuts, each rule in its own pass ----------------------------------------


def _alike(one: BucketEvent, other: BucketEvent) -> bool:
    return one.data == other.data and not _hidden(one)


def _hidden(event: BucketEvent) -> bool:
    return REDACTED in event.data.values()


def _defined_whole(events: list[BucketEvent]) -> list[BucketEvent]:
    """Return *events* with the fragments put together that overlap or were cut at a whole second."""
    result: list[BucketEvent] = []
    parted = 0  # what stands before is over: it ended before a later event began
    for event in sorted(events, key=lambda item: item.begin):
        reach = max((item.end for item in result), default=-1)
        if event.begin > reach or (event.begin == reach and event.begin % SECOND):
            parted = len(result)
        same = [at for at in range(parted, len(result)) if result[at].data == event.data]
        before = result[same[-1]] if same else None
        if before and (
            (event.begin < before.end and not _hidden(event))
            or (event.begin == before.end and not event.begin % SECOND)
        ):
            result[same[-1]] = before._replace(end=max(before.end, event.end))
        else:
            result.append(event)
    return sorted(result, key=lambda item: item[:2])


def _defined_filled(events: list[BucketEvent]) -> list[BucketEvent]:
    """Return *events* without gaps of up to the pulse time."""
    result: list[BucketEvent] = []
    for event in events:
        gap = event.begin - result[-1].end if result else PULSETIME + 1
        if gap <= PULSETIME and _alike(result[-1], event):
            result[-1] = result[-1]._replace(end=max(result[-1].end, event.end))
            continue
        if gap and -SECOND // 10 < gap <= PULSETIME:
            middle = result[-1].end + gap // 2
            result[-1] = result[-1]._replace(end=middle)
            event = event._replace(begin=middle)
        result.append(event)
    return result


def _defined(events: list[BucketEvent]) -> list[BucketEvent]:
    """Return what `flood` must return."""
    result: list[BucketEvent] = []
    for event in _defined_filled(_defined_whole(events)):
        if event.begin >= event.end:
            continue
        while result and result[-1].end > event.begin:
            before = result.pop()
            if _alike(before, event):
                event = before._replace(end=max(before.end, event.end))
                break
            if before.begin < event.begin:
                result.append(before._replace(end=event.begin))
        result.append(event)
    return result


_texts = st.sampled_from(["a", "b", "c", REDACTED])
_fine = st.tuples(st.integers(0, 400_000), st.integers(0, 120_000), _texts)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.one_of(_fine, _fine.map(lambda item: (item[0] * 100, item[1] * 100, item[2]))), max_size=20)
)
def test_floods_as_defined(parts: list[tuple[int, int, str]]) -> None:
    """Whatever overlaps, touches or repeats, `flood` gives what the plain definition gives."""
    events = [
        BucketEvent(begin * 100, (begin + length) * 100, {"app": name}) for begin, length, name in parts
    ]
    assert flood(events) == _defined(events)
