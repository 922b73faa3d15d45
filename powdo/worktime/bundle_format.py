"""The bytes of powdo-bundle v1: what its writer lays down and its reader insists on, without I/O.

Rules:
- the outer ZIP is one stored member `bundle.zip`, WinZip AES-256 AE-2, OUTER_OVERHEAD bytes around it;
- its length is a Padmé size of at least FLOOR, so that only a coarse size leaks;
- the headers of an encrypted ZIP are not authenticated: each field that means anything is compared;
- the inner ZIP has no gap, no overlap, no comment, no extra field and no name that is not ours, so
  there is exactly one way to read it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from powdo.errors import BadRecordError
from powdo.worktime.manifest import MAX_FILES

FLOOR = 64 << 10
OUTER_NAME = "bundle.zip"
MANIFEST_NAME = "manifest.json"
PROOF_NAME = "proof.json"
PADDING_NAME = ".padding"
MAX_RATIO = 200
MAX_UNPACKED = 1 << 30
SALT_SIZE = 16
KEY_SIZE = 32

STORED = 0
DEFLATED = 8
_AES = 99
_AES_VERSIONS = (20, 51)  # what libraries write for AES, and what APPNOTE asks for
# WinZip AES extra field: id, length, AE-2, vendor, 256 bits, the true method.
_AES_EXTRA = struct.pack("<HHH2sBH", 0x9901, 7, 2, b"AE", 3, STORED)
# signature, needed, flags, method, time, date, crc, packed, size, name length, extra length
_LOCAL = struct.Struct("<4s5H3L2H")
# signature, made by, needed, flags, method, time, date, crc, packed, size, name, extra, comment length,
# disk, internal and external attributes, offset
_CENTRAL = struct.Struct("<4s6H3L5H2L")
# signature, disk, directory's disk, entries here, entries, directory size, its offset, comment length
_END = struct.Struct("<4s4H2LH")

OUTER_HEAD = _LOCAL.size + len(OUTER_NAME) + len(_AES_EXTRA)
_VERIFIER_SIZE = 2
_MAC_SIZE = 10
_SEALED = SALT_SIZE + _VERIFIER_SIZE + _MAC_SIZE
OUTER_TAIL = _CENTRAL.size + len(OUTER_NAME) + len(_AES_EXTRA) + _END.size
OUTER_OVERHEAD = OUTER_HEAD + _SEALED + OUTER_TAIL
END_SIZE = _END.size

_INNER_NAME = re.compile(
    r"manifest\.json|proof\.json|\.padding|buckets/(0|[1-9][0-9]{0,5})\.jsonl"
    r"|screenshots/(0|[1-9][0-9]{0,5})\.(png|webp)",
    re.ASCII,
)
_LONGEST_NAME = 32


def padme(length: int) -> int:
    """Return the Padmé size of *length*: only its leading bits, at least FLOOR (Nikitin et al., PURBs)."""
    length = max(length, FLOOR)
    exponent = length.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (length + mask) & ~mask


def padding_for(offset: int, names: Sequence[str]) -> int:
    """Return how many bytes of padding follow *names*, whose members end at *offset* of the inner ZIP."""
    listed = (*names, PADDING_NAME)
    directory = sum(_CENTRAL.size + len(name) for name in listed) + _END.size
    bare = OUTER_OVERHEAD + offset + _LOCAL.size + len(PADDING_NAME) + directory
    return padme(bare) - bare


def outer_salt(head: bytes) -> bytes:
    """Return the WinZip salt of a bundle that begins with *head*."""
    return head[OUTER_HEAD : OUTER_HEAD + SALT_SIZE]


# --- the outer ZIP ---------------------------------------------------------------------------------


def check_outer(head: bytes, tail: bytes, length: int) -> None:
    """Return nothing if *head* and *tail* frame one sealed member as we write it in *length* bytes.

    *head* is the first OUTER_HEAD bytes, *tail* the last OUTER_TAIL. Raises: BadRecordError.
    """
    if length < FLOOR or padme(length) != length:
        raise BadRecordError(f"bundle: {length} bytes is not a padded size")
    packed = length - OUTER_HEAD - OUTER_TAIL
    central = _unpack(_CENTRAL, tail[: _CENTRAL.size], b"PK\x01\x02")
    local = _unpack(_LOCAL, head[: _LOCAL.size], b"PK\x03\x04")
    if local[1] != central[2] or local[1] not in _AES_VERSIONS:
        raise BadRecordError("bundle: its headers ask for another version of the format")
    # Fields in the order of both headers, from the flags on; time and date stand for nothing.
    for flags, method, _time, _date, crc, inside, size, name, extra in (local[2:], central[3:12]):
        _check_sealed(flags, method, crc, size)
        if (inside, size) != (packed, packed - _SEALED):
            raise BadRecordError("bundle: the sizes in its headers are not those of the file")
        if (name, extra) != (len(OUTER_NAME), len(_AES_EXTRA)):
            raise BadRecordError("bundle: its member has another name or other extra fields")
    framed = OUTER_NAME.encode() + _AES_EXTRA
    if head[_LOCAL.size :] != framed or tail[_CENTRAL.size : -_END.size] != framed:
        raise BadRecordError("bundle: its member is not 'bundle.zip' stored in AE-2 with 256 bits")
    comment, disk, _internal, _external, offset = central[12:]
    if comment or disk or offset:
        raise BadRecordError("bundle: its member has a comment, another disk or another place")
    end = _unpack(_END, tail[-_END.size :], b"PK\x05\x06")
    if end[1:] != (0, 0, 1, 1, OUTER_TAIL - _END.size, length - OUTER_TAIL, 0):
        raise BadRecordError("bundle: its directory does not list exactly one member, to the end")


def _check_sealed(flags: int, method: int, crc: int, size: int) -> None:
    if flags & 8:
        raise BadRecordError("bundle: its member has a data descriptor")
    if not flags & 1 or method != _AES:
        raise BadRecordError("bundle: its member is not encrypted with WinZip AES")
    if flags != 1 or crc:
        raise BadRecordError("bundle: its member's flags or checksum are not those of AE-2")
    if size == 0xFFFFFFFF:
        raise BadRecordError("bundle: its member is too large")


def _unpack(layout: struct.Struct, data: bytes, signature: bytes) -> tuple[int, ...]:
    if len(data) != layout.size or data[:4] != signature:
        raise BadRecordError("bundle: not laid out as a powdo-bundle")
    return layout.unpack(data)


# --- the inner ZIP ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One member of the inner ZIP: *packed* bytes follow its local header at *offset*."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    offset: int

    @property
    def head(self) -> int:
        """Return the length of the local header."""
        return _LOCAL.size + len(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Where the directory of the inner ZIP lies and how many members it lists."""

    entries: int
    size: int
    offset: int


