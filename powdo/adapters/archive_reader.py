"""Opens bundles and trusts nothing in them (powdo-bundle(5), "THE READER").

Rules, in this order; a bundle that fails one is refused with the reason:
- the blob is a regular file of the promised size and sha256;
- its outer ZIP frames exactly one sealed member; key and salt fit, its code of authenticity and `ox` hold;
- the inner ZIP has no gap, no overlap, no foreign name, and unpacks to no more than it may;
- the manifest and the link are well formed and speak of each other; each file is what the manifest says;
- files are written into a folder of our own, and the folder gets its name when all is there.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO

from powdo.errors import BadRecordError, CannotCreateError, InputMissingError, OutputError, PeerProtocolError
from powdo.records import JsonObject
from powdo.worktime import bundle_format as layout
from powdo.worktime.link import MAX_PROOF, Link, check_link, parse_link, parse_proof
from powdo.worktime.manifest import MAX_MANIFEST, Manifest, parse_manifest

_CHUNK = 1 << 20
_HEX = re.compile(r"[0-9a-f]*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What a bundle held: *files* are paths below *folder*, *proof* is {"link", "event"} unverified."""

    folder: Path
    manifest: Manifest
    manifest_bytes: bytes
    proof: JsonObject
    link: Link
    files: tuple[str, ...]


def open_bundle(
    path: Path,
    *,
    key_hex: str,
    salt_hex: str,
    x: str,
    ox: str,
    size: int,
    max_size: int,
    destination: Path,
) -> Opened:
    """Return what the bundle at *path* holds, its files unpacked into the new folder *destination*.

    The signature on the link is left to the caller: it takes the curve.
    Raises: InputMissingError, BadRecordError when the bundle is not as it must be, PeerProtocolError when
    a hash or the key does not fit, CannotCreateError, OutputError.
    """
    _check_hex(key=(key_hex, layout.KEY_SIZE), salt=(salt_hex, layout.SALT_SIZE), x=(x, 32), ox=(ox, 32))
    if size > max_size:
        raise BadRecordError(f"bundle: {size} bytes are more than the {max_size} allowed")
    with _open_file(path) as blob:
        _check_blob(blob, salt_hex, x, size)
        with _temporary_file(destination.parent) as inner:
            try:
                _decrypt(blob, key_hex, ox, inner)
                return _unpack(inner, destination)
            except OSError as error:
                raise OutputError(f"cannot unpack into '{destination}': {error.strerror or error}") from None


def _check_hex(**values: tuple[str, int]) -> None:
    for name, (value, size) in values.items():
        if len(value) != 2 * size or _HEX.fullmatch(value) is None:
            raise BadRecordError(f"bundle: '{name}' is not {2 * size} lower-case hex digits")


# --- the blob --------------------------------------------------------------------------------------


def _open_file(path: Path) -> BufferedReader:
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    except OSError as error:
        raise InputMissingError(f"cannot open '{path}': {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise BadRecordError(f"'{path}' is not a regular file")
    return file


def _check_blob(blob: BufferedReader, salt_hex: str, x: str, size: int) -> None:
    length = os.fstat(blob.fileno()).st_size
    if length != size:
        raise PeerProtocolError(f"bundle: {length} bytes where {size} were promised")
    if hashlib.file_digest(blob, "sha256").hexdigest() != x:
        raise PeerProtocolError("bundle: its sha256 is not the one promised")
    if length < layout.FLOOR:
        raise BadRecordError(f"bundle: {length} bytes is not a padded size")
    blob.seek(0)
    head = blob.read(layout.OUTER_HEAD + layout.SALT_SIZE)
    blob.seek(-layout.OUTER_TAIL, os.SEEK_END)
    layout.check_outer(head[: layout.OUTER_HEAD], blob.read(), length)
    if layout.outer_salt(head).hex() != salt_hex:
        raise PeerProtocolError("bundle: its salt is not the one promised")


def _temporary_file(folder: Path) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=folder)  # the caller closes it
    except OSError as error:
        raise CannotCreateError(f"cannot create a file in '{folder}': {error.strerror}") from None


def _decrypt(blob: BufferedReader, key_hex: str, ox: str, inner: IO[bytes]) -> None:
    import pyzipper  # only once there is a blob worth decrypting

    digest = hashlib.sha256()
    blob.seek(0)
    try:
        with pyzipper.AESZipFile(blob) as archive:
            archive.setpassword(key_hex.encode())
            with archive.open(layout.OUTER_NAME) as member:
                while chunk := member.read(_CHUNK):
                    digest.update(chunk)
                    inner.write(chunk)
    except RuntimeError:
        raise PeerProtocolError("bundle: the key does not open it") from None
    except (pyzipper.BadZipFile, EOFError):
        raise PeerProtocolError("bundle: its code of authenticity does not fit") from None
    if digest.hexdigest() != ox:
        raise PeerProtocolError("bundle: the sha256 of its inner zip is not the one promised")


# --- the contents ----------------------------------------------------------------------------------


