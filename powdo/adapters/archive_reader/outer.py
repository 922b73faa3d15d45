"""The outer ZIP: its frame is compared byte by byte, its one member authenticated, then decrypted."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO

from powdo.adapters.archive_reader.inner import Unsealed
from powdo.errors import BadRecordError, InputMissingError, OutputError, PeerProtocolError
from powdo.worktime import bundle_format as layout

#: Larger pieces go back to the system each time, and come from it anew, page by page.
_CHUNK = 1 << 16
#: An inner ZIP up to this size is not written to the disk.
_IN_MEMORY = 8 << 20
_HEX = re.compile(r"[0-9a-f]*", re.ASCII)


@contextmanager
def unsealed(path: Path, *, key_hex: str, salt_hex: str, ox: str) -> Iterator[Unsealed]:
    """Yield what the bundle at *path*, whose own hash was checked, holds; no file of it was read yet.

    Raises: InputMissingError, BadRecordError when the bundle is not as it must be, PeerProtocolError when
    a hash or the key does not fit, OutputError.
    """
    check_hex(key=(key_hex, layout.KEY_SIZE), salt=(salt_hex, layout.SALT_SIZE), ox=(ox, 32))
    with open_file(path) as blob, _spool(path.parent) as inner:
        try:
            _check_outer(blob, salt_hex)
            _decrypt(blob, key_hex, ox, inner)
            bundle = Unsealed(inner)
        except OSError as error:
            raise OutputError(f"cannot unpack '{path}': {error.strerror or error}") from None
        yield bundle


def check_hex(**values: tuple[str, int]) -> None:
    """Return nothing if each value is so many bytes in hex. Raises: BadRecordError."""
    for name, (value, size) in values.items():
        if len(value) != 2 * size or _HEX.fullmatch(value) is None:
            raise BadRecordError(f"bundle: '{name}' is not {2 * size} lower-case hex digits")


def open_file(path: Path) -> BufferedReader:
    """Return the regular file *path* opened, no link. Raises: InputMissingError, BadRecordError."""
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    except OSError as error:
        raise InputMissingError(f"cannot open '{path}': {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise BadRecordError(f"'{path}' is not a regular file")
    return file


def check_blob(blob: BufferedReader, x: str, size: int) -> None:
    """Return nothing if *blob* has *size* bytes of sha256 *x*. Raises: PeerProtocolError."""
    length = os.fstat(blob.fileno()).st_size
    if length != size:
        raise PeerProtocolError(f"bundle: {length} bytes where {size} were promised")
    if hashlib.file_digest(blob, "sha256").hexdigest() != x:
        raise PeerProtocolError("bundle: its sha256 is not the one promised")


def check_file(path: Path, x: str, size: int) -> None:
    """Return nothing if *path* is a regular file of *size* bytes with the sha256 *x*.

    Raises: InputMissingError, BadRecordError, PeerProtocolError.
    """
    with open_file(path) as blob:
        try:
            check_blob(blob, x, size)
        except OSError as error:
            raise InputMissingError(f"cannot read '{path}': {error.strerror}") from None


def _check_outer(blob: BufferedReader, salt_hex: str) -> None:
    length = os.fstat(blob.fileno()).st_size
    if length < layout.FLOOR:
        raise BadRecordError(f"bundle: {length} bytes is not a padded size")
    head = blob.read(layout.OUTER_HEAD + layout.SALT_SIZE)
    blob.seek(-layout.OUTER_TAIL, os.SEEK_END)
    layout.check_outer(head[: layout.OUTER_HEAD], blob.read(), length)
    if layout.outer_salt(head).hex() != salt_hex:
        raise PeerProtocolError("bundle: its salt is not the one promised")


def _spool(folder: Path) -> IO[bytes]:
    """Return a file that stays in memory unless it grows large, and has no name then."""
    return tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+b", dir=str(folder))  # the caller closes it


def _decrypt(blob: BufferedReader, key_hex: str, ox: str, inner: IO[bytes]) -> None:
    from powdo.worktime.winzip import MAC_SIZE, VERIFIER_SIZE, Opener  # only for a blob worth decrypting

    blob.seek(layout.OUTER_HEAD)
    opener = Opener(key_hex.encode(), blob.read(layout.SALT_SIZE))
    if not opener.fits(blob.read(VERIFIER_SIZE)):
        raise PeerProtocolError("bundle: the key does not open it")
    start = blob.tell()
    end = os.fstat(blob.fileno()).st_size - layout.OUTER_TAIL - MAC_SIZE
    for chunk in _between(blob, start, end):
        opener.authenticate(chunk)
    if not opener.authentic(blob.read(MAC_SIZE)):
        raise PeerProtocolError("bundle: its code of authenticity does not fit")
    digest = hashlib.sha256()
    for chunk in _between(blob, start, end):
        plain = opener.decrypt(chunk)
        digest.update(plain)
        inner.write(plain)
    if digest.hexdigest() != ox:
        raise PeerProtocolError("bundle: the sha256 of its inner zip is not the one promised")


def _between(blob: BufferedReader, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes from *start* to *end*, or fewer where the file became shorter."""
    blob.seek(start)
    while start < end and (chunk := blob.read(min(_CHUNK, end - start))):
        start += len(chunk)
        yield chunk