def parse_end(data: bytes, length: int) -> End:
    """Return the end record in *data*, the last END_SIZE of *length* bytes. Raises: BadRecordError."""
    _signature, disk, other, here, entries, size, offset, comment = _unpack(_END, data, b"PK\x05\x06")
    if disk or other or here != entries or comment:
        raise BadRecordError("bundle: the inner zip has a comment or several disks")
    if entries > MAX_FILES + 3 or size > entries * (_CENTRAL.size + _LONGEST_NAME):
        raise BadRecordError(f"bundle: the inner zip has more than {MAX_FILES} members")
    if offset + size + _END.size != length:
        raise BadRecordError("bundle: bytes of the inner zip belong to nothing")
    return End(entries=entries, size=size, offset=offset)


def parse_directory(data: bytes, end: End) -> list[Entry]:
    """Return the members the directory in *data* lists, checked one against all. Raises: BadRecordError."""
    entries: list[Entry] = []
    place = following = 0
    for _ in range(end.entries):
        entry, step = _parse_central(data[place : place + _CENTRAL.size + _LONGEST_NAME + 1])
        if entry.offset != following:
            raise BadRecordError(f"bundle: members overlap or leave a gap at '{entry.name}'")
        following = entry.offset + entry.head + entry.packed
        place += step
        entries.append(entry)
    if place != len(data) or following != end.offset:
        raise BadRecordError("bundle: bytes of the inner zip belong to nothing")
    _check_names([entry.name for entry in entries])
    total = sum(entry.size for entry in entries)
    if total > MAX_UNPACKED or total > MAX_RATIO * (end.offset + end.size + _END.size):
        raise BadRecordError(f"bundle: unpacks to {total} bytes, more than a bundle may")
    return entries


def _parse_central(data: bytes) -> tuple[Entry, int]:
    fields = _unpack(_CENTRAL, data[: _CENTRAL.size], b"PK\x01\x02")
    flags, method, _time, _date, crc, packed, size, length, extra, comment, disk = fields[3:14]
    attributes, offset = fields[15:]
    raw = data[_CENTRAL.size : _CENTRAL.size + length]
    name = raw.decode("latin-1")
    if len(raw) != length or _INNER_NAME.fullmatch(name) is None:
        raise BadRecordError(f"bundle: a member has a name that is not ours: {name[:80]!r}")
    if flags & 1:
        raise BadRecordError(f"bundle: '{name}' is encrypted in the inner zip")
    if flags or extra or comment or disk:
        raise BadRecordError(f"bundle: '{name}' has flags, extra fields, a comment or a disk")
    if (attributes >> 28) not in (0, 8):  # the file type of a Unix mode; a regular file, or not said
        raise BadRecordError(f"bundle: '{name}' is not a regular file")
    if method not in (STORED, DEFLATED) or (method == STORED and packed != size):
        raise BadRecordError(f"bundle: '{name}' is packed in a way that is not ours")
    entry = Entry(name=name, method=method, crc=crc, packed=packed, size=size, offset=offset)
    return entry, _CENTRAL.size + length


def _check_names(names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        raise BadRecordError("bundle: a member is there twice")
    if names[:2] != [MANIFEST_NAME, PROOF_NAME] or names[-1] != PADDING_NAME:
        raise BadRecordError("bundle: manifest.json, proof.json and .padding are not where they belong")


def check_local(data: bytes, entry: Entry) -> None:
    """Return nothing if the local header *data* tells the same of *entry*. Raises: BadRecordError."""
    fields = _unpack(_LOCAL, data[: _LOCAL.size], b"PK\x03\x04")
    flags, method, _time, _date, crc, packed, size, length, extra = fields[2:]
    told = (flags, method, crc, packed, size, length, extra, data[_LOCAL.size :])
    name = entry.name.encode()
    if told != (0, entry.method, entry.crc, entry.packed, entry.size, len(name), 0, name):
        raise BadRecordError(f"bundle: the two headers of '{entry.name}' differ")
