"""NIP-01 filters: what a REQ asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from powdo.errors import BadRecordError
from powdo.nips.event import Event

_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TAG = re.compile(r"#[a-zA-Z]", re.ASCII)
_LATEST = 1 << 53


def _hexes(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) and _HEX.fullmatch(v) for v in value):
        raise BadRecordError(f"'{name}' in a filter is not a list of lower-case hex of 64 digits")
    return tuple(value)


def _integer(name: str, value: object, limit: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < limit:
        raise BadRecordError(f"'{name}' in a filter is not a number in range")
    return value


def _kinds(value: object) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise BadRecordError("'kinds' in a filter is not a list")
    return tuple(_integer("kinds", item, 1 << 16) for item in value)


def _tag_values(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadRecordError(f"'{name}' in a filter is not a list of strings")
    if name in ("#e", "#p"):
        return _hexes(name, value)
    return tuple(value)


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter. None means no condition; an empty list matches nothing."""

    ids: tuple[str, ...] | None = None
    authors: tuple[str, ...] | None = None
    kinds: tuple[int, ...] | None = None
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    since: int | None = None
    until: int | None = None
    limit: int | None = None

    @classmethod
    def from_json(cls, obj: object) -> Filter:
        """Return the filter in *obj*; unknown keys are refused. Raises: BadRecordError."""
        if not isinstance(obj, dict):
            raise BadRecordError("a filter is not an object")
        values: dict[str, Any] = {}
        tags: dict[str, tuple[str, ...]] = {}
        for name, value in obj.items():
            if name in ("ids", "authors"):
                values[name] = _hexes(name, value)
            elif name == "kinds":
                values[name] = _kinds(value)
            elif name in ("since", "until", "limit"):
                values[name] = _integer(name, value, _LATEST)
            elif _TAG.fullmatch(name):
                tags[name[1]] = _tag_values(name, value)
            else:
                raise BadRecordError(f"unknown key '{name[:40]}' in a filter")
        return cls(**values, tags=tags)

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        result: dict[str, object] = {}
        for name in ("ids", "authors", "kinds"):
            value = getattr(self, name)
            if value is not None:
                result[name] = list(value)
        result |= {f"#{letter}": list(values) for letter, values in self.tags.items()}
        for name in ("since", "until", "limit"):
            if (value := getattr(self, name)) is not None:
                result[name] = value
        return result

    def matches(self, event: Event) -> bool:
        """Return whether *event* fulfils every condition; `limit` is none."""
        return (
            (self.ids is None or event.id in self.ids)
            and (self.authors is None or event.pubkey in self.authors)
            and (self.kinds is None or event.kind in self.kinds)
            and (self.since is None or event.created_at >= self.since)
            and (self.until is None or event.created_at <= self.until)
            and all(
                not set(values).isdisjoint(event.tag_values(letter)) for letter, values in self.tags.items()
            )
        )
