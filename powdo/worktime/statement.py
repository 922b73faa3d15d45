"""What a DVM states of a bundle it has received: the content of a kind 78 event that it signs.

Rules:
- it is minified JSON with the keys of powdo-records(5) in their order, and is read in that spelling only;
- a link is the content of such an event too; `statement` tells the two apart;
- it names no worker: the root in it is that of a link, which the worker signed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from powdo.errors import BadRecordError
from powdo.records import JsonObject, decode_json, format_time, parse_time
from powdo.worktime.intervals import SECOND
from powdo.worktime.manifest import DEVICE, HEX64, from_micros, micros

STATEMENT_KIND = 78
STATEMENT_VERSION = 1
_RECEIVED = "received"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """The bundle with the hash *blob*, of the link with *root*, was stored at *received* (unix seconds)."""

    blob: str
    device: str
    sequence: int
    root: str
    received: int

    @property
    def content(self) -> str:
        """Return the string that is signed."""
        obj: JsonObject = {
            "v": STATEMENT_VERSION,
            "statement": _RECEIVED,
            "blob": self.blob,
            "device": self.device,
            "sequence": self.sequence,
            "root": self.root,
            "received": format_time(from_micros(self.received * SECOND)),
        }
        return json.dumps(obj, separators=(",", ":"))


def parse_statement(content: str) -> Statement:
    """Return the statement in *content*. Raises: BadRecordError unless it is spelt as we would spell it."""
    try:
        obj = decode_json(content.encode())
    except UnicodeEncodeError:
        raise BadRecordError("statement: not UTF-8") from None
    if not isinstance(obj, dict) or obj.get("v") != STATEMENT_VERSION or obj.get("statement") != _RECEIVED:
        raise BadRecordError("statement: not one of version 1 that something was received")
    sequence = obj.get("sequence")
    if type(sequence) is not int or not 0 <= sequence < 1 << 53:
        raise BadRecordError("statement: 'sequence' must be a whole number")
    statement = Statement(
        blob=_text(obj, "blob", HEX64),
        device=_text(obj, "device", DEVICE),
        sequence=sequence,
        root=_text(obj, "root", HEX64),
        received=micros(parse_time(_text(obj, "received"))) // SECOND,
    )
    # One spelling only, so that a signature never stands for what another reader reads otherwise.
    if statement.content != content:
        raise BadRecordError("statement: not in its canonical form")
    return statement


def _text(obj: JsonObject, name: str, form: re.Pattern[str] | None = None) -> str:
    value = obj.get(name)
    if not isinstance(value, str) or (form is not None and form.fullmatch(value) is None):
        raise BadRecordError(f"statement: '{name}' is malformed")
    return value
