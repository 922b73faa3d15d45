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
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Protocol

from powdo.errors import BusyError, CannotCreateError
from powdo.nips.blossom import is_hash
from powdo.servers.blossom.holding import Holding
from powdo.servers.blossom.placing import create, place, write_whole
from powdo.settings.paths import fsync_path

#: So many bytes are left to the page cache before the disk is asked to begin with them.
_AHEAD = 1 << 21


class Incoming(Protocol):
    """A blob being received, by one thread at a time; only `expect` and `discard` may come from another.

    After `hasten`, which need not be, comes nothing but `commit`.
    """

    def write(self, data: bytes) -> None:
        """Take *data* as the next bytes. Raises: OSError."""

    def hasten(self, last: Sequence[bytes]) -> None:
        """Take *last* as the end, and put all bytes on disk already. Raises: OSError."""

    def expect(self, sha256: str) -> None:
        """Make ready what is ready without the bytes: this blob is going to be committed. Raises: OSError."""

    def commit(self, sha256: str, last: Sequence[bytes] = ()) -> None:
        """Take *last* if nothing was hastened, and put the blob under its name, safe from power cuts."""

    def discard(self) -> None:
        """Forget the blob, unless it was committed; what comes later fails."""


class Storage(Protocol):
    """Keeps blobs by their hash; hashes given to it are checked already. Raises: OSError in all it does."""

    def receive(self) -> Incoming:
        """Return a new blob to write to."""

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
        self._holding = Holding(self._changing)
        self._known = bytearray(1 << 16)  # second-level directories whose names we have synced

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

    def _path(self, sha256: str) -> str:  # text, since to make a Path takes longer than to ask the system
        return f"{self._blobs}/{sha256[:2]}/{sha256[2:4]}/{sha256}"

    def receive(self) -> Incoming:
        """Return a new blob, which will be in `incoming/`."""
        return _File(self)

    def temporary(self) -> str:
        """Return the name of a file that is not in `incoming/` yet."""
        return f"{self._incoming}/{secrets.token_hex(8)}"

    def open(self, sha256: str) -> BinaryIO | None:
        """Return the open file of a blob, or None."""
        try:
            return FileIO(self._path(sha256))
        except FileNotFoundError:
            return None

    def size(self, sha256: str) -> int | None:
        """Return the size of a blob, or None."""
        try:
            return os.stat(self._path(sha256)).st_size  # noqa: PTH116  # see _path
        except FileNotFoundError:
            return None

    def remove(self, sha256: str) -> None:
        """Delete a blob if it is there."""
        Path(self._path(sha256)).unlink(missing_ok=True)

    def set_aside(self, sha256: str) -> None:
        """Move a blob to `damaged/`; an older one of that name there is kept too."""
        self._damaged.mkdir(mode=0o700, exist_ok=True)
        number, name = 0, self._damaged / sha256
        while name.exists():
            number += 1
            name = self._damaged / f"{sha256}.{number}"
        Path(self._path(sha256)).rename(name)

    def names(self) -> Iterator[str]:
        """Yield the names of all files in `blobs/` that are hashes."""
        for _, _, files in os.walk(self._blobs):
            yield from filter(is_hash, files)

    def free(self) -> int:
        """Return what the file system has left for us."""
        found = os.statvfs(self.directory)
        return found.f_bavail * found.f_frsize

    @contextlib.contextmanager
    def changing(self, sha256: str) -> Iterator[None]:
        """Hold the lock and the note `incoming/<sha256>`; after a failure the note stays, for `settle`."""
        note = f"{self._incoming}/{sha256}"
        with self._holding.held(sha256):
            try:  # a link, since on some file systems inodes that come and go are what costs most
                os.link(self._changing, note)
            except OSError:  # somebody who was killed has left it, or there are no links here
                Path(note).touch(mode=0o600)
            yield
            os.unlink(note)  # noqa: PTH108  # see _path

    def settle(self, has_row: Callable[[str], bool]) -> None:
        """Go through the notes that nobody holds."""
        for note in self._incoming.iterdir():
            if not is_hash(note.name):
                continue
            with contextlib.suppress(BusyError), self.changing(note.name):  # else its holder sees to it
                if not has_row(note.name):
                    self.remove(note.name)

    def make_directory(self, sha256: str) -> None:
        """Make the directory of a blob, and put its name on disk, unless that is known to be done."""
        directory, parent = self._directory(sha256)
        if parent is not None:
            place(-1, None, "", None, directory, parent)
            self._known[_number(sha256)] = 1

    def place(self, descriptor: int, pieces: Sequence[bytes] | None, temporary: str, sha256: str) -> None:
        """Put a file on disk as the blob; see `place_in_python`."""
        directory, parent = self._directory(sha256)
        try:
            place(descriptor, pieces, temporary, f"{directory}/{sha256}", directory, parent)
        except OSError:  # the directory may have gone, by whatever hand: the next blob makes it
            self._known[_number(sha256)] = 0
            raise
        self._known[_number(sha256)] = 1

    def _directory(self, sha256: str) -> tuple[str, str | None]:
        """Return the directory of a blob, and the one above it where it is to be made and its name synced.

        It may be there and its name not on disk: somebody may have made it just before a crash.
        """
        parent = f"{self._blobs}/{sha256[:2]}"
        return f"{parent}/{sha256[2:4]}", None if self._known[_number(sha256)] else parent


def _number(sha256: str) -> int:
    return int(sha256[:4], 16)


class _File:
    """A blob in `incoming/`, made with its first bytes.

    Who holds the lock works at the file; who discards it does not wait, and that one cleans up.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._name: str | None = None
        self._descriptor = -1
        self._length = self._begun = 0
        self._synced = self._placed = self._discarded = False
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Write *data* to the page cache."""
        with self._worked_at() as name:
            if self._descriptor < 0:
                self._descriptor = create(name)
            write_whole(self._descriptor, data)
            self._length += len(data)
            if self._length - self._begun >= _AHEAD:
                # the disk begins with it; what it has not done yet stays in the page cache
                with contextlib.suppress(OSError):  # no more than advice
                    os.posix_fadvise(self._descriptor, self._begun, 0, os.POSIX_FADV_DONTNEED)
                self._begun = self._length

    def hasten(self, last: Sequence[bytes]) -> None:
        """Write *last* and sync."""
        with self._worked_at() as name:
            place(self._descriptor, last, name, None, None, None)
            self._synced = True

    def expect(self, sha256: str) -> None:
        """Make the directory: in a young folder nearly every blob is the first in its own."""
        self._folder.make_directory(sha256)

    def commit(self, sha256: str, last: Sequence[bytes] = ()) -> None:
        """Write *last*, sync, rename, sync the directory."""
        with self._worked_at() as name:
            self._folder.place(self._descriptor, None if self._synced else last, name, sha256)
            self._placed = True

    def discard(self) -> None:
        """Close the file, and delete it unless it has its name."""
        self._discarded = True
        self._clean()

    @contextlib.contextmanager
    def _worked_at(self) -> Iterator[str]:
        try:
            with self._lock:
                if self._discarded:
                    raise OSError(errno.EBADF, "the blob has been discarded")
                if self._name is None:
                    self._name = self._folder.temporary()
                yield self._name
        finally:
            if self._discarded:
                self._clean()

    def _clean(self) -> None:
        if self._lock.acquire(blocking=False):
            try:
                if self._descriptor >= 0:
                    os.close(self._descriptor)
                    self._descriptor = -1
                if self._name is not None and not self._placed:
                    Path(self._name).unlink(missing_ok=True)
            finally:
                self._lock.release()
