"""The contents of the worker's own captures: from the plaintext folder, or from the bundle with its key.

A bundle is opened in memory: what was encrypted once does not come back to the disk, unless asked for.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from powdo.errors import BadRecordError, CannotCreateError, InputMissingError, OutputError
from powdo.lines import decode_line
from powdo.records import Bundle
from powdo.worktime.bundle_format import MANIFEST_NAME, OUTER_NAME
from powdo.worktime.flood import Bucket, parse_bucket_event
from powdo.worktime.manifest import Manifest, parse_manifest


class Contents:
    """One capture: its *manifest*, and the files that it lists."""

    def __init__(self, read: Callable[[str], bytes]) -> None:
        self._read = read
        self.manifest: Manifest = parse_manifest(read(MANIFEST_NAME))

    def read(self, name: str) -> bytes:
        """Return the file *name*. Raises: BadRecordError when it is not what the manifest says."""
        size, sha256 = self.manifest.files[name]
        data = self._read(name)
        if (len(data), hashlib.sha256(data).hexdigest()) != (size, sha256):
            raise BadRecordError(f"'{name}' of capture '{self.manifest.id}' is damaged")
        return data

    def buckets(self) -> list[Bucket]:
        """Return the buckets with their events."""
        return [
            Bucket(
                item.id,
                item.type,
                item.client,
                item.hostname,
                tuple(parse_bucket_event(decode_line(line)) for line in self.read(item.file).splitlines()),
                item.device_id,
            )
            for item in self.manifest.buckets
        ]

    def unpack(self, folder: Path) -> None:
        """Write all files into the new private *folder*. Raises: CannotCreateError, OutputError."""
        try:
            for path in (folder, folder / "buckets", folder / "screenshots"):
                path.mkdir(mode=0o700)
        except OSError as error:
            raise CannotCreateError(f"cannot create '{folder}': {error.strerror}") from None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            for name in (MANIFEST_NAME, *self.manifest.files):
                data = self._read(name) if name == MANIFEST_NAME else self.read(name)
                with os.fdopen(os.open(folder / name, flags, 0o600), "wb") as file:
                    file.write(data)
        except OSError as error:
            raise OutputError(f"cannot write into '{folder}': {error.strerror}") from None


def of_folder(folder: Path) -> Contents:
    """Return the contents of the capture in *folder*. Raises: InputMissingError, BadRecordError."""

    def read(name: str) -> bytes:
        try:
            return (folder / name).read_bytes()
        except OSError as error:
            raise InputMissingError(f"cannot open '{folder / name}': {error.strerror}") from None

    return Contents(read)


def of_capture(folder: Path, bundle: Bundle | None, key_hex: str | None) -> Contents:
    """Return the contents of a capture: of its *bundle* if it has one, else of its *folder*.

    Raises: InputMissingError, BadRecordError, also when the bundle is not kept any more.
    """
    if bundle is None:
        return of_folder(folder)
    if key_hex is None:
        raise BadRecordError(f"the bundle of '{bundle.id}' is not kept any more: the DVM has it")
    return of_bundle(bundle, key_hex)


def of_bundle(bundle: Bundle, key_hex: str) -> Contents:
    """Return the contents of *bundle*, whose key is *key_hex*. Raises: InputMissingError, BadRecordError."""
    import pyzipper  # not for captures that are still in plain text

    try:
        with pyzipper.AESZipFile(bundle.path) as outer:
            outer.setpassword(key_hex.encode())
            data = outer.read(OUTER_NAME)
    except OSError as error:
        raise InputMissingError(f"cannot open '{bundle.path}': {error.strerror}") from None
    except (RuntimeError, KeyError, EOFError, zlib.error, pyzipper.BadZipFile):
        raise BadRecordError(f"bundle '{bundle.id}' is damaged") from None
    if hashlib.sha256(data).hexdigest() != bundle.ox:
        raise BadRecordError(f"bundle '{bundle.id}' is damaged")
    return Contents(zipfile.ZipFile(io.BytesIO(data)).read)
