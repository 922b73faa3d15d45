"""manifest.json: what one bundle holds, each file with its size and sha256 (powdo-bundle v1).

Rules:
- inside powdo, times are whole microseconds since the Unix epoch; in the file they are RFC 3339 UTC;
- what is built and what is parsed pass the same checks, so nothing is sent that a receiver would refuse;
- paths are exactly `buckets/N.jsonl` and `screenshots/N.png` or `.webp`, each N once: no path needs cleaning;
- keys we do not know are passed over; the root covers the bytes as they were written, not what we read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Self, cast

from powdo import __version__
from powdo.errors import BadRecordError
from powdo.records import JsonObject, decode_json, encode_line, format_time, parse_time

MANIFEST_VERSION = 1
MAX_MANIFEST = 1 << 20
MAX_FILES = 2000
MAX_TEXT = 500
DEVICE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
HEX64 = re.compile(r"[0-9a-f]{64}", re.ASCII)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}", re.ASCII)
_SALT = re.compile(r"[0-9a-f]{32}", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9_+/-]{1,64}", re.ASCII)
_BUCKET_PATH = re.compile(r"buckets/(0|[1-9][0-9]{0,5})\.jsonl", re.ASCII)
_SCREENSHOT_PATH = re.compile(r"screenshots/(0|[1-9][0-9]{0,5})\.(png|webp)", re.ASCII)
_LONGEST_SIDE = 1 << 16  # pixels; no display has more, and a database column does not hold just any number
# Control characters would reach a terminal or a log; a lone surrogate cannot be written as UTF-8.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def micros(moment: datetime) -> int:
    """Return *moment* as microseconds since the Unix epoch."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_micros(value: int) -> datetime:
    """Return the instant *value* microseconds after the Unix epoch, in UTC."""
    return _EPOCH + timedelta(microseconds=value)


# --- what holds of every part, built or parsed -----------------------------------------------------


def _require(name: str, value: str, pattern: re.Pattern[str]) -> None:
    if pattern.fullmatch(value) is None:
        raise BadRecordError(f"manifest: '{name}' is malformed: {value[:80]!r}")


def _clean(name: str, value: str) -> None:
    if len(value) > MAX_TEXT:
        raise BadRecordError(f"manifest: '{name}' is longer than {MAX_TEXT} characters")
    if _UNSAFE.search(value):
        raise BadRecordError(f"manifest: '{name}' holds a control character: {value[:80]!r}")


def _count(name: str, value: int, limit: int = 1 << 53) -> None:
    if not 0 <= value < limit:
        raise BadRecordError(f"manifest: '{name}' is out of range")


def _period(name: str, begin: int, end: int) -> None:
    if not 0 <= begin <= end <= _LATEST:
        raise BadRecordError(f"manifest: the period of {name} is impossible")


_TIMES = frozenset({"time", "begin", "end"})


class _Entry:
    """A part of the manifest whose JSON object has a key for each field, in the order of the class."""

    __slots__ = ()

    def to_json(self) -> JsonObject:
        """Return the part as it stands in manifest.json."""
        values = {item.name: getattr(self, item.name) for item in fields(cast("Any", self))}
        return {
            key: format_time(from_micros(value)) if key in _TIMES else value for key, value in values.items()
        }

    @classmethod
    def from_json(cls, obj: JsonObject) -> Self:
        """Return the part in *obj*. Raises: BadRecordError."""
        values: dict[str, Any] = {}
        for item in fields(cast("Any", cls)):
            if item.name in _TIMES:
                values[item.name] = _moment(obj, item.name)
            else:
                values[item.name] = _number(obj, item.name) if item.type == "int" else _text(obj, item.name)
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketFile(_Entry):
    """One bucket's events within [begin, end), a line each in *file*."""

    id: str
    type: str
    client: str
    hostname: str
    device_id: str
    begin: int
    end: int
    events: int
    file: str
    sha256: str
    size: int

    def __post_init__(self) -> None:
        for name in ("id", "type", "client", "hostname", "device_id"):
            _clean(name, getattr(self, name))
        _period("a bucket", self.begin, self.end)
        _count("events", self.events)
        _count("size", self.size)
        _require("file", self.file, _BUCKET_PATH)
        _require("sha256", self.sha256, HEX64)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenshotFile(_Entry):
    """One monitor as it looked at *time*."""

    time: int
    monitor: int
    width: int
    height: int
    file: str
    sha256: str
    size: int

    def __post_init__(self) -> None:
        _period("a screenshot", self.time, self.time)
        for name in ("monitor", "width", "height"):
            _count(name, getattr(self, name), _LONGEST_SIDE)
        _count("size", self.size)
        _require("file", self.file, _SCREENSHOT_PATH)
        _require("sha256", self.sha256, HEX64)


