"""Writes the folder of a capture: buckets and screenshots first, then the manifest that lists them.

Every file is 0600 and on disk (fsync) before the folder is handed to the outbox.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from powdo.errors import OutputError
from powdo.records import encode_line, format_time
from powdo.settings.paths import fsync_path
from powdo.worktime.flood import Bucket
from powdo.worktime.intervals import SECOND
from powdo.worktime.manifest import Absent, BucketFile, Manifest, ScreenshotFile, from_micros

_BUCKETS, _SCREENSHOTS = "buckets", "screenshots"


class Staging:
    """A capture under construction in *folder*; without one nothing is written. Raises: OutputError."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._buckets: list[BucketFile] = []
        self._screenshots: list[ScreenshotFile] = []
        if folder is None:
            return
        try:
            for name in (_BUCKETS, _SCREENSHOTS):
                (folder / name).mkdir(mode=0o700)
        except OSError as error:
            raise OutputError(f"cannot create '{folder / name}': {error.strerror}") from None

    def add_bucket(self, bucket: Bucket, begin: int, end: int) -> None:
        """Write the events of *bucket* in the seconds [begin, end)."""
        name = f"{_BUCKETS}/{len(self._buckets)}.jsonl"
        sha256, size = self._write(name, bucket_lines(bucket))
        self._buckets.append(
            BucketFile(
                id=bucket.id,
                type=bucket.type,
                client=bucket.client,
                hostname=bucket.hostname,
                device_id=bucket.device,
                begin=begin * SECOND,
                end=end * SECOND,
                events=len(bucket.events),
                file=name,
                sha256=sha256,
                size=size,
            )
        )

    def add_screenshot(
        self, data: bytes, kind: str, *, time: int, monitor: int, width: int, height: int
    ) -> None:
        """Write the image of one monitor, taken at *time* (microseconds)."""
        name = f"{_SCREENSHOTS}/{len(self._screenshots)}.{kind}"
        sha256, size = self._write(name, (data,))
        self._screenshots.append(
            ScreenshotFile(
                time=time, monitor=monitor, width=width, height=height, file=name, sha256=sha256, size=size
            )
        )

    def finish(
        self,
        *,
        capture_id: str,
        device: str,
        sequence: int,
        timezone: str,
        absent: Iterable[tuple[str, str]],
        salt: str,
    ) -> Manifest:
        """Return the manifest over all that was added, once it and all names are on disk."""
        times = [shot.time for shot in self._screenshots]
        manifest = Manifest(
            id=capture_id,
            device=device,
            sequence=sequence,
            begin=min(times + [bucket.begin for bucket in self._buckets]),
            end=max(times + [bucket.end for bucket in self._buckets]),
            timezone=timezone,
            buckets=tuple(self._buckets),
            screenshots=tuple(self._screenshots),
            absent=tuple(Absent(what, reason) for what, reason in absent),
            salt=salt,
        )
        self._write("manifest.json", (manifest.to_bytes(),))
        if self._folder is not None:
            for path in (self._folder / _BUCKETS, self._folder / _SCREENSHOTS, self._folder):
                _sync(path)
        return manifest

    def _write(self, name: str, chunks: Iterable[bytes]) -> tuple[str, int]:
        """Return (sha256, size) of the file *name*, once it is on disk."""
        digest = hashlib.sha256()
        size = 0
        try:
            with self._open(name) as file:
                for chunk in chunks:
                    digest.update(chunk)
                    size += len(chunk)
                    file.write(chunk)
                file.flush()
                if self._folder is not None:
                    os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"cannot write '{name}' of a capture: {error.strerror}") from None
        return digest.hexdigest(), size

    def _open(self, name: str) -> BinaryIO:
        if self._folder is None:
            return Path(os.devnull).open("wb")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return os.fdopen(os.open(self._folder / name, flags, 0o600), "wb")


def _sync(folder: Path) -> None:
    try:
        fsync_path(folder)
    except OSError as error:
        raise OutputError(f"cannot write '{folder}': {error.strerror}") from None


def bucket_lines(bucket: Bucket) -> Iterator[bytes]:
    """Yield the events of *bucket* as ActivityWatch's JSON, one a line."""
    for event in bucket.events:
        yield encode_line(
            {
                "timestamp": format_time(from_micros(event.begin)),
                "duration": (event.end - event.begin) / SECOND,
                "data": event.data,
            }
        )
