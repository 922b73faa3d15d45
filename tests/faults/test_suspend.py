"""A machine that sleeps for three days, and the capture after it wakes."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from powdo.worktime.activity import parse_bucket_event
from powdo.worktime.intervals import SECOND
from powdo.worktime.manifest import BucketFile
from tests.activitywatch_double import Double, Stored
from tests.capture_helpers import Worker, opened
from tests.faults.world import iso

_DAY = 86_400
_WINDOW = "aw-watcher-window_h"


@pytest.fixture
def server() -> Iterator[Double]:
    """Yield a running ActivityWatch."""
    with Double() as double:
        yield double


def _asked(server: Double) -> list[tuple[int, int]]:
    """Return the seconds that were asked for, in their order."""
    queries = [parse_qs(urlsplit(path).query) for path in server.requests if f"{_WINDOW}/events?" in path]
    times = [(query["start"][0], query["end"][0]) for query in queries]
    return [(_second(start), _second(end)) for start, end in times]


def _second(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def test_a_suspend_of_three_days_leaves_no_gap(tmp_path: Path, server: Double) -> None:
    """The cursor is three days old: a day at a time is read, into one capture, without gap or overlap."""
    now = int(time.time())
    slept = now - 3 * _DAY - 1800
    spans = [*range(slept - 3600, slept, 60), *range(now - 1800, now - 300, 60)]
    events: list[Stored] = [
        (at * SECOND, (at + 60) * SECOND, {"app": "Code", "title": str(at)}) for at in spans
    ]
    server.buckets[_WINDOW] = ("currentwindow", events)
    worker = Worker(tmp_path, options=f'activitywatch = "{server.url}"\nscreenshots = false')
    (before,) = worker.capture("--since", iso(slept - 3600), "--until", iso(slept - 30))
    server.requests.clear()
    (after,) = worker.capture()
    asked = _asked(server)
    assert len(asked) == 4
    assert all(0 < end - begin <= _DAY + 2 for begin, end in asked)
    assert all(later[0] <= earlier[1] for earlier, later in pairwise(sorted(asked)))
    (first,), (second,) = opened(before).buckets, opened(after).buckets
    assert first.end == second.begin
    assert second.end == (spans[-1] + 60) * SECOND
    found = sorted(_stored(before, first) + _stored(after, second))
    assert sum(end - begin for begin, end in found) == len(spans) * 60 * SECOND
    assert all(one[1] <= other[0] for one, other in pairwise(found))
    assert (found[0][0], found[-1][1]) == (spans[0] * SECOND, second.end)
    assert worker.capture() == []
    with closing(sqlite3.connect(worker.state / "outbox.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM capture").fetchone() == (2,)


def _stored(record: dict[str, str], bucket: BucketFile) -> list[tuple[int, int]]:
    """Return the times of the events in the file of *bucket*."""
    lines = (Path(record["path"]) / bucket.file).read_text().splitlines()
    return [(event.begin, event.end) for event in map(parse_bucket_event, map(json.loads, lines))]