@dataclass(frozen=True, slots=True)
class Absent(_Entry):
    """Why something is not in the bundle: *what* is `screenshots` or `activity`."""

    what: str
    reason: str

    def __post_init__(self) -> None:
        _clean("what", self.what)
        _clean("reason", self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The contents of one bundle; [begin, end] covers every bucket and every screenshot."""

    id: str
    device: str
    sequence: int
    begin: int
    end: int
    timezone: str
    buckets: tuple[BucketFile, ...] = ()
    screenshots: tuple[ScreenshotFile, ...] = ()
    absent: tuple[Absent, ...] = ()
    salt: str
    powdo: str = field(default=__version__)

    def __post_init__(self) -> None:
        _require("id", self.id, _ID)
        _require("device", self.device, DEVICE)
        _require("timezone", self.timezone, _ZONE)
        _require("salt", self.salt, _SALT)
        _clean("powdo", self.powdo)
        _count("sequence", self.sequence)
        _period("the manifest", self.begin, self.end)
        # A number is used once: 0.png beside 0.webp would be one screenshot with two looks.
        stems = [item.file.rpartition(".")[0] for item in self._listed]
        if len(set(stems)) != len(stems):
            raise BadRecordError("manifest: a file is listed twice")
        if len(stems) > MAX_FILES or len(self.absent) > MAX_FILES:
            raise BadRecordError(f"manifest: more than {MAX_FILES} files")
        for bucket in self.buckets:
            self._covers("a bucket", bucket.begin, bucket.end)
        for screenshot in self.screenshots:
            self._covers("a screenshot", screenshot.time, screenshot.time)

    def _covers(self, name: str, begin: int, end: int) -> None:
        if not self.begin <= begin <= end <= self.end:
            raise BadRecordError(f"manifest: {name} lies outside the period of the manifest")

    @property
    def _listed(self) -> list[BucketFile | ScreenshotFile]:
        return [*self.buckets, *self.screenshots]

    @property
    def files(self) -> dict[str, tuple[int, str]]:
        """Return path → (size, sha256) of every file beside manifest.json and proof.json, in order."""
        return {item.file: (item.size, item.sha256) for item in self._listed}

    @property
    def bucket_events(self) -> int:
        """Return how many bucket events the bundle holds."""
        return sum(bucket.events for bucket in self.buckets)

    def to_bytes(self) -> bytes:
        """Return manifest.json: minified UTF-8, keys in the order of powdo-bundle(5), no newline."""
        obj = {
            "v": MANIFEST_VERSION,
            "powdo": self.powdo,
            "id": self.id,
            "device": self.device,
            "sequence": self.sequence,
            "begin": format_time(from_micros(self.begin)),
            "end": format_time(from_micros(self.end)),
            "timezone": self.timezone,
            "buckets": [bucket.to_json() for bucket in self.buckets],
            "screenshots": [screenshot.to_json() for screenshot in self.screenshots],
            "absent": [item.to_json() for item in self.absent],
            "salt": self.salt,
        }
        return encode_line(obj)[:-1]


def manifest_root(data: bytes, manifest: Manifest | None = None) -> str:
    """Return the root of the manifest whose bytes are *data*: sha256 over its salt, then *data*, as hex.

    *manifest* is what `parse_manifest` made of *data*, if it has been asked.
    """
    salt = (manifest or parse_manifest(data)).salt
    return hashlib.sha256(bytes.fromhex(salt) + data).hexdigest()


# --- parsing ---------------------------------------------------------------------------------------


def _get(obj: Mapping[str, object], name: str, kind: type) -> object:
    value = obj.get(name)
    if type(value) is not kind:  # `isinstance` would take a bool for an int
        raise BadRecordError(f"manifest: '{name}' must be {_KINDS[kind]}")
    return value


_KINDS: dict[type, str] = {str: "a string", int: "a whole number", list: "an array"}


def _text(obj: Mapping[str, object], name: str) -> str:
    return cast("str", _get(obj, name, str))


def _number(obj: Mapping[str, object], name: str) -> int:
    return cast("int", _get(obj, name, int))


def _moment(obj: Mapping[str, object], name: str) -> int:
    return micros(parse_time(_text(obj, name)))


def _objects(obj: Mapping[str, object], name: str) -> Iterable[JsonObject]:
    items = cast("list[object]", _get(obj, name, list))
    if len(items) > MAX_FILES:
        raise BadRecordError(f"manifest: more than {MAX_FILES} in '{name}'")
    for item in items:
        if not isinstance(item, dict):
            raise BadRecordError(f"manifest: '{name}' must hold objects")
        yield item


def parse_manifest(data: bytes) -> Manifest:
    """Return the manifest in *data*. Raises: BadRecordError when it is not as powdo-bundle(5) has it."""
    if len(data) > MAX_MANIFEST:
        raise BadRecordError(f"manifest: longer than {MAX_MANIFEST} bytes")
    obj = decode_json(data)
    if not isinstance(obj, dict):
        raise BadRecordError("manifest: not a JSON object")
    if _number(obj, "v") != MANIFEST_VERSION:
        raise BadRecordError(f"manifest: unknown version {obj['v']}")
    return Manifest(
        id=_text(obj, "id"),
        device=_text(obj, "device"),
        sequence=_number(obj, "sequence"),
        begin=_moment(obj, "begin"),
        end=_moment(obj, "end"),
        timezone=_text(obj, "timezone"),
        buckets=tuple(map(BucketFile.from_json, _objects(obj, "buckets"))),
        screenshots=tuple(map(ScreenshotFile.from_json, _objects(obj, "screenshots"))),
        absent=tuple(map(Absent.from_json, _objects(obj, "absent"))),
        salt=_text(obj, "salt"),
        powdo=_text(obj, "powdo"),
    )
