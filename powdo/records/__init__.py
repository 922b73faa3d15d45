"""The JSON Lines records that travel between commands, and how a line becomes one.

Rules:
- a line is as `powdo.lines` says, whose functions are at hand here too;
- our own records carry `type` and `v`; Nostr events and blob descriptors travel bare;
- keys we do not know are kept in `extra` and written again;
- times are RFC 3339 UTC with `Z`; bytes travel as path + sha256.

Here is what the stages at the worker's pass on. The others stand in `network`, `operator` and `receipt`: a
stage need not make classes that it never uses.
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
    "JsonObject",
    "Record",
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


def text(value: object) -> object:
    """Return *value* if it is a string. Raises: BadRecordError."""
    if not isinstance(value, str):
        raise BadRecordError("must be a string")
    return value


def integer(value: object) -> object:
    """Return *value* if it is a whole number below 2**53. Raises: BadRecordError."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise BadRecordError("must be a whole number")
    return value


def flag(value: object) -> object:
    """Return *value* if it is true or false. Raises: BadRecordError."""
    if not isinstance(value, bool):
        raise BadRecordError("must be true or false")
    return value


def moment(value: object) -> object:
    """Return the instant of an RFC 3339 time. Raises: BadRecordError."""
    return parse_time(cast(str, text(value)))


def hex32(value: object) -> object:
    """Return *value* if it is 32 bytes in lower-case hex. Raises: BadRecordError."""
    digits = cast(str, text(value))
    if len(digits) != 64 or not _HEX.fullmatch(digits):
        raise BadRecordError("must be 64 lower-case hex digits")
    return digits


def texts(value: object) -> object:
    """Return a list of strings as a tuple. Raises: BadRecordError."""
    if not isinstance(value, list):
        raise BadRecordError("must be a list")
    return tuple(text(item) for item in value)


def fragment(value: object) -> object:
    """Return *value* if it is a JSON object. Raises: BadRecordError."""
    if not isinstance(value, dict):
        raise BadRecordError("must be an object")
    return value


def objects(value: object) -> object:
    """Return a list of objects as a tuple. Raises: BadRecordError."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadRecordError("must be a list of objects")
    return tuple(value)


def checked(check: _Check, default: Any = MISSING) -> Any:
    """Return a field whose value *check* passes; one with a default may be absent."""
    if default is MISSING:
        return field(metadata={"check": check})
    return field(default=default, metadata={"check": check})


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)  # each kind gets its own
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

    id: str = checked(text)
    sequence: int = checked(integer)
    device: str = checked(text)
    begin: datetime = checked(moment)
    end: datetime = checked(moment)
    path: str = checked(text)
    screenshots: int = checked(integer)
    bucket_events: int = checked(integer)
    absent: tuple[str, ...] = checked(texts, ())


@dataclass(frozen=True, kw_only=True)
class Bundle(Record):
    """One encrypted zip at *path*: sha256 and size of the outer, ox of the inner zip.

    `key` (64 hex) stays in the outbox unless asked for; `blobs` are BUD-02 descriptors, one a server.
    """

    TYPE = "bundle"

    id: str = checked(text)
    sequence: int = checked(integer)
    device: str = checked(text)
    begin: datetime = checked(moment)
    end: datetime = checked(moment)
    path: str = checked(text)
    sha256: str = checked(hex32)
    ox: str = checked(hex32)
    size: int = checked(integer)
    salt: str = checked(text)
    key: str | None = checked(hex32, None)
    blobs: tuple[JsonObject, ...] = checked(objects, ())
