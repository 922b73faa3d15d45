"""NIP-01 events: their shape, their id, their signature. NIP-40: when one has expired."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from powdo.errors import BadRecordError, PeerProtocolError
from powdo.nips.curve import SecretKey, verify

Tags = tuple[tuple[str, ...], ...]

_HEX64 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_HEX128 = re.compile(r"[0-9a-f]{128}", re.ASCII)
_LATEST = 1 << 53


def serialize(pubkey: str, created_at: int, kind: int, tags: Sequence[Sequence[str]], content: str) -> bytes:
    """Return the bytes whose sha256 is the event's id (NIP-01). Raises: BadRecordError."""
    text = json.dumps([0, pubkey, created_at, kind, tags, content], separators=(",", ":"), ensure_ascii=False)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadRecordError("a lone surrogate cannot stand in an event") from None


def event_id(pubkey: str, created_at: int, kind: int, tags: Sequence[Sequence[str]], content: str) -> str:
    """Return the event's id: 64 hex digits."""
    return hashlib.sha256(serialize(pubkey, created_at, kind, tags, content)).hexdigest()


def _hex(obj: Mapping[str, object], name: str, pattern: re.Pattern[str]) -> str:
    value = obj.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise BadRecordError(f"the event's '{name}' is not lower-case hex of the right length")
    return value


def _integer(obj: Mapping[str, object], name: str, limit: int) -> int:
    value = obj.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < limit:
        raise BadRecordError(f"the event's '{name}' is not a number in range")
    return value


def _tags(obj: Mapping[str, object]) -> Tags:
    tags = obj.get("tags")
    if not isinstance(tags, list):
        raise BadRecordError("the event's 'tags' are not a list")
    for tag in tags:
        if not isinstance(tag, list) or not all(isinstance(item, str) for item in tag):
            raise BadRecordError("a tag of the event is not a list of strings")
    return tuple(tuple(tag) for tag in tags)


def _body(obj: Mapping[str, object]) -> tuple[str, int, int, Tags, str]:
    content = obj.get("content")
    if not isinstance(content, str):
        raise BadRecordError("the event's 'content' is not a string")
    return (
        _hex(obj, "pubkey", _HEX64),
        _integer(obj, "created_at", _LATEST),
        _integer(obj, "kind", 1 << 16),
        _tags(obj),
        content,
    )


@dataclass(frozen=True, slots=True)
class _Body:
    """What events and rumors share."""

    pubkey: str
    created_at: int
    kind: int
    tags: Tags
    content: str

    def tag(self, name: str) -> str | None:
        """Return the first value of the first tag *name*, or None."""
        return next((tag[1] for tag in self.tags if len(tag) > 1 and tag[0] == name), None)

    def tag_values(self, name: str) -> tuple[str, ...]:
        """Return the first value of each tag *name*."""
        return tuple(tag[1] for tag in self.tags if len(tag) > 1 and tag[0] == name)

    def computed_id(self) -> str:
        """Return the id that the fields give."""
        return event_id(self.pubkey, self.created_at, self.kind, self.tags, self.content)

    def _fields(self) -> dict[str, Any]:
        return {
            "pubkey": self.pubkey,
            "created_at": self.created_at,
            "kind": self.kind,
            "tags": [list(tag) for tag in self.tags],
            "content": self.content,
        }


@dataclass(frozen=True, slots=True)
class Unsigned(_Body):
    """An event without a signature; in a gift wrap, the rumor."""

    @property
    def id(self) -> str:
        """The id: 64 hex digits."""
        return self.computed_id()

    def to_json(self) -> dict[str, object]:
        """Return the JSON object, with its id."""
        return {"id": self.id, **self._fields()}

    @classmethod
    def from_json(cls, obj: Mapping[str, object]) -> Unsigned:
        """Return the rumor in *obj*.

        Raises: BadRecordError when it is malformed, PeerProtocolError when it is signed or its id is wrong.
        """
        if obj.get("sig"):
            raise PeerProtocolError("the rumor is signed")
        rumor = cls(*_body(obj))
        if _hex(obj, "id", _HEX64) != rumor.id:
            raise PeerProtocolError("the rumor's id is not that of its fields")
        return rumor


@dataclass(frozen=True, slots=True)
class Event(_Body):
    """A signed event."""

    id: str
    sig: str

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        return {"id": self.id, **self._fields(), "sig": self.sig}

    @classmethod
    def from_json(cls, obj: Mapping[str, object]) -> Event:
        """Return the event in *obj*, shape checked, signature not. Raises: BadRecordError."""
        return cls(*_body(obj), id=_hex(obj, "id", _HEX64), sig=_hex(obj, "sig", _HEX128))

    def verify(self) -> None:
        """Check id and signature. Raises: PeerProtocolError."""
        if self.computed_id() != self.id:
            raise PeerProtocolError("the event's id is not that of its fields")
        if not verify(self.pubkey, bytes.fromhex(self.id), bytes.fromhex(self.sig)):
            raise PeerProtocolError("the event's signature is wrong")


def sign(unsigned: Unsigned, key: SecretKey, aux: bytes) -> Event:
    """Return *unsigned* signed by *key*, whose pubkey it must carry; *aux* is 32 fresh random bytes."""
    if unsigned.pubkey != key.pubkey:
        raise ValueError("the event names another author than the key")
    identity = unsigned.id
    return Event(
        unsigned.pubkey,
        unsigned.created_at,
        unsigned.kind,
        unsigned.tags,
        unsigned.content,
        id=identity,
        sig=key.sign(bytes.fromhex(identity), aux).hex(),
    )


def is_expired(event: Event | Unsigned, now: int) -> bool:
    """Return whether *event* has expired at *now* (NIP-40); an expiration that is no number has passed."""
    value = event.tag("expiration")
    if value is None:
        return False
    return not (value.isascii() and value.isdigit() and len(value) < 17) or int(value) <= now
