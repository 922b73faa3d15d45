"""Where the bytes of blobs lie: a protocol, and a folder that keeps it.

The folder: `blobs/ab/cd/<sha256>` without extension, `incoming/` on the same file system for what is
still being received, `damaged/` for what `fsck` has put aside.

File and row of a blob cannot be changed in one step. Who changes them holds a lock meanwhile, so that server,
`prune` and `fsck` can work side by side, and leaves the note `incoming/<sha256>`. A note that nobody holds
was left by somebody who was killed: it says which file may be one that no row knows.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import BinaryIO, Protocol

from powdo.errors import BusyError, CannotCreateError
from powdo.nips.blossom import is_hash
from powdo.settings.paths import fsync_path

#: struct flock of fcntl(2): type, whence, start, length, pid.
_FLOCK = "hhqqi0q"
#: So many bytes are left to the page cache before the disk is asked to begin with them.
_AHEAD = 1 << 21


class Incoming(Protocol):
    """A blob being received, by one thread at a time; only `discard` may come from another."""

    def write(self, data: bytes) -> None:
        """Take *data* as the next bytes. Raises: OSError."""

    def commit(self, sha256: str) -> None:
        """Put the blob on disk under its name for good; returns once it would survive a power cut."""

    def discard(self) -> None:
        """Forget the blob, unless it was committed; what comes later fails."""


class Storage(Protocol):
    """Keeps blobs by their hash; hashes given to it are checked already. Raises: OSError in all it does."""

    def receive(self) -> Incoming:
        """Return a new blob to write to."""

    def expect(self, sha256: str, executor: Executor) -> None:
        """Begin in *executor* with what can be made ready for a blob before its bytes are there."""

    def open(self, sha256: str) -> BinaryIO | None:
        """Return an open file of the blob with a descriptor for sendfile, or None."""

    def size(self, sha256: str) -> int | None:
        """Return how many bytes of the blob there are, or None."""

    def remove(self, sha256: str) -> None:
        """Delete the blob if it is there."""

    def set_aside(self, sha256: str) -> None:
        """Take the blob out of the storage, without destroying it."""

    def names(self) -> Iterator[str]:
        """Yield the hashes of all blobs, in any order; of those that come or go meanwhile some."""

    def free(self) -> int:
        """Return how many bytes more could be kept."""

    def changing(self, sha256: str) -> contextlib.AbstractContextManager[None]:
        """Hold a note that file and row of a blob may differ, until the block ends well.

        Raises: BusyError, at once, while somebody else holds it.
        """

    def settle(self, has_row: Callable[[str], bool]) -> None:
        """Delete what changes that were cut off have left without a row."""


class Folder:
    """Storage in the folder *directory*."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._blobs = directory / "blobs"
        self._incoming = directory / "incoming"
        self._damaged = directory / "damaged"
        self._changing = directory / "blossom.changing"
        self._known = bytearray(1 << 16)  # second-level directories whose names this process has synced

    def prepare(self) -> None:
        """Make what is missing and sweep what was being received; for a server. Raises: CannotCreateError."""
        try:
            for path in (self.directory, self._blobs, self._incoming):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # the 256 first-level names are made once, so that an upload need not put them on disk
            for number in range(256):
                (self._blobs / f"{number:02x}").mkdir(mode=0o700, exist_ok=True)
            self._changing.touch(mode=0o600)
            for path in (self._blobs, self.directory, self.directory.parent):
                fsync_path(path)
            for path in self.cut_off():
                path.unlink()
        except OSError as error:
            raise CannotCreateError(f"cannot keep blobs in '{self.directory}': {error.strerror}") from None

    def cut_off(self) -> list[Path]:
        """Return the files of blobs that are being received, or were when their server ended."""
        return [path for path in self._incoming.iterdir() if not is_hash(path.name)]

    def _path(self, sha256: str) -> Path:
        return self._blobs / sha256[:2] / sha256[2:4] / sha256

    def receive(self) -> Incoming:
        """Return a new blob, which will be in `incoming/`."""
        return _File(self)

    def expect(self, sha256: str, executor: Executor) -> None:
        """Make the directory: in a young folder nearly every blob is the first in its own."""
        if not self._known[_directory(sha256)]:
            executor.submit(self._make_directory, sha256)  # what fails here fails again in `place`

    def create(self) -> tuple[int, str]:
        """Return descriptor and name of a new file in `incoming/`."""
        return tempfile.mkstemp(dir=self._incoming)

    def open(self, sha256: str) -> BinaryIO | None:
        """Return the open file of a blob, or None."""
        try:
            return self._path(sha256).open("rb", buffering=0)
        except FileNotFoundError:
            return None

    def size(self, sha256: str) -> int | None:
        """Return the size of a blob, or None."""
        try:
            return self._path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def remove(self, sha256: str) -> None:
        """Delete a blob if it is there."""
        self._path(sha256).unlink(missing_ok=True)

    def set_aside(self, sha256: str) -> None:
        """Move a blob to `damaged/`; an older one of that name there is kept too."""
        self._damaged.mkdir(mode=0o700, exist_ok=True)
        number, name = 0, self._damaged / sha256
        while name.exists():
            number += 1
            name = self._damaged / f"{sha256}.{number}"
        self._path(sha256).rename(name)

    def names(self) -> Iterator[str]:
        """Yield the names of all files in `blobs/` that are hashes."""
        for _, _, files in os.walk(self._blobs):
            yield from filter(is_hash, files)

    def free(self) -> int:
        """Return what the file system has left for us."""
        return shutil.disk_usage(self.directory).free

    @contextlib.contextmanager
    def changing(self, sha256: str) -> Iterator[None]:
        """Hold the lock and the note `incoming/<sha256>`; after a failure the note stays, for `settle`."""
        note = self._incoming / sha256
        with _locked(self._changing, sha256):
            try:  # a link, since on some file systems inodes that come and go are what costs most
                note.hardlink_to(self._changing)
            except OSError:  # somebody who was killed has left it, or there are no links here
                note.touch(mode=0o600)
            yield
            note.unlink()

    def settle(self, has_row: Callable[[str], bool]) -> None:
        """Go through the notes that nobody holds."""
        for note in self._incoming.iterdir():
            if not is_hash(note.name):
                continue
            with contextlib.suppress(BusyError), self.changing(note.name):  # else its holder sees to it
                if not has_row(note.name):
                    self.remove(note.name)

    def place(self, temporary: str, sha256: str) -> None:
        """Give the durable file *temporary* its name, and put the name on disk."""
        self._make_directory(sha256)
        path = self._path(sha256)
        Path(temporary).rename(path)
        fsync_path(path.parent)

    def _make_directory(self, sha256: str) -> None:
        """Make the second-level directory of a blob, and put its name on disk."""
        directory, number = self._path(sha256).parent, _directory(sha256)
        directory.mkdir(mode=0o700, exist_ok=True)
        if not self._known[number]:  # its name may not be on disk: made now, or just before a crash
            fsync_path(directory.parent)
            self._known[number] = 1


