"""The record of a receipt: what the DVM has answered to one bundle."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from powdo.records import JsonObject, Record, checked, fragment, hex32, integer, moment, objects, text

#: What a DVM may say: stored, refused for good, or stored while others before it are missing.
Status = Literal["success", "error", "partial"]


@dataclass(frozen=True, kw_only=True)
class Receipt(Record):
    """What the DVM has said of the capture *id*; *statement* is a kind 78 event that the DVM signed."""

    TYPE = "receipt"

    id: str = checked(text)
    sequence: int = checked(integer)
    device: str = checked(text)
    status: str = checked(text)
    rumor: str = checked(hex32)
    sha256: str = checked(hex32)
    dvm: str = checked(text)
    received: datetime | None = checked(moment, None)
    reason: str | None = checked(text, None)
    statement: JsonObject | None = checked(fragment, None)
    missing: tuple[JsonObject, ...] = checked(objects, ())
