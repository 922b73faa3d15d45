"""powdo outbox: listing, showing, releasing, dropping and resending captures; today and status over it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from powdo.adapters.archive_reader import open_bundle
from powdo.adapters.outbox import Outbox
from powdo.nips.event import Event
from powdo.worktime.link import parse_link, verify_chain
from powdo.worktime.manifest import parse_manifest
from tests.pseudo_terminal import shown

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


def _line(record: dict[str, object]) -> bytes:
    return json.dumps(record).encode() + b"\n"


def _states(environment: dict[str, str]) -> list[str]:
    rows = [json.loads(line) for line in _powdo(environment, "outbox", "list", "--json").stdout.splitlines()]
    return [row["state"] for row in rows]


def _setting(environment: dict[str, str], line: str) -> None:
    """Put *line* into the section [worker]."""
    path = Path(environment["POWDO_CONFIG"])
    text = path.read_text()
    assert "[worker]\n" in text
    path.write_text(text.replace("[worker]\n", f"[worker]\n{line}\n", 1))


def _bundles(environment: dict[str, str]) -> list[dict[str, object]]:
    done = _powdo(environment, "bundle", "--pending", "--with-key")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _proof(record: dict[str, object], folder: Path) -> dict[str, Any]:
    """Return proof.json of a bundle, read as a recipient reads it."""
    opened = open_bundle(
        Path(str(record["path"])), key_hex=str(record["key"]), salt_hex=str(record["salt"]),
        x=str(record["sha256"]), ox=str(record["ox"]), size=int(str(record["size"])), max_size=1 << 30,
        destination=folder / str(record["id"]),
    )  # fmt: skip
    return opened.proof


def test_a_bundle_is_dropped_and_told_by_the_next(environment: dict[str, str], tmp_path: Path) -> None:
    """A dropped bundle is destroyed, and the next one carries its signed link, once; the chain is sound."""
    first = _capture(environment, tmp_path, 16)
    (bundled,) = _bundles(environment)
    assert _powdo(environment, "outbox", "drop", str(first["id"])).returncode == 0
    assert not Path(str(bundled["path"])).exists()
    database = (tmp_path / "state" / "outbox.sqlite").read_bytes()
    assert str(bundled["key"]).encode() not in database
    second = _capture(environment, tmp_path, 17)
    _capture(environment, tmp_path, 18)
    dry = _powdo(environment, "outbox", "drop", "-n", str(second["id"]))
    assert [json.loads(line) for line in dry.stdout.splitlines()] == [second]
    assert Path(str(second["path"])).is_dir()
    assert _powdo(environment, "outbox", "drop", str(second["id"])).returncode == 0
    _capture(environment, tmp_path, 19)
    third, fourth = (_proof(record, tmp_path) for record in _bundles(environment))
    told = [parse_link(item["link"]) for item in third["withheld"]]
    assert [(link.sequence, link.withheld) for link in told] == [(1, False), (2, True)]
    for item in (third, *third["withheld"]):
        Event.from_json(item["event"]).verify()
    assert fourth["withheld"] == []
    assert verify_chain([*told, parse_link(third["link"]), parse_link(fourth["link"])]) == []
    assert _states(environment) == ["withheld", "withheld", "bundled", "bundled"]


def test_what_was_dropped_goes_no_further(environment: dict[str, str], tmp_path: Path) -> None:
    """Records of a dropped bundle that are still in a pipe, its key too, are refused by each stage."""
    first = _capture(environment, tmp_path, 16)
    (bundled,) = _bundles(environment)
    _powdo(environment, "outbox", "drop", str(first["id"]))
    assert _powdo(environment, "bundle", stdin=_line(first)).returncode == 65
    blobs = {"blobs": [{"url": "https://blossom.example/x"}]}
    done = _powdo(environment, "wrap", "--to", "0" * 63 + "1", stdin=_line(bundled | blobs))
    assert (done.returncode, done.stdout) == (65, b""), done.stderr
    assert b"was dropped" in done.stderr
    done = _powdo(environment, "outbox", "show", str(first["id"]))
    assert (done.returncode, done.stdout) == (65, b"")
    done = _powdo(environment, "outbox", "drop", str(first["id"]), "nonsense")
    assert done.returncode == 65
    assert b"'nonsense' is not in the outbox" in done.stderr


def _held(environment: dict[str, str]) -> tuple[int, bool, str]:
    """Return what status says is held: how many, whether it ends by itself, and why."""
    rows = [json.loads(line) for line in _powdo(environment, "status", "--json").stdout.splitlines()]
    (row,) = [row for row in rows if row["what"] == "held"]
    return row["count"], row["next"] is not None, row["detail"]


def test_review_waits_for_a_release(environment: dict[str, str], tmp_path: Path) -> None:
    """Under review only what was released is bundled; --all releases the rest."""
    _setting(environment, "review = true")
    first = _capture(environment, tmp_path, 16)
    second = _capture(environment, tmp_path, 17)
    _capture(environment, tmp_path, 18)
    assert _bundles(environment) == []
    assert _held(environment) == (3, False, "review")
    assert _powdo(environment, "outbox", "release", str(second["id"])).returncode == 0
    assert [record["id"] for record in _bundles(environment)] == [second["id"]]
    assert _powdo(environment, "outbox", "drop", str(first["id"])).returncode == 0
    assert _powdo(environment, "outbox", "release", "--all").returncode == 0
    assert len(_bundles(environment)) == 1
    assert _states(environment) == ["withheld", "bundled", "bundled"]
    assert _powdo(environment, "outbox", "release").returncode == 2
    assert _powdo(environment, "outbox", "release", "--all", "x").returncode == 2
    assert _powdo(environment, "outbox", "release", str(first["id"])).returncode == 65


def test_a_release_ends_the_hold(environment: dict[str, str], tmp_path: Path) -> None:
    """While [worker] hold lasts nothing is bundled but what was released."""
    _setting(environment, 'hold = "1h"')
    _capture(environment, tmp_path, 16)
    second = _capture(environment, tmp_path, 17)
    assert _bundles(environment) == []
    _powdo(environment, "outbox", "release", str(second["id"]))
    assert _held(environment) == (1, True, "hold")
    assert [record["id"] for record in _bundles(environment)] == [second["id"]]


def test_show_is_the_same_before_and_after_bundling(environment: dict[str, str], tmp_path: Path) -> None:
    """All that a capture holds is shown, plain or bundled, and unpacked only when asked for."""
    record = _capture(environment, tmp_path, 16)
    rows = _shown(environment, str(record["id"]))
    assert {"what": "currentwindow", "name": "a", "text": "t", "seconds": 60.0} in rows
    assert {"what": "absent", "name": "screenshots", "text": "off", "seconds": None} in rows
    _bundles(environment)
    assert not Path(str(record["path"])).exists()
    assert _shown(environment, str(record["id"])) == rows
    assert not Path(str(record["path"])).exists()
    into = tmp_path / "look"
    assert _shown(environment, str(record["id"]), "--into", str(into)) == rows
    assert parse_manifest((into / "manifest.json").read_bytes()).id == record["id"]
    assert {path.stat().st_mode & 0o077 for path in (into, *into.rglob("*"))} == {0}
    assert _powdo(environment, "outbox", "show", str(record["id"]), "--into", str(into)).returncode == 73
    table = _powdo(environment, "outbox", "show", str(record["id"])).stdout.decode()
    assert "currentwindow" in table.splitlines()[2]


def _shown(environment: dict[str, str], *words: str) -> list[dict[str, object]]:
    done = _powdo(environment, "outbox", "show", *words, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_damaged_bundle_is_told(environment: dict[str, str], tmp_path: Path) -> None:
    """A bundle whose bytes were changed, or that is gone, ends show with 65 or 66; today goes on."""
    record = _capture(environment, tmp_path, 16)
    (bundled,) = _bundles(environment)
    path = Path(str(bundled["path"]))
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    assert _powdo(environment, "outbox", "show", str(record["id"])).returncode == 65
    path.unlink()
    assert _powdo(environment, "outbox", "show", str(record["id"])).returncode == 66
    done = _powdo(environment, "today", "--json")
    assert done.returncode == 0
    assert b"is left out" in done.stderr


def test_today_opens_bundles(environment: dict[str, str], tmp_path: Path) -> None:
    """The day is the same whether captures are plain or bundled; a dropped one is not in it."""
    now = int(time.time())
    begin = max(now - 60, int(datetime.now().replace(hour=0, minute=0, second=0, microsecond=0).timestamp()))
    stamp = datetime.fromtimestamp(begin, UTC).isoformat()
    span = {"timestamp": stamp, "duration": float(now - begin)}
    kinds = {"w": ("currentwindow", {"app": "a", "title": "t"}), "p": ("afkstatus", {"status": "not-afk"})}
    export = {
        name: {"id": name, "type": kind, "client": "c", "hostname": "h", "events": [span | {"data": data}]}
        for name, (kind, data) in kinds.items()
    }
    (tmp_path / "day.json").write_text(json.dumps({"buckets": export}))
    words = ("capture", "--activity", str(tmp_path / "day.json"), "--no-screenshots")
    record = json.loads(_powdo(environment, *words).stdout)
    plain = _powdo(environment, "today", "--json").stdout
    app = {"what": "app", "name": "a", "seconds": now - begin, "captures": None}
    assert app in [json.loads(line) for line in plain.splitlines()]
    table = _powdo(environment, "today").stdout.decode().splitlines()
    assert table[0].split() == ["what", "name", "time", "captures"]
    assert f"{timedelta(seconds=now - begin)}" in {cell for line in table for cell in line.split()}
    _bundles(environment)
    assert _powdo(environment, "today", "--json").stdout == plain
    _powdo(environment, "outbox", "drop", record["id"])
    rows = [json.loads(line) for line in _powdo(environment, "today", "--json").stdout.splitlines()]
    assert rows[0]["seconds"] == 0
    assert {"what": "withheld", "name": None, "seconds": None, "captures": 1} in rows


def test_status_in_a_table(environment: dict[str, str], tmp_path: Path) -> None:
    """The table has a head, what waits where, and the last capture."""
    record = _capture(environment, tmp_path, 16)
    lines = _powdo(environment, "status").stdout.decode().splitlines()
    assert lines[0].split() == ["what", "count", "since", "next", "detail"]
    assert any(line.startswith("last capture") and line.endswith(str(record["id"])) for line in lines)
    assert any(line.split()[:2] == ["captured", "1"] for line in lines)
    bare = _powdo(environment, "status", "--no-headers").stdout.decode().splitlines()
    assert bare[0].split() == ["capturing", "on"]


def test_a_resent_capture_goes_the_whole_way_again(
    powdo: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    """Only what was uploaded can be sent again, by the next --pending, as a person is told; else 65."""
    record = _capture(environment, tmp_path, 16)
    assert _powdo(environment, "outbox", "resend", str(record["id"])).returncode == 65
    _bundles(environment)
    store = Outbox(tmp_path / "state")
    store.add_blobs(str(record["id"]), [{"url": "https://blossom.example/x"}])
    store.close()
    assert _states(environment) == ["uploaded"]
    said = shown(powdo, "outbox", "resend", str(record["id"]), env=environment)
    assert (said.status, said.terminal) == (0, "")
    assert said.stderr.startswith(b"powdo outbox resend: to be sent again by the next ")
    assert _states(environment) == ["bundled"]
