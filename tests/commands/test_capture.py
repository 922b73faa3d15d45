"""`powdo capture` as a process: privacy, promises, and what is missing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from powdo.adapters.outbox import Outbox
from powdo.worktime.intervals import SECOND
from tests.activitywatch_double import Double
from tests.capture_helpers import Worker, opened, reasons, unused_url

SECRETS = (b"DE89 3704 0044", b"SESSIONTOKEN", b"HIDDENTAB", b"my vault", b"oncology")


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    """Give a worker without display and ActivityWatch."""
    return Worker(tmp_path, options=f'activitywatch = "{unused_url()}"')


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "no-display"),
        ({"DISPLAY": ":4711"}, "no-display"),
        ({"DISPLAY": "nonsense"}, "no-display"),
        ({"DISPLAY": ":0", "WAYLAND_DISPLAY": "wayland-0"}, "no-display"),
        ({"XDG_SESSION_TYPE": "wayland"}, "no-display"),
    ],
)
def test_no_display(worker: Worker, variables: dict[str, str], reason: str) -> None:
    """Without a display that can be grabbed the activity is captured and the reason kept, with a warning."""
    worker.variables = variables
    export = worker.folder / "export.json"
    event = {"timestamp": "2026-11-20T10:00:00Z", "duration": 5, "data": {"app": "a", "title": "b"}}
    export.write_text(
        json.dumps({"buckets": {"w": {"type": "currentwindow", "hostname": "h", "events": [event]}}})
    )
    (record,) = worker.capture("--activity", str(export))
    assert reasons(record) == [("screenshots", reason)]
    assert "warning: no screenshot" in worker.said


def test_nothing_private_in_the_folder(worker: Worker) -> None:
    """An IBAN, a token in a URL, an incognito tab, a denied window and a private one are in no byte kept."""
    worker.options += "\n".join([
        "", "redact = ['DE\\d\\d(?: ?\\d{4}){4} ?\\d\\d']", 'deny = ["keepass"]', 'private = ["oncology"]',
    ])  # fmt: skip

    def event(second: int, **data: Any) -> dict[str, Any]:
        return {"timestamp": f"2026-11-20T10:00:{second:02}Z", "duration": 5, "data": data}

    window = [
        event(0, app="firefox", title="Konto DE89 3704 0044 0532 0130 00 — Mozilla Firefox"),
        event(5, app="firefox", title="HIDDENTAB — Mozilla Firefox"),
        event(10, app="KeePassXC", title="my vault"),
        event(15, app="firefox", title="oncology — Mozilla Firefox"),
        event(20, app="firefox", title="x.example/?s=SESSIONTOKEN — Mozilla Firefox"),
        event(25, app="Code", title="cart.py"),
    ]
    web = [
        event(0, url="https://bank.example/DE89 3704 0044 0532 0130 00?a=b", title="Konto"),
        event(5, url="https://hidden.example/HIDDENTAB", title="HIDDENTAB", incognito=True),
        event(20, url="https://x.example/?s=SESSIONTOKEN#SESSIONTOKEN", title="x"),
    ]
    export = worker.folder / "export.json"
    kinds = {"w": ("currentwindow", window), "aw-watcher-web-firefox": ("web.tab.current", web)}
    export.write_text(
        json.dumps({"buckets": {k: {"type": t, "hostname": "h", "events": e} for k, (t, e) in kinds.items()}})
    )
    (record,) = worker.capture("--activity", str(export), "--no-screenshots")
    assert record["bucket_events"] == 7
    kept = b"".join(path.read_bytes() for path in worker.state.rglob("*") if path.is_file())
    assert [secret for secret in SECRETS if secret in kept] == []
    assert b"cart.py" in kept
    assert b"https://bank.example/[redacted]" in kept


@pytest.fixture
def busy(worker: Worker) -> Iterator[Double]:
    """Give a server with an hour of windows that end now, and point *worker* at it."""
    with Double() as server:
        now = int(time.time())
        events = [((now - n) * SECOND, (now - n + 60) * SECOND, {"n": n}) for n in range(3600, 0, -60)]
        server.buckets["aw-watcher-window_h"] = ("currentwindow", events)
        worker.options = f'activitywatch = "{server.url}"'
        yield server


def test_dry_run_changes_nothing(worker: Worker, busy: Double) -> None:
    """-n writes the record and leaves no trace, neither without an outbox nor with one."""
    (record,) = worker.capture("-n", "--since", "1d", "--no-screenshots")
    assert record["bucket_events"] > 50
    assert not worker.state.exists()
    worker.capture("--no-screenshots", "--since", "1d", "--until", local(time.time() - 1800))
    before = {path: path.read_bytes() for path in worker.state.rglob("*") if path.is_file()}
    (record,) = worker.capture("-n", "--no-screenshots")
    assert record["sequence"] == 2
    assert {path: path.read_bytes() for path in worker.state.rglob("*") if path.is_file()} == before


def test_away_keeps_the_cursor(worker: Worker, busy: Double) -> None:
    """What was recorded while ActivityWatch did not answer is in the next capture."""
    until = local(time.time() - 1800)
    (first,) = worker.capture("--no-screenshots", "--since", "1d", "--until", until)
    busy.faults["/"] = lambda handler: handler.send_error(500)
    assert worker.capture("--no-screenshots") == []
    assert "no activity: " in worker.said
    busy.faults.clear()
    (second,) = worker.capture("--no-screenshots")
    assert (first["end"], second["sequence"]) == (second["begin"], 2)


def test_usage(worker: Worker) -> None:
    """Flags that contradict each other, a missing file and one that is no export have their statuses."""
    worker.capture("--activity", "x.json", "--no-activity", status=2)
    worker.capture("--since", "2026-11-20", "--until", "2026-11-19", status=2)
    worker.capture("--activity", str(worker.folder / "none.json"), status=66)
    (worker.folder / "bad.json").write_text("[]")
    worker.capture("--activity", str(worker.folder / "bad.json"), status=65)
    assert not worker.state.exists()


def local(second: float) -> str:
    """Return *second* as a flag takes it."""
    return datetime.fromtimestamp(second).astimezone().isoformat(timespec="seconds")


def test_second_run_waits_its_turn(worker: Worker, busy: Double) -> None:
    """Runs that meet go one after the other, and nothing is captured twice."""
    worker.state.mkdir(mode=0o700)
    worker.options += "\nscreenshots = false"
    outbox = Outbox(worker.state)
    with outbox.lock("capture"):
        runs = [worker.start("--since", "1d") for _ in range(2)]
        time.sleep(1)
        assert all(run.poll() is None for run in runs)
    lines = [line for run in runs for line in run.communicate(timeout=60)[0].splitlines()]
    outbox.close()
    assert [run.returncode for run in runs] == [0, 0]
    assert sum(json.loads(line)["bucket_events"] for line in lines) in range(50, 61)


def test_killed_at_any_instant(worker: Worker, busy: Double) -> None:
    """Killed after any delay, the runs that follow hold every second once and leave nothing half-made."""
    first = int(time.time()) - 3600
    worker.options += "\nscreenshots = false"
    for step in range(12):
        run = worker.start("--since", local(first), "--until", local(first + 250 * (step + 1)))
        time.sleep(0.15 + 0.03 * step)
        run.kill()
        run.communicate()
    worker.capture("--since", local(first))
    outbox = Outbox(worker.state)
    records = [entry.capture.to_json() for entry in outbox.waiting("bundle")]
    outbox.close()
    parts = sorted((bucket.begin, bucket.end) for record in records for bucket in opened(record).buckets)
    assert all(one[1] == other[0] for one, other in pairwise(parts))
    assert (parts[0][0], parts[-1][1] > (first + 3200) * SECOND) == (first * SECOND, True)
    assert {path.name for path in (worker.state / "outbox").iterdir()} == {item["id"] for item in records}
