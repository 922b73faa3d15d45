"""`powdo capture` against a real aw-server: what it keeps is what the server holds."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from powdo.worktime.activity import flood, parse_bucket_event
from powdo.worktime.intervals import SECOND
from tests.capture_helpers import ROOT, Worker, opened, stop
from tests.parts import needed


@pytest.fixture(scope="module")
def aw_program() -> str:
    """Give the path of the real server's program."""
    installed = ROOT / ".venv-activitywatch/bin/aw-server"
    return str(installed) if installed.exists() else needed("aw-server")


@pytest.fixture(scope="module")
def aw_server(aw_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a real aw-server with an empty database."""
    home = tmp_path_factory.mktemp("activitywatch")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [aw_program, "--host", "127.0.0.1", "--port", str(port)],
            env={"PATH": os.environ["PATH"], "HOME": str(home)},
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{url}/api/0/info", timeout=5).close()
            break
        except OSError:
            time.sleep(0.1)
    yield url
    stop(process)


def post(url: str, body: object) -> Any:
    """Return the answer to *body*."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null")


def day(begin: float, seconds: float) -> list[dict[str, Any]]:
    """Return windows of odd lengths with short gaps, overlaps and instants between them."""
    events = []
    at, n = begin, 0
    while at < begin + seconds:
        length = (0.437, 7.001, 61.5, 0.0, 333.25, 2.999)[n % 6]
        stamp = datetime.fromtimestamp(at).astimezone().isoformat(timespec="milliseconds")
        data = {"app": ("Code", "firefox", "Slack")[n % 3], "title": f"Straße {n % 7} 🎹 \\ “x”"}
        events.append({"timestamp": stamp, "duration": length, "data": data})
        at += length + (0.5, 0, 12.25, -1)[n % 4] + (0.001 if not length else 0)
        n += 1
    stamp = datetime.fromtimestamp(int(at) + 400).astimezone().isoformat()
    events.append({"timestamp": stamp, "duration": 20, "data": {"app": "Code", "title": "the last of all"}})
    return events


def per_app(events: list[Any]) -> dict[str, float]:
    """Return app → seconds of flooded *events*."""
    result: dict[str, float] = {}
    for event in flood(events):
        app = str(event.data["app"])
        result[app] = result.get(app, 0.0) + (event.end - event.begin) / SECOND
    return result


#: The sum that ActivityWatch itself makes; `POST /query/` of the released server cannot write its answer.
SUM = """
import json, sys
from aw_core.models import Event
from aw_transform import flood
sums = {}
for event in flood([Event(**item) for item in json.load(sys.stdin)]):
    app = event.data["app"]
    sums[app] = sums.get(app, 0) + event.duration.total_seconds()
print(json.dumps(sums))
"""


def summed_by_aw_core(program: str, events: list[Any]) -> dict[str, float]:
    """Return app → seconds of *events*, flooded by the library of the server in *program*."""
    python = Path(program).with_name("python")
    done = subprocess.run(
        [python, "-W", "ignore", "-c", SUM],
        input=json.dumps(events).encode(),
        capture_output=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


@pytest.mark.real
def test_three_captures_hold_what_the_server_holds(tmp_path: Path, aw_program: str, aw_server: str) -> None:
    """Three captures with new activity between them hold what the server holds, to the second per app."""
    worker = Worker(tmp_path, options=f'activitywatch = "{aw_server}"\nsettle = 0\nscreenshots = false')
    name = "aw-watcher-window_devbox"
    bucket = f"{aw_server}/api/0/buckets/{name}"
    post(bucket, {"client": "aw-watcher-window", "type": "currentwindow", "hostname": "devbox"})
    begin = time.time() - 26 * 3600
    records = []
    for part in range(3):
        post(f"{bucket}/events", day(begin + part * 30_000, 28_000))
        records += worker.capture("--since", "2d")
        assert worker.said == ""
    assert [record["sequence"] for record in records] == [1, 2, 3]
    assert worker.capture() == []
    lines = [
        json.loads(line)
        for record in records
        for file in opened(record).buckets
        for line in (Path(record["path"]) / file.file).read_text().splitlines()
    ]
    ours = per_app([parse_bucket_event(line) for line in lines])
    with urllib.request.urlopen(f"{bucket}/events", timeout=30) as answer:
        stored = json.loads(answer.read())
    theirs = summed_by_aw_core(aw_program, stored)
    assert ours.keys() == theirs.keys()
    for app, seconds in theirs.items():
        assert abs(ours[app] - seconds) < 1, app
    period = sum(item["duration"] for item in stored)
    assert sum(line["duration"] for line in lines) == pytest.approx(period, abs=0.001)
    assert re.fullmatch(r"[0-9a-f-]{36}", opened(records[0]).buckets[0].device_id)
