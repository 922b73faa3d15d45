"""Reading ActivityWatch: no gap and no duplicate in any slicing, and what a bad server costs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from powdo.adapters.activitywatch import rest
from powdo.adapters.activitywatch.reading import FIRST, Reading, Wanted, read
from powdo.adapters.activitywatch.rest import ActivityWatch
from powdo.errors import PeerProtocolError, PowdoError, RetryLaterError
from powdo.worktime.intervals import SECOND
from tests.activitywatch_double import DEVICE, Double, Stored, dripping, endless, gives, hanging_up, iso

BEGIN = 1_795_000_000
WINDOW = "aw-watcher-window_h"


@pytest.fixture(scope="module")
def server() -> Iterator[Double]:
    """Give a running double."""
    with Double() as double:
        yield double


@pytest.fixture(autouse=True)
def clean(server: Double) -> None:
    """Empty the double before each test."""
    for state in (server.buckets, server.extra, server.faults, server.requests):
        state.clear()


class Cursors:
    """Cursors in memory, kept as the outbox keeps them."""

    def __init__(self) -> None:
        self.at: dict[tuple[str, str], int] = {}

    def __call__(self, source: str, bucket: str) -> int | None:
        """Return the cursor of *bucket*."""
        return self.at.get((source, bucket))

    def tick(self, server: Double, now: float, **wanted: int) -> Reading:
        """Read as a capture at *now* does, and keep the cursors."""
        asked = {"today": BEGIN, "settle": 240} | wanted
        reading = read(ActivityWatch(server.url, timeout=5), Wanted(now=now, **asked), self)
        for key, at in reading.cursors.items():
            self.at[key] = max(at, self.at.get(key, at))
        return reading


def second(at: float) -> int:
    """Return *at* seconds after BEGIN in microseconds."""
    return BEGIN * SECOND + round(at * SECOND)


def total(readings: list[Reading]) -> int:
    """Return the microseconds of all events."""
    return sum(
        event.end - event.begin for item in readings for part in item.parts for event in part.bucket.events
    )


def instants(readings: list[Reading]) -> int:
    """Return how many events without duration there are."""
    return sum(
        event.end == event.begin for item in readings for part in item.parts for event in part.bucket.events
    )


LENGTHS = st.one_of(st.just(0), st.integers(1, 300_000), st.integers(1, 300).map(lambda n: n * 1000))
GAPS = st.one_of(st.just(0), st.integers(0, 90_000), st.integers(0, 60).map(lambda n: n * 1000))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(GAPS, LENGTHS), min_size=1, max_size=25),
    st.lists(st.integers(1, 600), min_size=1, max_size=6),
)
def test_any_slicing_adds_up(server: Double, shape: list[tuple[int, int]], steps: list[int]) -> None:
    """However the ticks fall, what they read adds up to what was recorded, to the microsecond."""
    server.buckets.clear()
    events: list[Stored] = []
    at = 0
    for gap, length in shape:  # in milliseconds, as watchers give them
        at += gap
        events.append((second(at / 1000), second((at + length) / 1000), {"n": len(events)}))
        at += length
    server.buckets[WINDOW] = ("currentwindow", events)
    cursors = Cursors()
    readings: list[Reading] = []
    now = float(BEGIN + 240)
    for step in itertools.islice(itertools.cycle(steps), 25):
        readings.append(cursors.tick(server, now))
        now += step + 0.7
        if now > BEGIN + at / 1000 + 300:
            break
    readings.append(cursors.tick(server, now + 3600))
    final = cursors.at.get((DEVICE, WINDOW), BEGIN) * SECOND
    assert final == max(events[-1][1] // SECOND, BEGIN) * SECOND
    assert total(readings) == sum(min(end, final) - min(begin, final) for begin, end, _ in events)
    assert instants(readings) == sum(begin == end < final for begin, end, _ in events)


def test_one_slice_or_many_days(server: Double) -> None:
    """Three days are asked for a day at a time and lose nothing at midnight."""
    events: list[Stored] = [(second(n * 3600), second((n + 1) * 3600), {"n": n}) for n in range(72)]
    server.buckets[WINDOW] = ("currentwindow", events)
    reading = Cursors().tick(server, BEGIN + 4 * 86_400)
    assert total([reading]) == 72 * 3600 * SECOND
    assert sum("/events?" in path for path in server.requests) == 3


def test_unsettled_time_waits(server: Double) -> None:
    """Nothing of the last settle seconds is read, nor anything after the bucket's last update."""
    server.buckets[WINDOW] = (
        "currentwindow",
        [(second(0), second(100.5), {}), (second(100.5), second(700), {})],
    )
    cursors = Cursors()
    first = cursors.tick(server, BEGIN + 400)
    assert first.parts[0].end == BEGIN + 160
    assert cursors.tick(server, BEGIN + 5000).parts[0].end == BEGIN + 700
    assert not cursors.tick(server, BEGIN + 6000).parts


