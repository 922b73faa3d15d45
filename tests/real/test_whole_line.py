"""The whole line with real parts: aw-server, a screen, our relay and Blossom server, and a Kimai.

A day arrives in three pieces; after each one the worker's and the operator's lines run as pipes.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.capture_helpers import ROOT, stop
from tests.kimai_double import Double
from tests.parts import need
from tests.real.test_activitywatch import aw_program, aw_server, post
from tests.real.test_screen import display

__all__ = ["aw_program", "aw_server", "display"]  # fixtures

DAY = "2026-11-18T00:00:00Z"
POWDO = f"{sys.executable} -m powdo"
WORKER_LINE = (
    f"{POWDO} capture --since {DAY} | {POWDO} bundle | {POWDO} upload | {POWDO} wrap | {POWDO} publish"
)
OPERATOR_LINE = f"{POWDO} listen --until-eose | {POWDO} ingest"

Export = dict[str, dict[str, Any]]


@dataclass
class Side:
    """One side of the line: a folder and the environment that knows only it."""

    environment: dict[str, str]

    @classmethod
    def create(cls, folder: Path, **more: str) -> Side:
        """Return a side below *folder*."""
        own = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "POWDO_CONFIG": str(folder / "powdo.toml"),
            "POWDO_STATE_DIR": str(folder / "state"),
            "POWDO_DATA_DIR": str(folder / "data"),
            "NSEC_MASTER_KEY": folder.name.encode().hex().ljust(64, "0")[:64],
        }
        return cls(own | more)

    def run(self, line: str) -> list[dict[str, Any]]:
        """Run a bash *line* in which every stage must succeed; return the records it writes."""
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {line}; status=(${{PIPESTATUS[@]}}); echo ${{status[@]}} >&2"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
        )
        statuses = done.stderr.splitlines()[-1].split()
        assert set(statuses) == {"0"}, done.stderr
        return [json.loads(row) for row in done.stdout.splitlines()]

    def text(self, *arguments: str) -> str:
        """Return what one command writes."""
        done = subprocess.run(
            [sys.executable, "-m", "powdo", *arguments], env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def configure(self, text: str) -> None:
        """Add *text* to the configuration."""
        with Path(self.environment["POWDO_CONFIG"]).open("a") as file:
            file.write(text)


def serve(side: Side, *arguments: str) -> tuple[subprocess.Popen[bytes], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "powdo", *arguments, "--listen", "127.0.0.1:0"],
        env=side.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())["url"]


@dataclass
class Line:
    """Both sides, set up and connected."""

    worker: Side
    operator: Side
    kimai: Double

    def run(self) -> list[dict[str, Any]]:
        """Run the whole line once and return what kimai-sync said."""
        assert all(record["accepted"] for record in self.worker.run(WORKER_LINE))
        assert [record["type"] for record in self.operator.run(OPERATOR_LINE)] == ["ingested"]
        return self.operator.run(f"{POWDO} kimai-sync --pending")


@pytest.fixture
def line(tmp_path: Path, aw_server: str, display: str) -> Iterator[Line]:
    """Return the line, its servers running."""
    worker = Side.create(tmp_path / "worker", DISPLAY=display)
    operator, public = Side.create(tmp_path / "operator"), Side.create(tmp_path / "public")
    for folder in ("worker", "operator", "public"):
        (tmp_path / folder).mkdir()
    identity, access = worker.text("keys", "new", "ana", "ana-access").split()
    dvm = operator.text("keys", "new", "dvm")
    data = str(tmp_path / "public")
    relay, relay_url = serve(
        public, "relay", "serve", "--data", f"{data}/relay", "--allow", access, "--allow", dvm
    )
    blossom, blossom_url = serve(public, "blossom", "serve", "--data", f"{data}/blossom", "--allow", access)
    places = ("--relay", relay_url, "--blossom", blossom_url, "--yes")
    worker.text("init", "worker", "--user", "ana", "--dvm", dvm, *places)
    worker.configure(f'\n[capture]\nactivitywatch = "{aw_server}"\n')
    operator.text("init", "operator", *places)
    with Double() as kimai:
        _furnish(kimai, operator)
        operator.text(
            "users",
            "add",
            identity,
            "--name",
            "ana",
            "--access",
            access,
            "--kimai-user",
            "4",
            "--timezone",
            "UTC",
        )
        yield Line(worker, operator, kimai)
    for server in (relay, blossom):
        stop(server)
        assert server.stdout is not None
        server.stdout.close()


def _furnish(double: Double, operator: Side) -> None:
    """Give Kimai the projects of the sample rules, and the operator its address and a token."""
    kimai = double.kimai
    kimai.people()
    for number, (customer, project) in enumerate((("Acme", "Shop"), ("Globex", "API"), ("Own", "powdo")), 1):
        kimai.add_customer(customer)
        kimai.add_project(project, number)
    for activity in ("Development", "Review", "Meeting"):
        kimai.add_activity(activity)
    rules = (ROOT / "powdo/sample/rules.toml").read_text().replace("always_active = true", "")
    token = Path(operator.environment["HOME"]) / "kimai.token"
    token.touch(mode=0o600)
    token.write_text("manager\n")
    operator.configure(f'{rules}\n[kimai]\nurl = "{double.url}"\ntoken_file = "{token}"\n')


def _sample() -> Export:
    export: dict[str, Any] = json.loads(gzip.decompress((ROOT / "powdo/sample/day.json.gz").read_bytes()))
    buckets: Export = export["buckets"]
    return buckets


def _times(event: dict[str, Any]) -> tuple[float, float]:
    begin = datetime.fromisoformat(event["timestamp"]).timestamp()
    return begin, begin + event["duration"]


def _pieces(buckets: Export) -> list[Export]:
    """Return the day in three pieces; no event crosses a cut, as none has grown past it when it is read."""
    spans = sorted(_times(event) for bucket in buckets.values() for event in bucket["events"])
    cuts, end = [spans[0][0]], spans[0][1]
    for begin, stop_ in spans:
        if begin > end + 60:
            cuts.append(begin)
        end = max(end, stop_)
    chosen = [0.0, *cuts[1:][:: max(1, len(cuts[1:]) // 2)][:2], float("inf")]
    return [
        {
            name: {
                **bucket,
                "events": [event for event in bucket["events"] if low <= _times(event)[0] < high],
            }
            for name, bucket in buckets.items()
        }
        for low, high in itertools.pairwise(chosen)
    ]


def _put(url: str, piece: Export) -> None:
    """Put the piece's bucket events into the running ActivityWatch."""
    for name, bucket in piece.items():
        place = f"{url}/api/0/buckets/{name}"
        about = {key: bucket[key] for key in ("client", "type", "hostname")}
        try:
            post(place, about)
        except OSError as error:
            assert "304" in str(error)  # it is there already
        for event in sorted(bucket["events"], key=lambda event: event["timestamp"]):
            event.pop("id", None)
        if bucket["events"]:
            post(f"{place}/events", bucket["events"])


