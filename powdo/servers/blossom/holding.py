"""Who changes a blob holds a lock meanwhile, which other threads and processes see: one byte of a file.

Locks of open file descriptions (fcntl(2), F_OFD_SETLK) are between processes, and between two that have
opened the file each for themselves; within one `Holding` a set tells what is held.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from powdo.errors import BusyError

#: struct flock of fcntl(2): type, whence, start, length, pid.
_FLOCK = "hhqqi0q"


class Holding:
    """The locks of blobs in *path*, a file that is there for them alone and is opened when first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._held: set[int] = set()
        self._lock = threading.Lock()

    @contextmanager
    def held(self, sha256: str) -> Iterator[None]:
        """Hold the lock of a blob until the block ends. Raises: BusyError, at once; OSError."""
        # blobs whose hashes begin alike share a lock, and at worst wait for one another
        at = int(sha256[:15], 16)
        with self._lock:
            if at in self._held or not self._ask(fcntl.F_WRLCK, at):
                raise BusyError(f"somebody else changes blob {sha256[:8]}")
            self._held.add(at)
        try:
            yield
        finally:
            with self._lock:
                self._ask(fcntl.F_UNLCK, at)
                self._held.remove(at)

    def _ask(self, kind: int, at: int) -> bool:
        """Return whether the byte at *at* is ours, or free, as *kind* says."""
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            weakref.finalize(self, os.close, self._descriptor)
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, kind, os.SEEK_SET, at, 1, 0))
        except BlockingIOError:
            return False
        return True