def test_late_flush_is_not_skipped(server: Double) -> None:
    """A watcher that was offline and sends its events hours later loses none of them."""
    server.buckets[WINDOW] = ("currentwindow", [(second(0), second(60), {})])
    cursors = Cursors()
    readings = [cursors.tick(server, BEGIN + 9000)]
    server.buckets[WINDOW][1].append((second(60), second(4000), {}))
    readings.append(cursors.tick(server, BEGIN + 9600))
    assert total(readings) == 4000 * SECOND


def test_later_bucket_begins_with_its_source(server: Double) -> None:
    """A bucket that appears after midnight begins where its source was first captured, not today."""
    server.buckets[WINDOW] = ("currentwindow", [(second(0), second(600), {})])
    cursors = Cursors()
    cursors.tick(server, BEGIN + 5000)
    assert cursors.at[DEVICE, FIRST] == BEGIN
    server.buckets["late"] = ("afkstatus", [(second(300), second(900), {"status": "not-afk"})])
    reading = cursors.tick(server, BEGIN + 9000, today=BEGIN + 8000)
    assert [(part.bucket.id, part.begin, part.end) for part in reading.parts] == [
        ("late", BEGIN, BEGIN + 900)
    ]


def test_since_and_until(server: Double) -> None:
    """--since may begin earlier than today but never before a cursor; --until caps."""
    server.buckets[WINDOW] = ("currentwindow", [(second(-1000), second(1000), {})])
    cursors = Cursors()
    early = cursors.tick(server, BEGIN + 9000, since=BEGIN - 500, until=BEGIN + 100)
    assert (early.parts[0].begin, early.parts[0].end) == (BEGIN - 500, BEGIN + 100)
    again = cursors.tick(server, BEGIN + 9000, since=BEGIN - 900, until=BEGIN + 200)
    assert (again.parts[0].begin, again.parts[0].end) == (BEGIN + 100, BEGIN + 200)
    later = cursors.tick(server, BEGIN + 9000, since=BEGIN + 500)
    assert (later.parts[0].begin, later.parts[0].end) == (BEGIN + 500, BEGIN + 1000)


def test_malformed_events_cost_only_themselves(server: Double) -> None:
    """Events that are none are left out and told; those beside them are read and the cursor moves."""
    server.buckets[WINDOW] = ("currentwindow", [(second(0), second(60), {"title": "ok"})])
    at = iso(second(5))
    server.extra[WINDOW] = [
        None,
        {"timestamp": "yesterday", "duration": 1, "data": {}},
        {"timestamp": at, "duration": "1", "data": {}},
        {"timestamp": at, "duration": float("nan"), "data": {}},
        {"timestamp": at, "duration": -1, "data": {}},
        {"timestamp": at, "duration": 1, "data": []},
        {"timestamp": at, "duration": 1, "data": {"title": "x" * 2_000_000}},
    ]
    cursors = Cursors()
    reading = cursors.tick(server, BEGIN + 9000)
    assert total([reading]) == 60 * SECOND
    assert reading.problems == [f"7 bucket events in '{WINDOW}' left out: not an object"]
    assert cursors.at[DEVICE, WINDOW] == BEGIN + 60


def test_half_a_surrogate_is_mended(server: Double) -> None:
    """A title with half a surrogate pair keeps its event."""
    server.buckets[WINDOW] = ("currentwindow", [(second(0), second(60), {"title": "a\ud83d"})])
    assert Cursors().tick(server, BEGIN + 9000).parts[0].bucket.events[0].data == {"title": "a\ufffd"}


