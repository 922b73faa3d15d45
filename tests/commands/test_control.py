"""pause, resume, hours, status and today, as processes on a worker's machine with ActivityWatch."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from powdo.adapters.outbox import Outbox
from powdo.adapters.screen import Screenshot
from powdo.commands.capture.tick import Tick
from powdo.options import Run
from powdo.worktime.intervals import MINUTE, SECOND
from tests.activitywatch_double import Double
from tests.capture_helpers import ROOT, Worker, opened, reasons


@pytest.fixture
def server() -> Iterator[Double]:
    """Give ActivityWatch with the last two hours: a window a minute, somebody there, an editor."""
    with Double() as double:
        now = int(time.time())
        minutes = range(now - 7200, now, 60)
        windows = [(at * SECOND, (at + 60) * SECOND, {"app": "Code", "title": f"t{at}"}) for at in minutes]
        editor = [(at * SECOND, (at + 60) * SECOND, {"project": "cart", "file": "a.py"}) for at in minutes]
        double.buckets["aw-watcher-window_h"] = ("currentwindow", windows)
        double.buckets["aw-watcher-vscode_h"] = ("app.editor.activity", editor)
        there = [((now - 7200) * SECOND, now * SECOND, {"status": "not-afk"})]
        double.buckets["aw-watcher-afk_h"] = ("afkstatus", there)
        yield double


@pytest.fixture
def worker(tmp_path: Path, server: Double) -> Worker:
    """Give a worker whose ActivityWatch is *server*."""
    return Worker(tmp_path, options=f'activitywatch = "{server.url}"\nsettle = 0')


def powdo(worker: Worker, *words: str, status: int = 0) -> list[dict[str, Any]]:
    """Return the lines of one command that ends with *status*."""
    done = subprocess.run(
        [sys.executable, "-m", "powdo", *words],
        cwd=ROOT, env=worker.environment(), capture_output=True, timeout=60,
    )  # fmt: skip
    worker.said = done.stderr.decode()
    assert done.returncode == status, worker.said
    return [json.loads(line) for line in done.stdout.splitlines()] if "--json" in words else []


def outbox_of(worker: Worker) -> Outbox:
    """Return the worker's outbox."""
    worker.state.mkdir(mode=0o700, exist_ok=True)
    return Outbox(worker.state)


def starts(record: dict[str, Any]) -> list[int]:
    """Return when the window events of a capture begin, in unix seconds as their titles tell."""
    lines = [
        json.loads(line)
        for bucket in opened(record).buckets
        if bucket.type == "currentwindow"
        for line in (Path(record["path"]) / bucket.file).read_bytes().splitlines()
    ]
    return [int(line["data"]["title"][1:]) for line in lines]


def kept_bytes(worker: Worker) -> bytes:
    """Return all that lies in the state directory."""
    return b"".join(path.read_bytes() for path in worker.state.rglob("*") if path.is_file())


def test_a_pause_is_cut_out_for_good(worker: Worker) -> None:
    """What ActivityWatch recorded in a pause is in no capture, not in one after it either."""
    now = int(time.time())
    outbox = outbox_of(worker)
    outbox.pause((now - 3600) * SECOND, (now - 1800) * SECOND)
    outbox.close()
    (record,) = worker.capture("--no-screenshots", "--since", "2h")
    assert reasons(record) == [("screenshots", "off"), ("activity", "paused")]
    found = starts(record)
    assert found
    assert not [at for at in found if now - 3600 <= at and at + 60 <= now - 1800]
    powdo(worker, "resume")
    again = [at for item in worker.capture("--no-screenshots") for at in starts(item)]
    assert not [at for at in again if now - 3600 <= at < now - 1800]


