"""Cutting bucket events at the borders of captures."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from powdo.worktime.activity import Bucket, BucketEvent
from powdo.worktime.cutting import DAY, Allowed, clip, day_slices, inside, obeying, settled_until
from powdo.worktime.hours import Control
from powdo.worktime.intervals import SECOND, Interval, intersect

EVENTS = st.lists(
    st.tuples(st.integers(0, 40 * SECOND), st.sampled_from((0, 1, 999, SECOND, 7 * SECOND + 1))), max_size=20
).map(lambda items: [BucketEvent(begin, begin + length, {}) for begin, length in items])
BORDERS = st.lists(st.integers(1, 59), unique=True).map(lambda inner: sorted({0, *inner, 60}))


@given(EVENTS, BORDERS)
def test_slices_add_up(events: list[BucketEvent], borders: list[int]) -> None:
    """Whatever the borders, fragments add up to the whole and each event without duration comes once."""
    parts = [part for begin, end in pairwise(borders) for part in clip(events, begin, end)]
    assert sum(part.end - part.begin for part in parts) == sum(item.end - item.begin for item in events)
    instants = [part.begin for part in parts if part.begin == part.end]
    assert sorted(instants) == sorted(item.begin for item in events if item.begin == item.end)


def test_touching_events_leave_nothing() -> None:
    """An event that only touches the period is not in it."""
    touching = [BucketEvent(0, 10 * SECOND, {}), BucketEvent(20 * SECOND, 20 * SECOND + 1000, {})]
    assert clip(touching, 10, 20) == []


def test_sorted_by_time() -> None:
    """What a server sends newest first comes out in order of time."""
    events = [BucketEvent(5, 6, {}), BucketEvent(1, 2, {})]
    assert [event.begin for event in clip(events, 0, 1)] == [1, 5]


def test_settled_until() -> None:
    """The end is behind the clock by the settle time, behind the bucket's last update, and before --until."""
    assert settled_until(1000.9, 240, 2000 * SECOND) == 760
    assert settled_until(1000.9, 240, 700 * SECOND + 999_999) == 700
    assert settled_until(1000.9, 240, 2000 * SECOND, 100) == 100


@given(st.integers(0, 5 * DAY), st.integers(0, 5 * DAY))
def test_day_slices_cover(begin: int, length: int) -> None:
    """The pieces of a period are at most a day each and follow one another without a gap."""
    pieces = list(day_slices(begin, begin + length))
    assert all(0 < end - start <= DAY for start, end in pieces)
    assert all(one[1] == other[0] for one, other in pairwise(pieces))
    assert (pieces[0][0], pieces[-1][1]) == (begin, begin + length) if length else not pieces


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=12),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=6),
)
def test_only_what_is_allowed_stays(events: list[tuple[int, int]], allowed: list[tuple[int, int]]) -> None:
    """Each instant of an event stays if it is allowed and goes if it is not, those without duration too."""
    spans = [Interval(begin, begin + length) for begin, length in allowed]
    given_events = [
        BucketEvent(begin, begin + length, {"n": str(i)}) for i, (begin, length) in enumerate(events)
    ]
    kept = inside(given_events, spans)
    assert kept == sorted(kept, key=lambda item: (item.begin, item.end))
    for i, event in enumerate(given_events):
        own = [Interval(item.begin, item.end) for item in kept if item.data == {"n": str(i)}]
        if event.begin == event.end:
            assert bool(own) == any(span.begin <= event.begin < span.end for span in spans)
        else:
            assert own == intersect([Interval(event.begin, event.end)], spans)


def test_a_period_shrinks_to_what_is_allowed() -> None:
    """A bucket's period ends where a pause begins; a pause inside is told, one around leaves nothing."""
    bucket = Bucket("w", "currentwindow", "c", "h", (BucketEvent(0, 100 * SECOND, {}),))

    def pausing(*pauses: Interval) -> Allowed | None:
        return obeying(bucket, 10, 90, Control(hours=(), overrides=(), pauses=pauses, offset=lambda _: 0))

    whole = pausing()
    assert whole is not None
    assert (whole.begin, whole.end, whole.reasons) == (10, 90, ())
    late = pausing(Interval(50 * SECOND + 1, 200 * SECOND))
    assert late is not None
    assert (late.begin, late.end, late.reasons) == (10, 51, ())
    assert [(item.begin, item.end) for item in late.bucket.events] == [(10 * SECOND, 50 * SECOND + 1)]
    middle = pausing(Interval(30 * SECOND, 40 * SECOND))
    assert middle is not None
    assert (middle.begin, middle.end, middle.reasons) == (10, 90, ("paused",))
    assert pausing(Interval(0, 100 * SECOND)) is None
