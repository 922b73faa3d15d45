"""How a line of JSON becomes an object and back, and how its times are written.

Rules:
- one minified JSON object a line, UTF-8, at most MAX_LINE bytes, ended by a newline;
- strict JSON: no other encoding, no NaN, no Infinity;
- times are RFC 3339 UTC with `Z`.

Nothing is imported here that a help text does not need: every stage pays for this module at its start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from powdo.errors import BadRecordError

MAX_LINE = 1 << 20

JsonObject = dict[str, Any]


def _refuse_constant(name: str) -> object:
    raise BadRecordError(f"'{name}' is not JSON")


@cache
def _decoder() -> Callable[[str], object]:
    """Return the one strict decoder; `json.loads` would make one for every line."""
    import json

    return json.JSONDecoder(parse_constant=_refuse_constant).decode


@cache
def _encoder() -> Callable[[object], str]:
    """Return the one strict encoder, for the same reason."""
    import json

    return json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def decode_json(data: bytes) -> object:
    """Return what *data* holds as strict JSON: UTF-8 only, no NaN or Infinity. Raises: BadRecordError."""
    try:
        text = data.decode("utf-8")
        if text.startswith("\ufeff"):
            raise BadRecordError("not JSON: Unexpected UTF-8 BOM (decode using utf-8-sig)")
        return _decoder()(text)
    except UnicodeDecodeError as error:
        raise BadRecordError(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise BadRecordError("nested too deeply") from None
    except ValueError as error:
        raise BadRecordError(f"not JSON: {error}") from None


def encode_json(value: object) -> str:
    """Return *value* as minified JSON text. Raises: BadRecordError."""
    try:
        return _encoder()(value)
    except RecursionError:
        raise BadRecordError("nested too deeply") from None
    except (ValueError, TypeError) as error:
        raise BadRecordError(f"cannot be written as JSON: {error}") from None


def decode_line(line: bytes) -> JsonObject:
    """Return the object in one *line* (with or without its newline). Raises: BadRecordError."""
    if len(line) > MAX_LINE:
        raise BadRecordError(f"longer than {MAX_LINE} bytes")
    value = decode_json(line)
    if not isinstance(value, dict):
        raise BadRecordError("not a JSON object")
    return value


def encode_line(value: Mapping[str, Any]) -> bytes:
    """Return *value* as one minified UTF-8 line with its newline. Raises: BadRecordError."""
    try:
        line = encode_json(value).encode("utf-8") + b"\n"
    except UnicodeEncodeError:
        raise BadRecordError("a lone surrogate cannot be written") from None
    if len(line) > MAX_LINE:
        raise BadRecordError(f"longer than {MAX_LINE} bytes")
    return line


# --- times ---------------------------------------------------------------------------------------

_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ](?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


def parse_time(text: str) -> datetime:
    """Return the instant an RFC 3339 *text* names, in UTC, to the microsecond. Raises: BadRecordError."""
    if _RFC3339.fullmatch(text) is None:
        raise BadRecordError(f"not an RFC 3339 time: '{text[:40]}'")
    try:
        # Python reads all of that since 3.11: any fraction is cut after six digits, but `z` is unknown.
        moment = datetime.fromisoformat(text.upper())
        return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRecordError(f"not a time: '{text[:40]}'") from None


def format_time(moment: datetime) -> str:
    """Return *moment* as RFC 3339 UTC with `Z`, with a fraction only where there is one."""
    utc = moment.astimezone(UTC)
    text = utc.strftime("%Y-%m-%dT%H:%M:%S") if utc.year >= 1000 else utc.isoformat()[:19]
    return f"{text}.{utc.microsecond:06d}".rstrip("0") + "Z" if utc.microsecond else f"{text}Z"