def test_while_paused_nothing_is_taken(worker: Worker) -> None:
    """From `pause` to `resume` there is no capture, and afterwards none of that time."""
    worker.capture("--no-screenshots", "--since", "10m")
    before = int(time.time())
    powdo(worker, "pause")
    time.sleep(1.1)
    assert worker.capture("--no-activity") == []
    records = worker.capture("--since", "10m")
    assert all(("screenshots", "paused") in reasons(record) for record in records)
    assert all(opened(record).end <= (before + 2) * SECOND for record in records)
    assert "warning" not in worker.said
    assert worker.capture() == []
    (row,) = [row for row in powdo(worker, "status", "--json") if row["what"] == "capturing"]
    assert (row["detail"], row["next"]) == ("paused", None)
    powdo(worker, "resume")
    (row,) = [row for row in powdo(worker, "status", "--json") if row["what"] == "capturing"]
    assert (row["detail"], row["since"]) == ("on", None)


def test_a_bounded_pause_ends_by_itself(worker: Worker) -> None:
    """A pause --for takes the place of an open one and tells when it ends."""
    powdo(worker, "pause")
    powdo(worker, "pause", "--for", "30m")
    (row,) = [row for row in powdo(worker, "status", "--json") if row["what"] == "capturing"]
    left = datetime.fromisoformat(row["next"]).timestamp() - time.time()
    assert row["detail"] == "paused"
    assert 1700 < left <= 1800
    powdo(worker, "pause", "--for", "1s")
    time.sleep(1.1)
    assert powdo(worker, "status", "--json")[0]["detail"] == "on"
    powdo(worker, "pause", "--for", "0", status=2)
    powdo(worker, "pause", "--for", "soon", status=2)


def _other_day() -> str:
    """Return hours that are of the day after tomorrow only."""
    return f"{(datetime.now() + timedelta(days=2)):%a}"[:2] + " 08:00-09:00"


def test_off_hours_nothing_is_taken_later_either(worker: Worker) -> None:
    """Outside the hours there is no capture, and when the hours are widened the past stays out."""
    options = worker.options
    worker.options += f'\nhours = "{_other_day()}"'
    assert worker.capture("--since", "2h") == []
    assert worker.capture("--no-activity") == []
    powdo(worker, "resume")
    assert "outside the hours" in worker.said
    assert powdo(worker, "status", "--json")[0]["detail"] == "off-hours"
    second = int(time.time())
    worker.options = options
    later = [at for item in worker.capture("--no-screenshots") for at in starts(item)]
    assert not [at for at in later if at + 60 < second]


def test_resume_overrides_the_hours(worker: Worker) -> None:
    """After resume --for captures are taken outside the hours, from then on and not before."""
    worker.options += f'\nhours = "{_other_day()}"'
    powdo(worker, "resume", "--for", "8h")
    assert worker.said == ""
    row = powdo(worker, "status", "--json")[0]
    assert row["detail"] == "on"
    assert 28700 < datetime.fromisoformat(row["next"]).timestamp() - time.time() <= 28800
    outbox = outbox_of(worker)
    now = time.time_ns() // 1000
    outbox.resume(now - 10 * MINUTE, now + MINUTE)  # as if it had been said ten minutes ago
    outbox.close()
    (record,) = worker.capture("--no-screenshots", "--since", "2h")
    assert reasons(record) == [("screenshots", "off")]
    assert opened(record).begin // SECOND == (now - 10 * MINUTE) // SECOND
    powdo(worker, "pause")
    assert powdo(worker, "status", "--json")[0]["detail"] == "paused"


def test_hours_that_are_none_are_refused(worker: Worker) -> None:
    """Nonsense in hours is a problem of the configuration that is told with its key."""
    worker.options += '\nhours = "daily"'
    worker.capture("--no-activity", status=78)
    assert "[capture] hours: 'daily' are no hours" in worker.said