def _canonical(buckets: Export) -> dict[str, float]:
    python = ROOT / ".venv-activitywatch/bin/python"
    need(python.exists(), "'.venv-activitywatch' with aw-core (bin/test makes it)")
    done = subprocess.run(
        [python, str(Path(__file__).parent / "canonical.py")],
        input=json.dumps({"buckets": buckets}),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)  # type: ignore[no-any-return]  # what canonical.py writes


@pytest.mark.real
def test_a_day_in_three_pieces_reaches_kimai_once(line: Line, aw_server: str) -> None:
    """After three runs totals per app are aw-core's within a second, and each timesheet is in Kimai once."""
    buckets = _sample()
    pieces = _pieces(buckets)
    assert len(pieces) == 3
    assert all(piece["aw-watcher-window_devbox"]["events"] for piece in pieces)
    for piece in pieces:
        _put(aw_server, piece)
        assert "created" in {record["action"] for record in line.run()}

    counted = {
        row["key"]: row["seconds"]
        for row in line.operator.run(
            f"{POWDO} report --by app --since {DAY} --until 2026-11-19T00:00:00Z --json"
        )
    }
    expected = _canonical(buckets)
    assert set(counted) == set(expected)
    assert all(abs(counted[app] - seconds) <= 1 for app, seconds in expected.items()), (counted, expected)

    sheets = line.operator.run(f"{POWDO} timesheets --since {DAY} --until 2026-11-19T00:00:00Z --json")
    rows = sorted((row.begin, row.end) for row in line.kimai.kimai.rows.values())
    assert len(rows) == len(sheets)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(rows))
    before = line.kimai.count("POST")
    again = line.operator.run(f"{POWDO} kimai-sync --since {DAY} --until 2026-11-19T00:00:00Z")
    assert {record["action"] for record in again} == {"unchanged"}
    assert line.kimai.count("POST") == before
    assert line.worker.run(WORKER_LINE) == []  # nothing new, a blank screen: nothing to prove
