"""The demo: the whole line as real processes."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path


def _demo(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")
    }
    return subprocess.run(
        [sys.executable, "-m", "powdo", "demo", *arguments],
        env=environment | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_demo_ends_with_the_timesheets_of_the_sample_day(tmp_path: Path) -> None:
    """The demo runs the whole line and writes the sample day's timesheets, without overlap."""
    done = _demo(tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["type"] for row in rows} == {"timesheet"}
    assert {row["project"] for row in rows} == {"Shop", "API", "powdo"}
    assert all(row["begin"].startswith("2026-11-18T") for row in rows)
    ordered = sorted(rows, key=lambda row: row["begin"])
    assert all(one["end"] <= other["begin"] for one, other in itertools.pairwise(ordered))
    assert 3 * 3600 < sum(row["seconds"] for row in rows) < 9 * 3600


def test_demo_shows_what_the_public_servers_hold(tmp_path: Path) -> None:
    """The walk-through tells stages and sizes, and finds no identity on the public side."""
    done = _demo(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "powdo capture --activity" in done.stderr
    assert "were found there 0 times" in done.stderr
    assert done.stdout.split()[:6] == ["begin", "end", "minutes", "user", "project", "description"]
    assert "Acme / Shop / Development" in done.stdout


def test_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    """After the demo its temporary directory is gone."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    done = _demo(folder, "-q")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert list(folder.iterdir()) == []