def _directory(sha256: str) -> int:
    return int(sha256[:4], 16)


@contextlib.contextmanager
def _locked(path: Path, sha256: str) -> Iterator[None]:
    """Hold the lock of a blob: one byte of *path*, which is there for locks alone. Raises: BusyError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # two blobs whose hashes begin alike share a lock, and at worst wait for one another
        lock = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, int(sha256[:15], 16), 1, 0)
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, lock)
        except BlockingIOError:
            raise BusyError(f"somebody else changes blob {sha256[:8]}") from None
        yield
    finally:
        os.close(descriptor)


class _File:
    """A blob in `incoming/`, made with its first bytes."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._file: tuple[int, str] | None = None
        self._length = self._begun = 0
        self._placed = self._discarded = False
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Write *data* to the page cache."""
        with self._lock:
            (descriptor, _), written = self._opened(), 0
            while written < len(data):
                written += os.write(descriptor, memoryview(data)[written:])
            self._length += written
            if self._length - self._begun >= _AHEAD:
                # the disk begins with it; what it has not done yet stays in the page cache
                with contextlib.suppress(OSError):  # no more than advice
                    os.posix_fadvise(descriptor, self._begun, 0, os.POSIX_FADV_DONTNEED)
                self._begun = self._length

    def _opened(self) -> tuple[int, str]:
        if self._discarded:
            raise OSError(errno.EBADF, "the blob has been discarded")
        if self._file is None:
            self._file = self._folder.create()
        return self._file

    def commit(self, sha256: str) -> None:
        """Sync the bytes, rename, sync the directory."""
        with self._lock:
            descriptor, name = self._opened()
            os.fsync(descriptor)
            self._folder.place(name, sha256)
            self._placed = True

    def discard(self) -> None:
        """Close the file, and delete it unless it has its name."""
        with self._lock:
            self._discarded = True
            if self._file is None:
                return
            descriptor, name = self._file
            self._file = None
            os.close(descriptor)
            if not self._placed:
                Path(name).unlink(missing_ok=True)
