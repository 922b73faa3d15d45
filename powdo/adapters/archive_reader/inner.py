"""The inner ZIP: one way to read it, and each file checked as it is read."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from typing import IO

from powdo.errors import BadRecordError
from powdo.records import JsonObject
from powdo.worktime import bundle_format as layout
from powdo.worktime.link import MAX_PROOF, Link, check_link, parse_link, parse_proof
from powdo.worktime.manifest import MAX_MANIFEST, Manifest, parse_manifest

#: Larger pieces go back to the system each time, and come from it anew, page by page.
_CHUNK = 1 << 16


class Unsealed:
    """A bundle whose seal, layout, manifest and link hold; its files are checked as they are read.

    *proof* is {"link", "event", "withheld"}, the signatures unverified. Raises: BadRecordError.
    """

    def __init__(self, inner: IO[bytes]) -> None:
        self._inner = inner
        self._entries = {entry.name: entry for entry in _directory(inner)}
        self.manifest_bytes = _small(inner, self._entries[layout.MANIFEST_NAME], MAX_MANIFEST)
        self.proof_bytes = _small(inner, self._entries[layout.PROOF_NAME], MAX_PROOF)
        self.manifest: Manifest = parse_manifest(self.manifest_bytes)
        self.proof: JsonObject = parse_proof(self.proof_bytes)
        self.link: Link = parse_link(self.proof["link"])
        check_link(self.link, self.manifest, self.manifest_bytes)
        _check_listed(self.manifest, self._entries)
        _check_padding(inner, self._entries[layout.PADDING_NAME])
        self._listed = self.manifest.files
        self._events = {bucket.file: bucket.events for bucket in self.manifest.buckets}

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the file *name* in pieces. Raises: BadRecordError, at its end, unless it is as listed."""
        digest = hashlib.sha256()
        events, lines, last = self._events.get(name), 0, b"\n"
        for chunk in _contents(self._inner, self._entries[name]):
            digest.update(chunk)
            if events is not None:
                lines += chunk.count(b"\n")
                last = chunk[-1:] or last
            yield chunk
        if digest.hexdigest() != self._listed[name][1]:
            raise BadRecordError(f"bundle: '{name}' has not the sha256 the manifest says")
        if events is not None and (lines != events or last != b"\n"):
            raise BadRecordError(f"bundle: '{name}' has not the {events} events the manifest says")


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
