"""powdo outbox: listing and dropping captures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_BUCKETS = {
    "buckets": {
        "aw-watcher-window_here": {
            "id": "aw-watcher-window_here",
            "type": "currentwindow",
            "client": "aw-watcher-window",
            "hostname": "here",
            "events": [],
        }
    }
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return an environment whose worker has an identity."""
    own = {
        "POWDO_CONFIG": str(tmp_path / "powdo.toml"),
        "POWDO_STATE_DIR": str(tmp_path / "state"),
        "POWDO_DATA_DIR": str(tmp_path / "data"),
        "NSEC_MASTER_KEY": "11" * 32,
    }
    environment = {
        key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")
    }
    environment |= own
    _powdo(environment, "init", "worker", "--user", "ana", "--yes")
    return environment


def _powdo(
    environment: dict[str, str], *arguments: str, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "powdo", *arguments],
        env=environment,
        input=stdin,
        capture_output=True,
        timeout=60,
    )


def _capture(environment: dict[str, str], folder: Path, day: int) -> dict[str, object]:
    """Capture one window event of *day* and return the record."""
    event = {
        "timestamp": f"2026-11-{day}T10:00:00+00:00",
        "duration": 60.0,
        "data": {"app": "a", "title": "t"},
    }
    _BUCKETS["buckets"]["aw-watcher-window_here"]["events"] = [event]
    export = folder / f"{day}.json"
    export.write_text(json.dumps(_BUCKETS))
    done = _powdo(environment, "capture", "--activity", str(export), "--no-screenshots")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_dropped_capture_is_destroyed_and_withheld_in_the_chain(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """A dropped capture's folder is gone, and the next link follows one that says withheld."""
    first, second = _capture(environment, tmp_path, 16), _capture(environment, tmp_path, 17)
    assert _powdo(environment, "outbox", "drop", str(first["id"])).returncode == 0
    assert not Path(str(first["path"])).exists()
    assert _powdo(environment, "bundle", stdin=json.dumps(second).encode() + b"\n").returncode == 0
    rows = [json.loads(line) for line in _powdo(environment, "outbox", "list", "--json").stdout.splitlines()]
    assert [row["state"] for row in rows] == ["withheld", "bundled"]

    import sqlite3

    database = sqlite3.connect(tmp_path / "state" / "outbox.sqlite")
    links = [json.loads(text) for (text,) in database.execute("SELECT link FROM capture ORDER BY sequence")]
    database.close()
    assert links[0]["withheld"] is True
    assert "root" not in links[0]
    assert links[1]["previous"]


def test_bundled_capture_is_not_dropped(environment: dict[str, str], tmp_path: Path) -> None:
    """Dropping what is linked already is refused with 65 and changes nothing."""
    record = _capture(environment, tmp_path, 16)
    _powdo(environment, "bundle", stdin=json.dumps(record).encode() + b"\n")
    done = _powdo(environment, "outbox", "drop", str(record["id"]), "nonsense")
    assert done.returncode == 65
    assert b"linked already" in done.stderr
    assert b"'nonsense' is not in the outbox" in done.stderr
