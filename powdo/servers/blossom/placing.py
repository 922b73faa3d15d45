"""How a file comes to lie on disk under its name for good: in C where there was a compiler (csrc/disk.c).

Here are the same steps in Python, for an install without one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from powdo.settings.paths import fsync_path

try:
    from powdo import _disk
except ImportError:  # there was no compiler
    _disk = None  # type: ignore[assignment]


def place_in_python(
    descriptor: int,
    pieces: Sequence[bytes] | None,
    temporary: str,
    path: str | None,
    directory: str | None,
    parent: str | None,
) -> None:
    """Write *pieces* to a file, sync it, rename it to *path* and sync *directory*, in this order.

    The file is the open one *descriptor*, or a new one where that is negative; *temporary* is its name, which
    may be left if a step fails. Without *pieces* nothing is written; without *path* nothing is renamed. Where
    *parent* is given, *directory* is made in it before the file is synced, and *parent* is synced, whoever
    has made the directory. Raises: OSError, TypeError where the directory is needed and not given.
    """
    if directory is None and (path is not None or parent is not None):
        raise TypeError("place() needs the directory")
    if pieces is not None:
        _write_synced(descriptor, pieces, temporary, directory, parent)
    elif directory is not None and parent is not None:
        _make_directory(directory, parent)
    if path is not None and directory is not None:
        Path(temporary).rename(path)
        fsync_path(Path(directory))


def _write_synced(
    descriptor: int, pieces: Sequence[bytes], temporary: str, directory: str | None, parent: str | None
) -> None:
    file = descriptor if descriptor >= 0 else create(temporary)
    try:
        for piece in pieces:
            write_whole(file, piece)
        if directory is not None and parent is not None:
            _make_directory(directory, parent)
        os.fsync(file)
    finally:
        if descriptor < 0:
            os.close(file)


def _make_directory(path: str, parent: str) -> None:
    Path(path).mkdir(mode=0o700, exist_ok=True)
    fsync_path(Path(parent))


def create(path: str) -> int:
    """Return a descriptor of the new file *path*. Raises: OSError."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def write_whole(descriptor: int, data: bytes) -> None:
    """Write all of *data*, however little is taken at a time. Raises: OSError."""
    written = 0
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


#: The way that this install has; `place_in_python` says what it does.
place = place_in_python if _disk is None else _disk.place
