"""Whether the worker is away, as ActivityWatch has it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from powdo.adapters.activitywatch.presence import is_away
from powdo.adapters.activitywatch.rest import ActivityWatch
from powdo.worktime.intervals import SECOND
from tests.activitywatch_double import Double, gives
from tests.capture_helpers import Worker, unused_url

#: Seconds before now at which a status began and ended.
Told = tuple[str, int, int]
NOW = 1_790_000_000


def server(*watchers: list[Told], now: int = NOW) -> Double:
    """Return a server with an afk bucket for each of *watchers*."""
    double = Double()
    for number, told in enumerate(watchers):
        events: list[tuple[int, int, dict[str, Any]]] = [
            ((now - begin) * SECOND, (now - end) * SECOND, {"status": status}) for status, begin, end in told
        ]
        double.buckets[f"aw-watcher-afk_{number}"] = ("afkstatus", events)
    double.buckets["aw-watcher-window_h"] = (
        "currentwindow",
        [((now - 900) * SECOND, now * SECOND, {"app": "a", "status": "not-afk"})],
    )
    return double


@pytest.mark.parametrize(
    ("watchers", "away"),
    [
        ([], False),
        ([[("afk", 301, 5)]], True),
        ([[("afk", 5000, 0)]], True),
        ([[("afk", 299, 5)]], False),
        ([[("not-afk", 2000, 5)]], False),
        ([[("not-afk", 2000, 400), ("afk", 400, 5)]], True),
        ([[("afk", 2000, 60), ("not-afk", 60, 5)]], False),
        ([[("afk", 5000, 310)]], False),
        ([[("afk", 900, 5)], [("not-afk", 900, 5)]], False),
        ([[("afk", 900, 5)], [("afk", 700, 5)]], True),
        ([[("afk", 900, 5)], [("not-afk", 90_000, 80_000)]], True),
        ([[("asleep", 900, 5)]], False),
    ],
)
def test_away(watchers: list[list[Told]], away: bool) -> None:
    """Who was afk for five minutes is away; what a stopped watcher once said does not count."""
    with server(*watchers) as double:
        assert is_away(ActivityWatch(double.url, timeout=5), NOW) is away


def test_unknown_is_not_away() -> None:
    """A server that is away, or answers nonsense, says nothing about anybody."""
    assert not is_away(ActivityWatch(unused_url(), timeout=1), NOW)
    with server([("afk", 900, 5)]) as double:
        double.faults["/events"] = gives(b"nonsense")
        assert not is_away(ActivityWatch(double.url, timeout=5), NOW)


def test_capture_while_away(tmp_path: Path) -> None:
    """While the worker is away there is no screenshot, and the activity is captured as ever."""
    with server([("afk", 900, 1)], now=int(time.time())) as double:
        worker = Worker(tmp_path, display=":4711", options=f'activitywatch = "{double.url}"')
        (record,) = worker.capture("-v", "--since", "1d")
    assert record["absent"] == ["screenshots: afk"]
    assert "no screenshot: nobody is at the keyboard" in worker.said
    assert "warning" not in worker.said
