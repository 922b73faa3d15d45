"""A bundle unpacked: files of our own in a folder that gets its name when all is there."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from powdo.adapters.archive_reader.inner import Unsealed
from powdo.adapters.archive_reader.outer import check_blob, check_hex, open_file, unsealed
from powdo.errors import BadRecordError, CannotCreateError, OutputError
from powdo.records import JsonObject
from powdo.settings.paths import fsync_path
from powdo.worktime import bundle_format as layout
from powdo.worktime.link import Link
from powdo.worktime.manifest import Manifest


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
    check_hex(x=(x, 32))
    if size > max_size:
        raise BadRecordError(f"bundle: {size} bytes are more than the {max_size} allowed")
    with open_file(path) as blob:
        check_blob(blob, x, size)
    with unsealed(path, key_hex=key_hex, salt_hex=salt_hex, ox=ox) as bundle:
        try:
            _unpack(bundle, destination)
        except OSError as error:
            raise OutputError(f"cannot unpack into '{destination}': {error.strerror or error}") from None
    return Opened(
        folder=destination,
        manifest=bundle.manifest,
        manifest_bytes=bundle.manifest_bytes,
        proof=bundle.proof,
        link=bundle.link,
        files=tuple(bundle.manifest.files),
    )


def _unpack(bundle: Unsealed, destination: Path) -> None:
    folder = _new_folder(destination)
    try:
        write_file(folder / layout.MANIFEST_NAME, (bundle.manifest_bytes,))
        write_file(folder / layout.PROOF_NAME, (bundle.proof_bytes,))
        for name in bundle.manifest.files:
            write_file(folder / name, bundle.chunks(name))
        _sync(folder)
        _name_folder(folder, destination)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _new_folder(destination: Path) -> Path:
    folder = destination.with_name(f".{destination.name}.{secrets.token_hex(8)}.tmp")
    try:
        folder.mkdir(mode=0o700)
        for name in ("buckets", "screenshots"):
            (folder / name).mkdir(mode=0o700)
    except OSError as error:
        raise CannotCreateError(f"cannot create '{folder}': {error.strerror}") from None
    return folder


def _sync(folder: Path) -> None:
    """Put all in *folder* on the disk before it gets its name: a name without contents would look whole."""
    for path in (*folder.rglob("*"), folder):
        fsync_path(path)


def _name_folder(folder: Path, destination: Path) -> None:
    if os.path.lexists(destination):  # a rename would take the place of an empty folder
        raise CannotCreateError(f"'{destination}' is there already", hint="nothing was overwritten")
    try:
        folder.rename(destination)
        fsync_path(destination.parent)
    except OSError as error:
        raise CannotCreateError(f"cannot create '{destination}': {error.strerror}") from None


def write_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Write *chunks* to the new private file *path*. Raises: OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.writelines(chunks)
