"""Export files: what is read of them, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from powdo.adapters.activitywatch.export import Export
from powdo.adapters.activitywatch.reading import Reading, Wanted, read
from powdo.errors import BadRecordError, InputMissingError, PowdoError
from powdo.worktime.intervals import SECOND

EVENT = {"timestamp": "2026-11-20T10:00:00.250000+00:00", "duration": 1.5, "data": {"title": "a"}}
INSTANT = {"timestamp": "2026-11-20T11:00:00+00:00", "duration": 0, "data": {"title": "b"}}


def export(kind: str = "currentwindow", host: str = "devbox", **more: Any) -> dict[str, Any]:
    """Return one bucket as /export gives it."""
    return {"type": kind, "client": "c", "hostname": host, "events": [INSTANT, EVENT]} | more


def write(folder: Path, buckets: dict[str, Any]) -> Path:
    """Return a file with *buckets*."""
    path = folder / "export.json"
    path.write_text(json.dumps({"buckets": buckets}))
    return path


def taken(path: Path, cursors: dict[tuple[str, str], int]) -> Reading:
    """Return what is new in *path*, and keep the cursors."""
    reading = read(Export(path), Wanted(now=0, today=0, settle=240), lambda *key: cursors.get(key))
    cursors.update(reading.cursors)
    return reading


def test_whole_file_once(tmp_path: Path) -> None:
    """Without a cursor the whole file is taken to its last event, and the second time nothing."""
    path = write(tmp_path, {"w": export()})
    cursors: dict[tuple[str, str], int] = {}
    part = taken(path, cursors).parts[0]
    assert [(event.end - event.begin) / SECOND for event in part.bucket.events] == [1.5, 0]
    assert list(cursors) == [("file:devbox", "w")]
    assert not taken(path, cursors).parts


def test_gzip_is_known_by_its_bytes(tmp_path: Path) -> None:
    """A gzipped export is read whatever its name."""
    path = write(tmp_path, {"w": export()})
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert len(taken(path, {}).parts[0].bucket.events) == 2


def test_browsers_belong_to_the_host_of_the_windows(tmp_path: Path) -> None:
    """A bucket whose watcher does not know its host goes with the machine whose windows the file has."""
    path = write(
        tmp_path,
        {
            "web": export("web.tab.current", "unknown"),
            "w1": export(host="one"),
            "w2": export(host="two"),
            "afk": export("afkstatus", "two"),
        },
    )
    devices = {part.bucket.id: part.bucket.device for part in taken(path, {}).parts}
    assert devices == {"web": "file:one", "w1": "file:one", "w2": "file:two", "afk": "file:two"}


def test_malformed_parts_are_told(tmp_path: Path) -> None:
    """A bad event and a bad bucket are left out and told; the rest is taken."""
    path = write(tmp_path, {"w": export(events=[EVENT, {"timestamp": 5}]), "x": export(type=["list"])})
    reading = taken(path, {})
    assert [len(part.bucket.events) for part in reading.parts] == [1]
    assert len(reading.problems) == 2


def test_bucket_without_events(tmp_path: Path) -> None:
    """A bucket without events is not there yet."""
    assert not taken(write(tmp_path, {"w": export(events=[])}), {}).parts


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", BadRecordError),
        (b"{}", BadRecordError),
        (b"[1]", BadRecordError),
        (b'{"buckets":[1]}', BadRecordError),
        (b'{"buckets":{"a":1}}', BadRecordError),
        (b"<html>", BadRecordError),
        (b"\xff\xfe\x00", BadRecordError),
        (gzip.compress(b'{"buckets":{}}' * 99, mtime=0)[:40], BadRecordError),
        (b"\x1f\x8bnonsense", BadRecordError),
        (None, InputMissingError),
    ],
)
def test_no_export(tmp_path: Path, content: bytes | None, error: type[PowdoError]) -> None:
    """What is no export is refused with a reason; a file that is not there is missing."""
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error):
        Export(path)
