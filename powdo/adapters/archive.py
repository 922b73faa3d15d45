"""Writes bundles: the inner plain ZIP, sealed as the one member of an encrypted ZIP (powdo-bundle(5)).

Rules:
- a file goes in only if it is what the manifest says, by size and sha256: a receiver would refuse it;
- the inner ZIP lives in a file without a name, so that a killed run leaves nothing in the clear;
- the bundle appears under its name complete and synced, or not at all.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import zipfile
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import IO

from powdo.errors import BadRecordError, CannotCreateError, InputMissingError, OutputError
from powdo.settings.paths import fsync_path, half_written
from powdo.worktime import bundle_format as layout
from powdo.worktime.manifest import Manifest, parse_manifest

_CHUNK = 1 << 20
_LEVEL = 6
_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = 0o600 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What is known of a bundle once it is written: hashes in hex, *salt* that of WinZip."""

    sha256: str
    ox: str
    size: int
    salt: str


def build(folder: Path, manifest: bytes, proof: bytes, key: bytes, destination: Path) -> Built:
    """Return the facts of the bundle made from the capture in *folder*, durable at *destination*.

    Raises: InputMissingError, BadRecordError when a file is not what the manifest says,
    CannotCreateError, OutputError.
    """
    if len(key) != layout.KEY_SIZE:
        raise BadRecordError(f"a bundle's key has {layout.KEY_SIZE} bytes")
    parsed = parse_manifest(manifest)
    with _inner_file(destination.parent) as inner:
        try:
            _write_inner(inner, folder, parsed, manifest, proof)
            return _seal(inner, key, destination)
        except OSError as error:
            raise OutputError(f"cannot write '{destination}': {error.strerror or error}") from None


def read_manifest(folder: Path) -> bytes:
    """Return the bytes of manifest.json in the capture in *folder*. Raises: InputMissingError."""
    with _open_file(folder / layout.MANIFEST_NAME) as file:
        return file.read()


def _inner_file(folder: Path) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=folder)  # the caller closes it
    except OSError as error:
        raise CannotCreateError(f"cannot create a file in '{folder}': {error.strerror}") from None


def _open_file(path: Path) -> IO[bytes]:
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    except OSError as error:
        raise InputMissingError(f"cannot open '{path}': {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise BadRecordError(f"'{path}' is not a regular file")
    return file


# --- the inner ZIP ---------------------------------------------------------------------------------


def _write_inner(inner: IO[bytes], folder: Path, parsed: Manifest, manifest: bytes, proof: bytes) -> None:
    total = sum(size for size, _ in parsed.files.values())
    if total > layout.MAX_UNPACKED // 2:
        raise BadRecordError(f"the capture in '{folder}' holds {total} bytes, more than a bundle may")
    for deflate in (True, False):
        inner.seek(0)
        inner.truncate()
        with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
            with _member(archive, layout.MANIFEST_NAME, deflate=deflate) as member:
                member.write(manifest)
            with _member(archive, layout.PROOF_NAME, deflate=deflate) as member:
                member.write(proof)
            for name, (size, sha256) in parsed.files.items():
                with _member(archive, name, deflate=deflate and name.endswith(".jsonl")) as member:
                    _copy(folder / name, member, size, sha256)
            _pad(archive, inner.tell())
        # What deflates too well looks like a bomb to the receiver: then it goes in as it is.
        if 2 * total < layout.MAX_RATIO * inner.tell():
            break


def _member(archive: zipfile.ZipFile, name: str, *, deflate: bool) -> IO[bytes]:
    if deflate:  # opened by name, the archive's own method and level hold; 1980 and 0600 are its defaults
        return archive.open(name, "w")
    info = zipfile.ZipInfo(name, _DATE)
    info.external_attr = _MODE
    return archive.open(info, "w")


def _copy(path: Path, member: IO[bytes], size: int, sha256: str) -> None:
    digest = hashlib.sha256()
    count = 0
    with _open_file(path) as file:
        while (chunk := file.read(_CHUNK)) and count <= size:
            digest.update(chunk)
            member.write(chunk)
            count += len(chunk)
    if count != size or digest.hexdigest() != sha256:
        raise BadRecordError(
            f"'{path}' is not what its manifest says",
            hint="the capture was altered after it was made; drop it",
        )


def _pad(archive: zipfile.ZipFile, offset: int) -> None:
    left = layout.padding_for(offset, archive.namelist())
    zeros = bytes(min(left, _CHUNK))
    with _member(archive, layout.PADDING_NAME, deflate=False) as member:
        while left:
            left -= member.write(zeros[:left])


# --- the outer ZIP ---------------------------------------------------------------------------------


def _seal(inner: IO[bytes], key: bytes, destination: Path) -> Built:
    temporary = half_written(destination)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        outer = os.fdopen(os.open(temporary, flags, 0o600), "w+b")
    except OSError as error:
        raise CannotCreateError(f"cannot create '{temporary}': {error.strerror}") from None
    try:
        with outer:
            ox = _encrypt(inner, key, outer)
            built = _facts(outer, ox)
            os.fsync(outer.fileno())
        temporary.replace(destination)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(destination.parent)
    return built


def _encrypt(inner: IO[bytes], key: bytes, outer: IO[bytes]) -> str:
    """Return the sha256 of the inner ZIP, sealed into *outer* on the way."""
    import pyzipper  # costs more than a run that finds nothing to do

    digest = hashlib.sha256()
    length = inner.seek(0, os.SEEK_END)
    inner.seek(0)
    info = pyzipper.AESZipFile.zipinfo_cls(layout.OUTER_NAME, _DATE)
    info.external_attr = _MODE
    info.file_size = length  # known before, so the header needs no ZIP64 fields
    options = {"nbits": 256, "force_wz_aes_version": 2}
    with pyzipper.AESZipFile(
        outer, "w", pyzipper.ZIP_STORED, encryption=pyzipper.WZ_AES, encryption_kwargs=options
    ) as archive:
        archive.setpassword(key.hex().encode())
        with archive.open(info, "w") as member:
            while chunk := inner.read(_CHUNK):
                digest.update(chunk)
                member.write(chunk)
    return digest.hexdigest()


def _facts(outer: BufferedRandom, ox: str) -> Built:
    size = outer.seek(0, os.SEEK_END)
    outer.seek(0)
    head = outer.read(layout.OUTER_HEAD + layout.SALT_SIZE)
    outer.seek(-layout.OUTER_TAIL, os.SEEK_END)
    # Our own reader is the first to judge it: a library that lays it out otherwise shows here, not there.
    layout.check_outer(head[: layout.OUTER_HEAD], outer.read(), size)
    outer.seek(0)
    sha256 = hashlib.file_digest(outer, "sha256").hexdigest()
    return Built(sha256=sha256, ox=ox, size=size, salt=layout.outer_salt(head).hex())
