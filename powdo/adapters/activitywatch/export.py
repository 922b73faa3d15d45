"""An ActivityWatch export: the JSON of `/api/0/export` or of one bucket's, plain or gzipped.

A file has no device_id, so its source is `file:HOST`; buckets of watchers that do not know their host (in
browsers) belong to the host whose windows the file has.
"""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

from powdo.adapters.activitywatch.source import BucketInfo, Fetched, bucket_info, check_events, latest
from powdo.errors import BadRecordError, InputMissingError
from powdo.worktime.intervals import SECOND

MAX_EXPORT = 1 << 30
_GZIP = b"\x1f\x8b"


class Export:
    """The export in *path*. Raises: InputMissingError, BadRecordError."""

    settles = False

    def __init__(self, path: Path) -> None:
        self.problems: list[str] = []
        self._path = path
        objects = _objects(path, _load(path))
        self._events: dict[str, Fetched] = {}
        host = _Hosts(objects)
        self._infos: list[BucketInfo] = []
        for name, obj in sorted(objects.items()):
            try:
                info = bucket_info(name, obj, host.source(obj), None)
            except BadRecordError as error:
                self.problems.append(f"bucket '{name[:80]}' is left out: {error.message}")
                continue
            fetched = check_events(events if isinstance(events := obj.get("events"), list) else [])
            self._events[name] = fetched
            self._infos.append(info)

    def buckets(self) -> list[BucketInfo]:
        """Return the file's buckets, sorted by id; last updated is the whole second after the last event."""
        return [
            BucketInfo(
                id=info.id,
                type=info.type,
                client=info.client,
                hostname=info.hostname,
                device=info.device,
                last_updated=latest(events) * SECOND if (events := self._events[info.id].events) else None,
            )
            for info in self._infos
        ]

    def first_begin(self, today: int) -> int:
        """Return the whole second at which the file's first event begins: a file is taken whole."""
        begins = [event.begin for fetched in self._events.values() for event in fetched.events]
        return min(begins, default=0) // SECOND

    def events(self, bucket: BucketInfo, begin: int, end: int) -> Fetched:
        """Return all events of *bucket*."""
        return self._events[bucket.id]


class _Hosts:
    """Which machine a bucket of the file belongs to."""

    def __init__(self, objects: dict[str, dict[str, object]]) -> None:
        names = [
            (obj.get("type") == "currentwindow", str(obj.get("hostname") or ""))
            for _, obj in sorted(objects.items())
        ]
        self._machines = [host for is_window, host in names if is_window and host]
        self._fallback = next((host for _, host in names if host and host != "unknown"), "unknown")

    def source(self, obj: dict[str, object]) -> str:
        host = str(obj.get("hostname") or "")
        if host not in self._machines:
            host = self._machines[0] if self._machines else self._fallback
        return f"file:{host}"


def _load(path: Path) -> object:
    try:
        with path.open("rb") as file:
            head = file.read(2)
            file.seek(0)
            stream = gzip.GzipFile(fileobj=file) if head == _GZIP else file
            data = stream.read(MAX_EXPORT + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadRecordError(f"'{path}' is not a whole gzip file: {error}") from None
    except OSError as error:
        raise InputMissingError(f"cannot read '{path}': {error.strerror}") from None
    if len(data) > MAX_EXPORT:
        raise BadRecordError(f"'{path}' holds more than {MAX_EXPORT} bytes")
    try:
        return json.loads(data, parse_constant=lambda _name: None)
    except (ValueError, RecursionError):
        raise BadRecordError(f"'{path}' is not JSON") from None


def _objects(path: Path, value: object) -> dict[str, dict[str, object]]:
    """Return the buckets by id."""
    buckets = value.get("buckets") if isinstance(value, dict) else None
    if not isinstance(buckets, dict) or not all(isinstance(obj, dict) for obj in buckets.values()):
        raise BadRecordError(
            f"'{path}' is not an ActivityWatch export", hint="get one from http://localhost:5600/api/0/export"
        )
    return buckets
