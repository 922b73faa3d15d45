"""Where the bytes of blobs lie: a protocol, and a folder that keeps it.

The folder: `blobs/ab/cd/<sha256>` without extension, `incoming/` on the same file system for what is
still being received. What lies in `incoming/` when a server starts was cut off, and is removed.
An empty `incoming/<sha256>` notes that the file and the row of a blob are being changed, which no single
step can do: found at a start, it says which file may be one that no row knows.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from powdo.errors import CannotCreateError
from powdo.nips.blossom import is_hash
from powdo.settings.paths import fsync_path


class Incoming(Protocol):
    """A blob being received."""

    def write(self, data: bytes) -> None:
        """Take *data* as the next bytes. Raises: OSError."""

    def commit(self, sha256: str) -> None:
        """Put the blob on disk under its name for good; returns once it would survive a power cut."""

    def discard(self) -> None:
        """Forget the blob, unless it was committed."""


class Storage(Protocol):
    """Keeps blobs by their hash; hashes given to it are checked already."""

    def receive(self) -> Incoming:
        """Return a new blob to write to. Raises: OSError."""

    def open(self, sha256: str) -> BinaryIO | None:
        """Return an open file of the blob with a descriptor for sendfile, or None."""

    def size(self, sha256: str) -> int | None:
        """Return how many bytes of the blob there are, or None."""

    def remove(self, sha256: str) -> None:
        """Delete the blob if it is there."""

    def changing(self, sha256: str) -> contextlib.AbstractContextManager[None]:
        """Hold a note that its file and row may differ, until the block ends well. Raises: OSError."""


class Folder:
    """Storage in a folder. Raises: CannotCreateError."""

    def __init__(self, directory: Path) -> None:
        self._blobs = directory / "blobs"
        self._incoming = directory / "incoming"
        self._known = bytearray(1 << 16)  # second-level directories whose names this process has synced
        try:
            for path in (directory, self._blobs, self._incoming):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # the 256 first-level names are made once, so that an upload need not put them on disk
            for number in range(256):
                (self._blobs / f"{number:02x}").mkdir(mode=0o700, exist_ok=True)
            for path in (self._blobs, directory, directory.parent):
                fsync_path(path)
            for path in self._incoming.iterdir():
                if not is_hash(path.name):
                    path.unlink()
        except OSError as error:
            raise CannotCreateError(f"cannot keep blobs in '{directory}': {error.strerror}") from None

    def _path(self, sha256: str) -> Path:
        return self._blobs / sha256[:2] / sha256[2:4] / sha256

    def receive(self) -> Incoming:
        """Return a new blob in `incoming/`."""
        return _File(self, *tempfile.mkstemp(dir=self._incoming))

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

    @contextlib.contextmanager
    def changing(self, sha256: str) -> Iterator[None]:
        """Hold the note `incoming/<sha256>`; after a failure it stays for the next start."""
        note = self._incoming / sha256
        note.touch(mode=0o600)
        yield
        note.unlink(missing_ok=True)

    def settle(self, has_row: Callable[[str], bool]) -> None:
        """Delete what a change that was cut off has left without a row. Raises: CannotCreateError."""
        try:
            for note in self._incoming.iterdir():
                if is_hash(note.name):
                    if not has_row(note.name):
                        self.remove(note.name)
                    note.unlink()
        except OSError as error:
            raise CannotCreateError(f"cannot tidy '{self._incoming}': {error.strerror}") from None

    def place(self, temporary: str, sha256: str) -> None:
        """Give the durable file *temporary* its name, and put the name on disk."""
        path = self._path(sha256)
        directory = path.parent
        directory.mkdir(mode=0o700, exist_ok=True)
        Path(temporary).rename(path)
        fsync_path(directory)
        number = int(sha256[:4], 16)
        if not self._known[number]:  # its own name may not be on disk: made now, or just before a crash
            fsync_path(directory.parent)
            self._known[number] = 1


class _File:
    """A blob in `incoming/`."""

    def __init__(self, folder: Folder, descriptor: int, name: str) -> None:
        self._folder = folder
        self._descriptor = descriptor
        self._name = name
        self._placed = False

    def write(self, data: bytes) -> None:
        """Write *data* to the page cache."""
        written = os.write(self._descriptor, data)
        while written < len(data):
            written += os.write(self._descriptor, memoryview(data)[written:])

    def commit(self, sha256: str) -> None:
        """Sync the bytes, rename, sync the directory."""
        os.fsync(self._descriptor)
        self._folder.place(self._name, sha256)
        self._placed = True

    def discard(self) -> None:
        """Close the file, and delete it unless it has its name."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if not self._placed:
            with contextlib.suppress(FileNotFoundError):
                Path(self._name).unlink()
