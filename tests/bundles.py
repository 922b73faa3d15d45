"""Captures and bundles for tests: sound ones from powdo's own parts, others byte by byte."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import pyzipper

from powdo.worktime.bundle_format import DEFLATED, OUTER_NAME, STORED, padding_for
from powdo.worktime.link import Link, proof_to_bytes
from powdo.worktime.manifest import BucketFile, Manifest, ScreenshotFile, manifest_root

DEVICE = "6f1c2c1e-3d0a-4d5e-9a64-0d7f6f1b2a33"
BEGIN = 1_795_000_000_000_000
END = BEGIN + 300_000_000
KEY = bytes(range(32))
EVENT = b'{"timestamp":"2026-11-18T11:07:41Z","duration":1.5,"data":{"app":"code","title":"%d"}}\n'


def sha256(data: bytes) -> str:
    """Return the hex sha256 of *data*."""
    return hashlib.sha256(data).hexdigest()


def listing(folder: Path) -> list[str]:
    """Return the names in *folder*, sorted."""
    return sorted(path.name for path in folder.iterdir())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A capture's files and its manifest."""

    manifest: Manifest
    files: dict[str, bytes]

    @property
    def data(self) -> bytes:
        """Return the bytes of manifest.json."""
        return self.manifest.to_bytes()

    @property
    def proof(self) -> bytes:
        """Return proof.json with the unsigned first link."""
        manifest = self.manifest
        link = Link(
            device=manifest.device,
            sequence=manifest.sequence,
            begin=manifest.begin,
            end=manifest.end,
            previous=None,
            root=manifest_root(self.data),
        )
        return proof_to_bytes(link.content, None)

    def write(self, folder: Path) -> Path:
        """Return *folder*, made to hold the capture as `capture` leaves it."""
        for name, data in {"manifest.json": self.data, **self.files}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return folder


def sample(
    buckets: tuple[bytes, ...] = (EVENT % 1 + EVENT % 2,),
    screenshots: tuple[bytes, ...] = (b"\x89PNG looks like this",),
    *,
    capture_id: str = "c1",
    device: str = DEVICE,
    sequence: int = 1,
    begin: int = BEGIN,
) -> Sample:
    """Return a capture of the five minutes from *begin* (microseconds) with these contents."""
    end = begin + END - BEGIN
    files: dict[str, bytes] = {}
    bucket_files, screenshot_files = [], []
    for number, data in enumerate(buckets):
        name = f"buckets/{number}.jsonl"
        files[name] = data
        bucket_files.append(
            BucketFile(
                id=f"aw-watcher-{number}",
                type="currentwindow",
                client="aw-watcher-window",
                hostname="desk",
                device_id="d",
                begin=begin,
                end=end,
                events=data.count(b"\n"),
                file=name,
                sha256=sha256(data),
                size=len(data),
            )
        )
    for number, data in enumerate(screenshots):
        name = f"screenshots/{number}.png"
        files[name] = data
        screenshot_files.append(
            ScreenshotFile(
                time=end, monitor=1, width=8, height=6, file=name, sha256=sha256(data), size=len(data)
            )
        )
    manifest = Manifest(
        id=capture_id,
        device=device,
        sequence=sequence,
        begin=begin,
        end=end,
        timezone="Europe/Berlin",
        buckets=tuple(bucket_files),
        screenshots=tuple(screenshot_files),
        salt="5a" * 16,
    )
    return Sample(manifest=manifest, files=files)


# --- ZIPs byte by byte -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member of an inner ZIP, with headers that need not be true."""

    name: bytes
    data: bytes
    method: int = STORED
    packed: bytes | None = None
    size: int | None = None
    crc: int | None = None
    flags: int = 0
    attributes: int = 0o600 << 16
    extra: bytes = b""
    offset: int | None = None
    local_name: bytes | None = None

    def pack(self) -> bytes:
        """Return what follows the local header."""
        if self.packed is not None:
            return self.packed
        if self.method == DEFLATED:
            deflater = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
            return deflater.compress(self.data) + deflater.flush()
        return self.data

    def facts(self) -> tuple[int, int, int]:
        """Return checksum, packed size and size as the headers tell them."""
        crc = zlib.crc32(self.data) if self.crc is None else self.crc
        return crc, len(self.pack()), len(self.data) if self.size is None else self.size


def members(of: Sample) -> list[Member]:
    """Return the members of the sound inner ZIP of *of*, without the padding."""
    listed = {"manifest.json": of.data, "proof.json": of.proof, **of.files}
    return [Member(name=name.encode(), data=data) for name, data in listed.items()]


def inner_zip(listed: list[Member], *, padding: Member | None = None, trailing: bytes = b"") -> bytes:
    """Return the ZIP of *listed*, padded so that the outer length is a Padmé size."""
    body = io.BytesIO()
    entries = []

    def add(member: Member) -> None:
        name = member.name if member.local_name is None else member.local_name
        packed, (crc, length, size) = member.pack(), member.facts()
        entries.append((member, body.tell()))
        sizes = (crc, length, size, len(name), len(member.extra))
        body.write(struct.pack("<4s5H3L2H", b"PK\3\4", 20, member.flags, member.method, 0, 33, *sizes))
        body.write(name + member.extra + packed)

    for member in listed:
        add(member)
    overhead = sum(len(member.extra) for member in listed) + len(trailing)
    room = padding_for(body.tell() + overhead, [member.name.decode("latin-1") for member in listed])
    add(padding or Member(name=b".padding", data=bytes(room)))
    directory = b"".join(_central(member, place) for member, place in entries)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(entries), len(entries), len(directory), body.tell(), 0)
    return body.getvalue() + directory + trailing + end


def _central(member: Member, place: int) -> bytes:
    offset = place if member.offset is None else member.offset
    crc, length, size = member.facts()
    head = (b"PK\1\2", 0x0314, 20, member.flags, member.method, 0, 33, crc, length, size)
    tail = (len(member.name), len(member.extra), 0, 0, 0, member.attributes, offset)
    return struct.pack("<4s6H3L5H2L", *head, *tail) + member.name + member.extra


def seal(inner: bytes, key: bytes = KEY, *, name: str = OUTER_NAME, **options: object) -> bytes:
    """Return the outer ZIP around *inner*, by pyzipper alone."""
    file = io.BytesIO()
    settings = {"nbits": 256, "force_wz_aes_version": 2} | options
    with pyzipper.AESZipFile(file, "w", encryption=pyzipper.WZ_AES, encryption_kwargs=settings) as archive:
        archive.setpassword(key.hex().encode())
        archive.writestr(pyzipper.AESZipFile.zipinfo_cls(name, (1980, 1, 1, 0, 0, 0)), inner)
    return file.getvalue()


def changed(listed: list[Member], index: int, **values: object) -> list[Member]:
    """Return *listed* with the member at *index* changed."""
    listed[index] = replace(listed[index], **values)  # type: ignore[arg-type]  # names are checked by replace
    return listed