def test_a_pause_during_the_look_discards_it(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A screenshot that was taken just when a pause began is not kept."""
    outbox = Outbox(tmp_path / "state")
    tick = Tick(Run("powdo capture"))
    now = time.time_ns() // 1000
    tick._screenshots = (Screenshot(data=b"PIXELS", kind="png", time=now, monitor=1, width=1, height=1),)
    outbox.pause(now - 1)
    with outbox.lock("capture"):
        tick.keep(outbox, dry_run=False)
    outbox.close()
    assert capsysbinary.readouterr().out == b""
    assert tick.absent == [("screenshots", "paused")]
    assert list((tmp_path / "state" / "outbox").iterdir()) == []


def test_an_incognito_tab_in_a_pause_hides_its_window(worker: Worker, server: Double) -> None:
    """A title that a tab showed incognito in a pause is in no capture, though its window lasted longer."""
    now = int(time.time())
    span = ((now - 1200) * SECOND, (now - 600) * SECOND)
    server.buckets["aw-watcher-window_h"] = (
        "currentwindow", [(*span, {"app": "firefox", "title": "HIDDENTAB — Mozilla Firefox"})]
    )  # fmt: skip
    tab = {"url": "https://x.example/", "title": "HIDDENTAB", "incognito": True}
    middle = ((now - 1000) * SECOND, (now - 900) * SECOND)
    server.buckets["aw-watcher-web-firefox"] = ("web.tab.current", [(*middle, tab)])
    outbox = outbox_of(worker)
    outbox.pause(middle[0] - SECOND, middle[1] + SECOND)
    outbox.close()
    (record,) = worker.capture("--no-screenshots", "--since", "1h")
    assert record["bucket_events"] > 0
    assert b"HIDDENTAB" not in kept_bytes(worker)


def test_the_look_falls_at_a_random_moment(worker: Worker) -> None:
    """--spread beats [capture] spread, waits, and a signal ends the wait with nothing taken."""
    worker.options += '\nspread = "1h"'
    run = worker.start("--no-screenshots", "--since", "1h")
    time.sleep(1.5)
    assert run.poll() is None
    run.terminate()
    assert run.communicate(timeout=10)[0] == b""
    assert run.returncode == -15
    assert not worker.state.exists()
    assert worker.capture("--no-screenshots", "--since", "1h", "--spread", "0.2")
    worker.capture("-n", "--no-screenshots")  # a dry run waits for nothing


def test_today_is_the_workers_own_day(worker: Worker) -> None:
    """Today counts active time by app and project in plain captures, and tells pauses and counts."""
    now = int(time.time())
    midnight = int(datetime.now().replace(hour=0, minute=0, second=0, microsecond=0).timestamp())
    outbox = outbox_of(worker)
    outbox.pause((now - 3600) * SECOND, (now - 1800) * SECOND)
    outbox.close()
    worker.capture("--no-screenshots", "--since", "2h", "--until", "1h")
    worker.capture("--no-screenshots")
    rows = powdo(worker, "today", "--json")
    held = max(0, now - max(midnight, now - 7200)) - max(0, now - 1800 - max(midnight, now - 3600))
    found = {(row["what"], row["name"]): row["seconds"] for row in rows}
    for what in (("active", None), ("app", "Code"), ("project", "cart")):
        assert abs(found[what] - held) <= 12, rows  # floods a few seconds into gaps
    paused = [row["seconds"] for row in rows if row["what"] == "paused"]
    assert sum(paused) == pytest.approx(max(0, now - 1800 - max(midnight, now - 3600)), abs=2)
    assert {row["what"]: row["captures"] for row in rows if row["captures"] is not None} == {
        "sent": 0, "received": 0, "waiting": 2, "withheld": 0,
    }  # fmt: skip


def test_an_empty_day_and_an_empty_outbox(worker: Worker) -> None:
    """Without captures today and status say so."""
    assert powdo(worker, "today", "--json")[0]["seconds"] == 0
    rows = powdo(worker, "status", "--json")
    assert [row["what"] for row in rows] == [
        "capturing", "captured", "bundled", "uploaded", "wrapped", "published",
        "acknowledged", "rejected", "withheld",
    ]  # fmt: skip
    assert [row["count"] for row in rows[1:]] == [0] * 8