FAULTS = {
    "status 500": (gives(b"Internal Server Error", 500), PeerProtocolError, "status 500"),
    "HTML": (gives(b"<!doctype html><title>404</title>"), PeerProtocolError, "not JSON"),
    "wrong type": (gives(b'"hello"'), PeerProtocolError, "not"),
    "null": (gives(b"null"), PeerProtocolError, "not"),
    "deep": (gives(b"[" * 100_000), PeerProtocolError, "not JSON"),
    "an API key": (gives(b"", 401), PeerProtocolError, "API key"),
    "endless body": (endless, PeerProtocolError, "more than"),
    "dripping body": (dripping, RetryLaterError, "timed out"),
    "no answer": (hanging_up, RetryLaterError, "without response"),
}


@pytest.mark.parametrize("path", ["info", "buckets/", "events"])
@pytest.mark.parametrize(("fault", "error", "text"), FAULTS.values(), ids=FAULTS)
def test_bad_answers(
    server: Double,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    fault: object,
    error: type[PowdoError],
    text: str,
) -> None:
    """Whatever answer is no answer ends in an error that says so, within its time, and no cursor."""
    monkeypatch.setattr(rest, "MAX_ANSWER", 1 << 20)
    server.buckets["web"] = ("web.tab.current", [(second(0), second(60), {})])
    server.faults[path] = fault  # type: ignore[assignment]  # one of FAULTS
    with pytest.raises(error, match=text):
        read(
            ActivityWatch(server.url, timeout=0.5),
            Wanted(now=BEGIN + 9000, today=BEGIN, settle=240),
            Cursors(),
        )


def test_one_bad_bucket_waits(server: Double) -> None:
    """A bucket that answers nonsense keeps its cursor for later, and the others go on."""
    server.buckets["a"] = ("afkstatus", [(second(0), second(60), {"status": "not-afk"})])
    server.buckets[WINDOW] = ("currentwindow", [(second(0), second(60), {"title": "x"})])
    server.faults["buckets/a/"] = gives(b"no", 500)
    cursors = Cursors()
    reading = cursors.tick(server, BEGIN + 9000)
    assert reading.incomplete
    assert [part.bucket.id for part in reading.parts] == [WINDOW]
    assert (DEVICE, "a") not in cursors.at
    server.faults.clear()
    assert [part.bucket.id for part in cursors.tick(server, BEGIN + 9000).parts] == ["a"]


def test_a_browser_bucket_holds_all_back(server: Double) -> None:
    """Without the browser's word on incognito tabs no window title is read either."""
    server.buckets["web"] = ("web.tab.current", [(second(0), second(60), {})])
    server.buckets[WINDOW] = ("currentwindow", [(second(0), second(60), {"title": "x"})])
    server.faults["buckets/web/"] = gives(b"no", 500)
    with pytest.raises(PeerProtocolError):
        Cursors().tick(server, BEGIN + 9000)


def test_a_bucket_that_vanished(server: Double) -> None:
    """A bucket deleted between listing and reading is told and left out."""
    server.buckets[WINDOW] = ("currentwindow", [(second(0), second(60), {})])
    server.faults["events"] = gives(b'{"message":"no bucket"}', 404)
    reading = Cursors().tick(server, BEGIN + 9000)
    assert not reading.parts
    assert "no bucket" in reading.problems[0]


def test_odd_bucket_ids(server: Double) -> None:
    """Ids are quoted in the address, and one that no manifest may hold leaves its bucket out."""
    server.buckets["a/b c?d_é"] = ("currentwindow", [(second(0), second(60), {})])
    server.buckets["bad\x1b[2J"] = ("currentwindow", [(second(0), second(60), {})])
    reading = Cursors().tick(server, BEGIN + 9000)
    assert [part.bucket.id for part in reading.parts] == ["a/b c?d_é"]
    assert len(reading.problems) == 1


def test_nobody_there() -> None:
    """A port on which nothing listens is told as such."""
    with Double() as gone:
        url = gone.url
    with pytest.raises(RetryLaterError, match="connection refused"):
        ActivityWatch(url, timeout=5).buckets()