def _unpack(inner: IO[bytes], destination: Path) -> Opened:
    entries = {entry.name: entry for entry in _directory(inner)}
    manifest_bytes = _small(inner, entries[layout.MANIFEST_NAME], MAX_MANIFEST)
    proof_bytes = _small(inner, entries[layout.PROOF_NAME], MAX_PROOF)
    manifest, proof = parse_manifest(manifest_bytes), parse_proof(proof_bytes)
    link = parse_link(proof["link"])
    check_link(link, manifest, manifest_bytes)
    _check_listed(manifest, entries)
    folder = _new_folder(destination)
    try:
        for name in (layout.MANIFEST_NAME, layout.PROOF_NAME):
            _write(folder / name, iter((manifest_bytes if name == layout.MANIFEST_NAME else proof_bytes,)))
        events = {bucket.file: bucket.events for bucket in manifest.buckets}
        for name, (_size, sha256) in manifest.files.items():
            _extract(inner, entries[name], folder, sha256, events.get(name))
        _check_padding(inner, entries[layout.PADDING_NAME])
        _name_folder(folder, destination)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Opened(
        folder=destination,
        manifest=manifest,
        manifest_bytes=manifest_bytes,
        proof=proof,
        link=link,
        files=tuple(manifest.files),
    )


def _directory(inner: IO[bytes]) -> list[layout.Entry]:
    length = inner.seek(0, os.SEEK_END)
    if length < layout.END_SIZE:
        raise BadRecordError("bundle: not laid out as a powdo-bundle")
    inner.seek(length - layout.END_SIZE)
    end = layout.parse_end(inner.read(layout.END_SIZE), length)
    inner.seek(end.offset)
    return layout.parse_directory(inner.read(end.size), end)


def _check_listed(manifest: Manifest, entries: dict[str, layout.Entry]) -> None:
    files = manifest.files
    own = {layout.MANIFEST_NAME, layout.PROOF_NAME, layout.PADDING_NAME}
    if odd := sorted(files.keys() ^ (entries.keys() - own)):
        raise BadRecordError(f"bundle: '{odd[0]}' is only in the manifest or only in the zip")
    for name, (size, _sha256) in files.items():
        if entries[name].size != size:
            raise BadRecordError(f"bundle: '{name}' is not of the size the manifest says")


def _small(inner: IO[bytes], entry: layout.Entry, limit: int) -> bytes:
    if entry.size > limit:
        raise BadRecordError(f"bundle: '{entry.name}' is longer than {limit} bytes")
    return b"".join(_contents(inner, entry))


def _contents(inner: IO[bytes], entry: layout.Entry) -> Iterator[bytes]:
    """Yield what *entry* unpacks to, never more than it said. Raises: BadRecordError."""
    inner.seek(entry.offset)
    layout.check_local(inner.read(entry.head), entry)
    checksum = count = 0
    try:
        for chunk in _inflated(inner, entry):
            count += len(chunk)
            if count > entry.size:
                break
            checksum = zlib.crc32(chunk, checksum)
            yield chunk
    except zlib.error:
        raise BadRecordError(f"bundle: '{entry.name}' does not unpack") from None
    if count != entry.size or checksum != entry.crc:
        raise BadRecordError(f"bundle: '{entry.name}' is not of the size or checksum its header says")


def _inflated(inner: IO[bytes], entry: layout.Entry) -> Iterator[bytes]:
    left = entry.packed
    inflater = zlib.decompressobj(-zlib.MAX_WBITS) if entry.method == layout.DEFLATED else None
    while left:
        data = inner.read(min(left, _CHUNK))
        left -= len(data)
        if inflater is None:
            yield data
            continue
        while data:
            yield inflater.decompress(data, _CHUNK)
            data = inflater.unconsumed_tail
        if inflater.unused_data:
            raise BadRecordError(f"bundle: '{entry.name}' goes on behind its end")
    if inflater is not None:
        yield inflater.flush()
        if not inflater.eof:
            raise BadRecordError(f"bundle: '{entry.name}' is cut off")


def _check_padding(inner: IO[bytes], entry: layout.Entry) -> None:
    if entry.method != layout.STORED or any(chunk.strip(b"\0") for chunk in _contents(inner, entry)):
        raise BadRecordError("bundle: the padding holds something")


# --- files of our own ------------------------------------------------------------------------------


def _new_folder(destination: Path) -> Path:
    folder = destination.with_name(f".{destination.name}.{secrets.token_hex(8)}.tmp")
    try:
        folder.mkdir(mode=0o700)
        for name in ("buckets", "screenshots"):
            (folder / name).mkdir(mode=0o700)
    except OSError as error:
        raise CannotCreateError(f"cannot create '{folder}': {error.strerror}") from None
    return folder


def _name_folder(folder: Path, destination: Path) -> None:
    try:
        folder.rename(destination)
    except OSError as error:
        raise CannotCreateError(f"cannot create '{destination}': {error.strerror}") from None


def _extract(inner: IO[bytes], entry: layout.Entry, folder: Path, sha256: str, events: int | None) -> None:
    digest = hashlib.sha256()
    lines = 0
    last = b"\n"

    def watched() -> Iterator[bytes]:
        nonlocal lines, last
        for chunk in _contents(inner, entry):
            digest.update(chunk)
            if events is not None:
                lines += chunk.count(b"\n")
                last = chunk[-1:] or last
            yield chunk

    _write(folder / entry.name, watched())
    if digest.hexdigest() != sha256:
        raise BadRecordError(f"bundle: '{entry.name}' has not the sha256 the manifest says")
    if events is not None and (lines != events or last != b"\n"):
        raise BadRecordError(f"bundle: '{entry.name}' has not the {events} events the manifest says")


def _write(path: Path, chunks: Iterator[bytes]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.writelines(chunks)
