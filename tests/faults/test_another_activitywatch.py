"""ActivityWatch comes back as another: the device_id is new, the buckets are the ones of before."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests import activitywatch_double
from tests.activitywatch_double import Double
from tests.faults.harness import RECEIVE, SEND, run_line
from tests.faults.world import World, iso, world

_SECOND = 1_000_000


@pytest.fixture
def place(tmp_path: Path) -> Iterator[World]:
    """Yield a world."""
    with world(tmp_path) as made:
        yield made


def test_time_counts_once_after_a_new_device_id(place: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time captured under the old device_id and again under the new one is reported and booked once."""
    side = place.machine("machine")
    now = int(time.time())
    side.variables["TZ"] = _zone_of_noon(now)
    with Double() as server:
        with (side.folder / "powdo.toml").open("a") as config:
            config.write(f'\n[capture]\nactivitywatch = "{server.url}"\nscreenshots = false\n')
        spans = [((now - at) * _SECOND, (now - at + 60) * _SECOND) for at in range(7200, 600, -60)]
        window = [(begin, end, {"app": "Code", "title": str(begin)}) for begin, end in spans]
        presence = [(begin, end, {"status": "not-afk"}) for begin, end in spans]
        server.buckets["aw-watcher-window_h"] = ("currentwindow", window)
        server.buckets["aw-watcher-afk_h"] = ("afkstatus", presence)
        side.text("capture", "--until", iso(now - 3600))
        monkeypatch.setattr(activitywatch_double, "DEVICE", "7f9f3a52-0d4e-4a30-8a44-cd2d1a0e9b11")
        side.text("capture", "--until", iso(now - 1800))
        side.text("capture")
    assert set(run_line(side, SEND).values()) == {0}
    assert set(run_line(place.operator, RECEIVE).values()) == {0}
    with (place.operator.folder / "powdo.toml").open("a") as config:
        config.write(
            '\n[[rule]]\nname = "code"\napp = "Code"\nproject = "Website"\nactivity = "Development"\n'
        )
    sheets = place.operator.text("timesheets", "--since", iso(now - 90_000), "--json")
    blocks = [json.loads(line) for line in sheets.splitlines()]
    assert sum(block["seconds"] for block in blocks) == pytest.approx(6600, abs=60)
    assert all(one["end"] <= other["begin"] for one, other in pairwise(blocks))
    report = place.operator.text("report", "--by", "app", "--since", iso(now - 90_000), "--json")
    seconds = sum(json.loads(line)["seconds"] for line in report.splitlines())
    assert seconds == pytest.approx(6600, abs=2)


def _zone_of_noon(now: int) -> str:
    """Return a time zone in which it is about noon, so that today began hours ago."""
    ahead = 12 - time.gmtime(now).tm_hour
    return f"<noon>{-ahead}"
