"""The changes that wait to be told to the relay: which count, when they are due, how they are written. Pure.

Rules:
- the newest change of a key is the only one that counts. Being on a list has no history, so what the relay
  ends with is the same, and a removal can never come before the addition it follows;
- a change that could not be told waits twice as long after each attempt, up to an hour, and a part of
  that by chance, so that many machines do not come back at once;
- a time further ahead than any wait was written before the clock was set back: such a change is due.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from powdo.errors import BadRecordError
from powdo.lines import decode_line, encode_line, format_time, parse_time

Action = Literal["add", "remove"]

FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=1)
_DOUBLINGS = 7  # more would only be cut off at the longest wait
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One key to be put on the relay's list or taken off it; *error* is what the last attempt met."""

    id: str
    action: Action
    pubkey: str
    at: datetime
    not_before: datetime
    attempts: int = 0
    error: str | None = None


def is_pubkey(value: object) -> bool:
    """Return whether *value* is a pubkey in hex."""
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def standing(changes: Iterable[Change]) -> list[Change]:
    """Return the newest change of each key, in the order in which they were asked for."""
    newest: dict[str, Change] = {}
    for change in changes:
        newest.pop(change.pubkey, None)
        newest[change.pubkey] = change
    return list(newest.values())


def due(changes: Iterable[Change], now: datetime) -> list[Change]:
    """Return those of *changes* whose wait is over."""
    return [change for change in changes if not now < change.not_before <= now + LONGEST_WAIT]


def deferred(change: Change, *, now: datetime, draw: float, error: str) -> Change:
    """Return *change* after one more attempt that met *error*; *draw* is a chance from 0 to 1."""
    wait = min(FIRST_WAIT * 2 ** min(change.attempts, _DOUBLINGS), LONGEST_WAIT)
    return replace(
        change,
        attempts=change.attempts + 1,
        not_before=now + wait * (1 + draw) / 2,
        error=error,
    )


def settled(changes: Iterable[Change], gone: frozenset[str], kept: Sequence[Change]) -> list[Change]:
    """Return what waits once the ids in *gone* are told, and those in *kept* were tried in vain."""
    tried = {change.id: change for change in kept}
    return [tried.get(change.id, change) for change in standing(changes) if change.id not in gone]


def encode(change: Change) -> bytes:
    """Return the line of *change*."""
    line: dict[str, Any] = {
        "id": change.id,
        "action": change.action,
        "pubkey": change.pubkey,
        "at": format_time(change.at),
        "not_before": format_time(change.not_before),
        "attempts": change.attempts,
    }
    if change.error is not None:
        line["error"] = change.error
    return encode_line(line)


def decode(line: bytes) -> Change:
    """Return the change in *line*. Raises: BadRecordError."""
    value = decode_line(line)
    match value:
        case {
            "id": str(name),
            "action": "add" | "remove" as action,
            "pubkey": str(pubkey),
            "at": str(at),
            "not_before": str(not_before),
            "attempts": int(attempts),
        } if is_pubkey(pubkey):
            error = value.get("error")
        case _:
            raise BadRecordError("not a change of an allowlist")
    return Change(
        id=name,
        action=action,
        pubkey=pubkey,
        at=parse_time(at),
        not_before=parse_time(not_before),
        attempts=max(0, attempts),
        error=error if isinstance(error, str) else None,
    )
