"""The JSON Lines records that travel between commands, and how a line becomes one.

Rules:
- a line is as `powdo.lines` says, whose functions are at hand here too;
- our own records carry `type` and `v`; Nostr events and blob descriptors travel bare;
- keys we do not know are kept in `extra` and written again;
- times are RFC 3339 UTC with `Z`; bytes travel as path + sha256.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from typing import Any, ClassVar, Self, cast

from powdo.errors import BadRecordError
from powdo.lines import (
    MAX_LINE,
    JsonObject,
    decode_json,
    decode_line,
    encode_json,
    encode_line,
    format_time,
    parse_time,
)

__all__ = [
    "MAX_LINE",
    "VERSION",
    "Bundle",
    "Capture",
    "Ingested",
    "JsonObject",
    "Listening",
    "Published",
    "Record",
    "Rejected",
    "Timesheet",
    "decode_json",
    "decode_line",
    "encode_json",
    "encode_line",
    "format_time",
    "parse_time",
]

VERSION = 1


# --- fields --------------------------------------------------------------------------------------

_Check = Callable[[object], object]
_HEX = re.compile(r"[0-9a-f]*", re.ASCII)


def _text(value: object) -> object:
    if not isinstance(value, str):
        raise BadRecordError("must be a string")
    return value


def _integer(value: object) -> object:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise BadRecordError("must be a whole number")
    return value


def _flag(value: object) -> object:
    if not isinstance(value, bool):
        raise BadRecordError("must be true or false")
    return value


def _moment(value: object) -> object:
    return parse_time(cast(str, _text(value)))


def _hex32(value: object) -> object:
    text = cast(str, _text(value))
    if len(text) != 64 or not _HEX.fullmatch(text):
        raise BadRecordError("must be 64 lower-case hex digits")
    return text


def _texts(value: object) -> object:
    if not isinstance(value, list):
        raise BadRecordError("must be a list")
    return tuple(_text(item) for item in value)


def _objects(value: object) -> object:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadRecordError("must be a list of objects")
    return tuple(value)


def _checked(check: _Check, default: Any = MISSING) -> Any:
    if default is MISSING:
        return field(metadata={"check": check})
    return field(default=default, metadata={"check": check})


@dataclass(frozen=True, kw_only=True)
class Record:
    """What all records of ours share: `type`, `v`, and the keys we do not know."""

    TYPE: ClassVar[str] = ""

    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def to_json(self) -> JsonObject:
        """Return the record as a JSON object; absent optional fields are left out."""
        result: JsonObject = {"type": self.TYPE, "v": VERSION}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name == "extra" or value is None:
                continue
            if isinstance(value, datetime):
                value = format_time(value)
            result[item.name] = list(value) if isinstance(value, tuple) else value
        return result | {key: value for key, value in self.extra.items() if key not in result}

    @classmethod
    def from_json(cls, obj: Mapping[str, Any]) -> Self:
        """Return the record in *obj*. Raises: BadRecordError when its type, version or a field is wrong."""
        if obj.get("type") != cls.TYPE:
            raise BadRecordError(f"expected a '{cls.TYPE}' record, not '{str(obj.get('type'))[:40]}'")
        if type(obj.get("v")) is not int or obj["v"] != VERSION:  # 1.0 and true equal 1
            raise BadRecordError(f"'{cls.TYPE}' record of unknown version '{str(obj.get('v'))[:20]}'")
        values: dict[str, Any] = {}
        known = {"type", "v"}
        for item in fields(cls):
            if item.name == "extra":
                continue
            known.add(item.name)
            value = obj.get(item.name)
            if value is None:
                if item.default is MISSING:
                    raise BadRecordError(f"'{cls.TYPE}' record without '{item.name}'")
                continue
            try:
                values[item.name] = item.metadata["check"](value)
            except BadRecordError as error:
                raise BadRecordError(f"'{item.name}' in '{cls.TYPE}' record {error.message}") from None
        return cls(**values, extra={key: value for key, value in obj.items() if key not in known})


# --- the records ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Capture(Record):
    """One look at screen and buckets, durable in the outbox at *path* (a directory)."""

    TYPE = "capture"

    id: str = _checked(_text)
    sequence: int = _checked(_integer)
    device: str = _checked(_text)
    begin: datetime = _checked(_moment)
    end: datetime = _checked(_moment)
    path: str = _checked(_text)
    screenshots: int = _checked(_integer)
    bucket_events: int = _checked(_integer)
    absent: tuple[str, ...] = _checked(_texts, ())


@dataclass(frozen=True, kw_only=True)
class Bundle(Record):
    """One encrypted zip at *path*: sha256 and size of the outer, ox of the inner zip.

    `key` (64 hex) stays in the outbox unless asked for; `blobs` are BUD-02 descriptors, one a server.
    """

    TYPE = "bundle"

    id: str = _checked(_text)
    sequence: int = _checked(_integer)
    device: str = _checked(_text)
    begin: datetime = _checked(_moment)
    end: datetime = _checked(_moment)
    path: str = _checked(_text)
    sha256: str = _checked(_hex32)
    ox: str = _checked(_hex32)
    size: int = _checked(_integer)
    salt: str = _checked(_text)
    key: str | None = _checked(_hex32, None)
    blobs: tuple[JsonObject, ...] = _checked(_objects, ())


@dataclass(frozen=True, kw_only=True)
class Published(Record):
    """What one relay said of one event."""

    TYPE = "published"

    id: str = _checked(_hex32)
    relay: str = _checked(_text)
    accepted: bool = _checked(_flag)
    message: str = _checked(_text)


@dataclass(frozen=True, kw_only=True)
class Ingested(Record):
    """One bundle the DVM has checked and stored; *wrap* and *rumor* are event ids."""

    TYPE = "ingested"

    wrap: str = _checked(_hex32)
    rumor: str = _checked(_hex32)
    worker: str = _checked(_text)
    npub: str = _checked(_text)
    device: str = _checked(_text)
    sequence: int = _checked(_integer)
    begin: datetime = _checked(_moment)
    end: datetime = _checked(_moment)
    sha256: str = _checked(_hex32)
    size: int = _checked(_integer)
    screenshots: int = _checked(_integer)
    bucket_events: int = _checked(_integer)


@dataclass(frozen=True, kw_only=True)
class Rejected(Record):
    """One gift wrap the DVM refuses for good, and why."""

    TYPE = "rejected"

    wrap: str | None = _checked(_text, None)
    reason: str = _checked(_text)
    rumor: str | None = _checked(_text, None)
    npub: str | None = _checked(_text, None)


@dataclass(frozen=True, kw_only=True)
class Timesheet(Record):
    """One timesheet and, after `kimai-sync`, what became of it in Kimai."""

    TYPE = "timesheet"

    begin: datetime = _checked(_moment)
    end: datetime = _checked(_moment)
    seconds: int = _checked(_integer)
    user: str = _checked(_text)
    project: str = _checked(_text)
    activity: str = _checked(_text)
    customer: str | None = _checked(_text, None)
    tags: tuple[str, ...] = _checked(_texts, ())
    billable: bool | None = _checked(_flag, None)
    description: str = _checked(_text, "")
    source: str = _checked(_text)
    algorithm: str = _checked(_text)
    action: str | None = _checked(_text, None)
    kimai_id: int | None = _checked(_integer, None)


@dataclass(frozen=True, kw_only=True)
class Listening(Record):
    """A server is ready at *url*."""

    TYPE = "listening"

    url: str = _checked(_text)
