"""What a REQ asks for (NIP-01): one filter, strict to read.

Rules: None means no condition, an empty list matches nothing; an unknown key is refused, since leaving it
out would answer more than was asked; `limit` is no condition on an event.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from powdo.errors import BadRecordError

if TYPE_CHECKING:
    from powdo.nips.event import Event

_MAX_KIND = 65535
_MAX_NUMBER = 2**53
_is_hex64 = re.compile("[0-9a-f]{64}").fullmatch
_lone_surrogate = re.compile("[\ud800-\udfff]").search
_is_tag = re.compile("#[a-zA-Z]").fullmatch


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter; *tags* maps a letter to the values of which an event must have one."""

    ids: tuple[str, ...] | None = None
    authors: tuple[str, ...] | None = None
    kinds: tuple[int, ...] | None = None
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    since: int | None = None
    until: int | None = None
    limit: int | None = None
    _ids: frozenset[str] = field(init=False, repr=False, compare=False)
    _authors: frozenset[str] = field(init=False, repr=False, compare=False)
    _tags: tuple[tuple[str, frozenset[str]], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # A live filter meets every event that comes in: sets keep a list of a thousand authors cheap.
        object.__setattr__(self, "_ids", frozenset(self.ids or ()))
        object.__setattr__(self, "_authors", frozenset(self.authors or ()))
        object.__setattr__(self, "_tags", tuple((name, frozenset(v)) for name, v in self.tags.items()))

    @classmethod
    def from_json(cls, obj: object) -> Filter:
        """Return the filter in *obj*.

        Raises:
            BadRecordError: it is no filter, or holds a key this program does not know.
        """
        if not isinstance(obj, Mapping):
            raise BadRecordError("a filter must be an object")
        known = {"ids", "authors", "kinds", "since", "until", "limit"}
        tags: dict[str, tuple[str, ...]] = {}
        for name in obj.keys() - known:
            if not isinstance(name, str) or not _is_tag(name):
                raise BadRecordError(f"a filter has no key '{str(name)[:40]}'")
            tags[name[1]] = _hexes(obj, name) if name in ("#e", "#p") else _strings(obj, name)
        return cls(
            ids=_hexes(obj, "ids") if "ids" in obj else None,
            authors=_hexes(obj, "authors") if "authors" in obj else None,
            kinds=_kinds(obj) if "kinds" in obj else None,
            tags=dict(sorted(tags.items())),
            since=_number(obj, "since"),
            until=_number(obj, "until"),
            limit=_number(obj, "limit"),
        )

    def to_json(self) -> dict[str, object]:
        """Return the filter as the object NIP-01 describes."""
        lists = {"ids": self.ids, "authors": self.authors, "kinds": self.kinds}
        lists |= {f"#{name}": values for name, values in self.tags.items()}
        numbers = {"since": self.since, "until": self.until, "limit": self.limit}
        result: dict[str, object] = {name: list(v) for name, v in lists.items() if v is not None}
        return result | {name: number for name, number in numbers.items() if number is not None}

    def matches(self, event: Event) -> bool:
        """Return whether *event* meets every condition."""
        return (
            (self.kinds is None or event.kind in self.kinds)
            and (self.ids is None or event.id in self._ids)
            and (self.authors is None or event.pubkey in self._authors)
            and (self.since is None or event.created_at >= self.since)
            and (self.until is None or event.created_at <= self.until)
            and all(_has(event, name, values) for name, values in self._tags)
        )


def _has(event: Event, name: str, values: frozenset[str]) -> bool:
    return any(tag[0] == name and tag[1] in values for tag in event.tags if len(tag) > 1)


def _strings(obj: Mapping[object, object], name: str) -> tuple[str, ...]:
    value = obj[name]
    if not isinstance(value, list | tuple):
        raise BadRecordError(f"'{name}' of a filter must be an array")
    for item in value:
        if not isinstance(item, str):
            raise BadRecordError(f"'{name}' of a filter must hold strings")
        if _lone_surrogate(item):
            raise BadRecordError(f"'{name}' of a filter holds a lone surrogate")
    return tuple(value)


def _hexes(obj: Mapping[object, object], name: str) -> tuple[str, ...]:
    values = _strings(obj, name)
    if not all(map(_is_hex64, values)):
        raise BadRecordError(f"'{name}' of a filter must hold 64 lower-case hex digits each")
    return values


def _kinds(obj: Mapping[object, object]) -> tuple[int, ...]:
    value = obj["kinds"]
    if not isinstance(value, list | tuple):
        raise BadRecordError("'kinds' of a filter must be an array")
    for item in value:
        if type(item) is not int or not 0 <= item <= _MAX_KIND:
            raise BadRecordError(f"'kinds' of a filter must hold integers from 0 to {_MAX_KIND}")
    return tuple(value)


def _number(obj: Mapping[object, object], name: str) -> int | None:
    if name not in obj:
        return None
    value = obj[name]
    if type(value) is not int or not 0 <= value <= _MAX_NUMBER:
        raise BadRecordError(f"'{name}' of a filter must be an integer from 0 to {_MAX_NUMBER}")
    return value
