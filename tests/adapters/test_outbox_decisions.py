"""What a person decides in the outbox, and what a glance at it tells."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from powdo.adapters.outbox import Delivery, Outbox
from powdo.errors import BadRecordError, RetryLaterError
from powdo.worktime.hours import FOREVER
from powdo.worktime.intervals import Interval
from tests.outbox_steps import KEY, bundle, capture


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    """Return an empty outbox."""
    return Outbox(tmp_path / "state")


def state_bytes(outbox: Outbox) -> bytes:
    """Return every byte on the disk."""
    return b"".join(path.read_bytes() for path in outbox.captures.parent.rglob("*") if path.is_file())


def state_of(outbox: Outbox, capture_id: str) -> str:
    """Return how far a capture has come."""
    return outbox.known(capture_id).state


# --- pauses ----------------------------------------------------------------------------------------


def test_pauses_outlive_the_process(outbox: Outbox, tmp_path: Path) -> None:
    """A pause is there for the next process, with the end that it was given last."""
    outbox.pause(100)
    outbox.pause(200, 300)
    assert Outbox(tmp_path / "state").pauses(0) == (Interval(100, 200), Interval(200, 300))
    outbox.resume(250)
    outbox.pause(400)
    assert Outbox(tmp_path / "state").pauses(0) == (
        Interval(100, 200), Interval(200, 250), Interval(400, FOREVER),
    )  # fmt: skip
    assert outbox.pauses(260) == (Interval(400, FOREVER),)


def test_a_clock_set_back_does_not_undo_a_pause(outbox: Outbox) -> None:
    """A resume that comes before the pause by the clock ends it nevertheless."""
    outbox.pause(1000)
    outbox.resume(500)
    assert outbox.pauses(0) == (Interval(500, 500),)
    assert outbox.control((), lambda _: 0).state(1001) == "on"


def test_a_clock_set_back_does_not_lift_a_pause(outbox: Outbox) -> None:
    """A pause that was stored while the clock was ahead is in force at once, not only when it comes up."""
    now = time.time_ns() // 1000
    outbox.pause(now + 3_600_000_000)
    assert outbox.control((), lambda _: 0, since=now).state(now) == "paused"
    outbox.resume(now)
    assert outbox.control((), lambda _: 0, since=now).state(now) == "on"


def test_an_override_is_replaced(outbox: Outbox) -> None:
    """The latest override counts, and resume without one leaves it."""
    outbox.resume(100, 900)
    outbox.resume(200, 300)
    outbox.resume(250)
    assert outbox.control((), lambda _: 0).overrides == (Interval(100, 200), Interval(200, 300))


# --- release, drop, resend -------------------------------------------------------------------------


def test_released_until_bundled(outbox: Outbox) -> None:
    """What is released waits for `bundle` however it is held; a second release changes nothing."""
    held, record = capture(outbox, "d", now=100), capture(outbox, "d", now=200)
    outbox.release(record.id)
    outbox.release(record.id)
    assert [entry.capture for entry in outbox.waiting("bundle", made_by=-1)] == [record]
    assert [entry.capture for entry in outbox.waiting("bundle", made_by=100)] == [held, record]
    bundle(outbox, record)
    assert list(outbox.waiting("bundle", made_by=-1)) == []
    with pytest.raises(BadRecordError, match="not in the outbox"):
        outbox.release("nonsense")


def test_the_next_release_is_told(outbox: Outbox) -> None:
    """Held captures are due when their time is over, released ones at once, failed ones at their next try."""
    assert outbox.next_release(50) is outbox.next_release(None) is None
    first, second = capture(outbox, "d", now=100), capture(outbox, "d", now=200)
    assert (outbox.next_release(50), outbox.next_release(None)) == (150, None)
    outbox.release(second.id)
    assert outbox.next_release(50) == outbox.next_release(None) == 0
    outbox.defer(second.id, "no", now=1000)
    assert (outbox.next_release(50), outbox.next_release(None)) == (150, 1060)
    outbox.defer(first.id, "no", now=2000)
    assert outbox.next_release(50) == 1060


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_dropped_before_it_is_sealed(outbox: Outbox, steps: int) -> None:
    """A capture, a bundle and an uploaded one leave neither plaintext nor ciphertext nor key on the disk."""
    record = capture(outbox, "d")
    if steps > 0:
        bundle(outbox, record)
        assert KEY.encode() in state_bytes(outbox)
    if steps > 1:
        outbox.add_blobs(record.id, [{"url": "https://b.example/x"}])
    outbox.drop(record.id)
    outbox.drop(record.id)
    assert state_of(outbox, record.id) == "withheld"
    assert list(outbox.captures.iterdir()) == list(outbox.bundles.iterdir()) == []
    assert KEY.encode() not in state_bytes(outbox)
    entry = outbox.known(record.id)
    assert (entry.bundle, entry.key, entry.link is None) == (None, None, steps == 0)
    for stage in ("bundle", "upload", "wrap"):
        assert list(outbox.waiting(stage)) == []


def test_what_is_sealed_is_not_dropped(outbox: Outbox) -> None:
    """Once a wrap exists, dropping is refused and changes nothing."""
    record = capture(outbox, "d")
    bundle(outbox, record)
    outbox.add_blobs(record.id, [{"url": "https://b.example/x"}])
    outbox.add_wraps(record.id, [("r", {"id": "aa"})], now=1)
    with pytest.raises(BadRecordError, match="sealed"):
        outbox.drop(record.id)
    assert outbox.known(record.id).key == KEY


@pytest.mark.parametrize("published", [True, False])
def test_what_was_sealed_once_is_not_dropped(outbox: Outbox, *, published: bool) -> None:
    """A capture that waits to be sent again is not dropped either, though its wrap was never published."""
    record = capture(outbox, "d")
    bundle(outbox, record)
    outbox.add_blobs(record.id, [{"url": "https://b.example/x"}])
    outbox.add_wraps(record.id, [("r", {"id": "aa"})], now=1)
    if published:
        outbox.mark_published("aa", [], done=True, now=2)
    outbox.resend(record.id)
    assert state_of(outbox, record.id) == "bundled"
    with pytest.raises(BadRecordError, match="sealed"):
        outbox.drop(record.id)
    assert (outbox.known(record.id).key, outbox.bundle_path(record.id).exists()) == (KEY, True)


def test_a_key_that_may_still_be_in_the_log_is_told(outbox: Outbox, tmp_path: Path) -> None:
    """While somebody reads the outbox, a drop destroys what it can, says so, and ends when done again."""
    record = capture(outbox, "d")
    bundle(outbox, record)
    with closing(sqlite3.connect(tmp_path / "state" / "outbox.sqlite")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM capture").fetchall()
        hasty = Outbox(tmp_path / "state", patience=0.1)
        with closing(hasty), pytest.raises(RetryLaterError, match="in use"):
            hasty.drop(record.id)
        assert KEY.encode() in state_bytes(outbox)
    assert state_of(outbox, record.id) == "withheld"
    outbox.drop(record.id)
    assert KEY.encode() not in state_bytes(outbox)


def test_a_drop_that_was_killed_is_finished(outbox: Outbox, tmp_path: Path) -> None:
    """Files that a killed drop left behind are removed with the next capture."""
    record = capture(outbox, "d")
    bundle(outbox, record)
    outbox.drop(record.id)
    outbox.bundle_path(record.id).write_bytes(b"left")
    outbox.sweep_captures()
    assert not outbox.bundle_path(record.id).exists()


def test_a_dropped_link_is_told_until_a_bundle_carries_it(outbox: Outbox) -> None:
    """The next bundle carries it; when that one is dropped too, the one after carries both."""
    first, second, third = (capture(outbox, "d") for _ in range(3))
    for record in (first, second, third):
        bundle(outbox, record)
    outbox.drop(first.id)
    assert [entry.capture.id for entry in outbox.untold("d", limit=9)] == [first.id]
    assert outbox.untold("other", limit=9) == []
    outbox.mark_told(second.id, [first.id])
    assert outbox.untold("d", limit=9) == []
    outbox.drop(second.id)
    assert [entry.capture.id for entry in outbox.untold("d", limit=9)] == [first.id, second.id]
    assert len(outbox.untold("d", limit=1)) == 1


def test_resent_from_the_upload_on(outbox: Outbox) -> None:
    """A published capture waits for upload again, without blobs, and can go the whole way once more."""
    record = capture(outbox, "d")
    with pytest.raises(BadRecordError, match="was not sent"):
        outbox.resend(record.id)
    bundle(outbox, record)
    for attempt in ("aa", "bb"):
        outbox.add_blobs(record.id, [{"url": "https://b.example/x"}])
        outbox.add_wraps(record.id, [("r", {"id": attempt})], now=1)
        outbox.mark_published(attempt, [Delivery("wss://r", True, "")], done=True, now=2)
        assert state_of(outbox, record.id) == "published"
        outbox.resend(record.id)
        outbox.resend(record.id)
        (waiting,) = outbox.waiting("upload")
        assert waiting.bundle is not None
        assert waiting.bundle.blobs == ()
    outbox.add_blobs(record.id, [{"url": "https://b.example/x"}])
    outbox.bundle_path(record.id).unlink()
    with pytest.raises(BadRecordError, match="not kept"):
        outbox.resend(record.id)


# --- at a glance -----------------------------------------------------------------------------------


def test_queues_tell_the_oldest_and_the_latest_failure(outbox: Outbox) -> None:
    """Each state has its count, its oldest capture, what failed last, and when it is tried again."""
    old, new = capture(outbox, "d", now=50), capture(outbox, "d", now=70)
    wrapped = capture(outbox, "d", now=60)
    bundle(outbox, wrapped)
    outbox.add_wraps(wrapped.id, [("r", {"id": "aa"})], now=60)
    outbox.defer(old.id, "first", now=1000)
    outbox.defer(new.id, "second", now=2000)
    outbox.defer_wrap("aa", "no relay", now=3000)
    queues = {queue.state: queue for queue in outbox.queues()}
    captured, sealed = queues["captured"], queues["wrapped"]
    assert (captured.captures, captured.oldest, captured.error, captured.retry_at) == (2, 50, "second", 1060)
    assert (sealed.captures, sealed.oldest, sealed.error, sealed.retry_at) == (1, 60, "no relay", 3060)
    assert queues["bundled"].captures == queues["published"].captures == 0
    last = outbox.last_capture()
    assert last is not None
    assert last.capture.id == new.id
    assert [entry.capture.id for entry in outbox.captured_since(60)] == [new.id, wrapped.id]
