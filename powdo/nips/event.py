"""Events and rumors (NIP-01): strict to read, exact to write, and checked only by `verify`.

Rules:
- reading is strict: lower-case hex, plain integers, tags of strings, no lone surrogates;
- JSON is read and written by orjson, whose escapes are those of NIP-01; what is longer than 64 bits it reads
  as a float, which no field of an event may be;
- an id is recomputed and compared before the signature is looked at; an id alone proves nothing;
- the curve is loaded when something is signed or verified, so that reading events stays light.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, cast

import orjson

from powdo.errors import BadRecordError, PeerProtocolError

if TYPE_CHECKING:
    from powdo.nips.curve import SecretKey

Tags = tuple[tuple[str, ...], ...]

MAX_KIND = 65535
MAX_TIME = 2**53

_ARRAY = (list, tuple)
_is_hex64 = re.compile("[0-9a-f]{64}").fullmatch
_is_hex128 = re.compile("[0-9a-f]{128}").fullmatch


class Event(NamedTuple):
    """A signed event; `parse` and `from_json` check its form, `verify` its id and signature."""

    id: str
    pubkey: str
    created_at: int
    kind: int
    tags: Tags
    content: str
    sig: str

    @classmethod
    def parse(cls, data: bytes | str) -> Event:
        """Return the event in the JSON text *data*, its form checked but not its id and signature.

        Raises:
            BadRecordError: it is no strict JSON in UTF-8 (RFC 8259), or no event.
        """
        return cls.from_json(_loads(data))

    @classmethod
    def from_json(cls, obj: object) -> Event:
        """Return the event in *obj*, its form checked but not its id and signature.

        Raises:
            BadRecordError: it is no event.
        """
        fields = _mapping(obj, "an event")
        body = _body(fields)
        return cls(_hex(fields, "id", _is_hex64), *body, _hex(fields, "sig", _is_hex128))

    def to_json(self) -> dict[str, object]:
        """Return the event as the object NIP-01 describes."""
        return {
            "id": self.id,
            "pubkey": self.pubkey,
            "created_at": self.created_at,
            "kind": self.kind,
            "tags": [list(tag) for tag in self.tags],
            "content": self.content,
            "sig": self.sig,
        }

    def to_bytes(self) -> bytes:
        """Return the event as minified JSON in UTF-8. Raises: BadRecordError, as `serialize` does."""
        return _dumps(self._asdict())

    def verify(self) -> None:
        """Return when id and signature are right.

        Raises:
            PeerProtocolError: the id is not that of the contents, or the signature is not the author's.
        """
        from powdo.nips import curve

        digest = sha256(serialize(self.pubkey, self.created_at, self.kind, self.tags, self.content)).digest()
        if digest.hex() != self.id:
            raise PeerProtocolError(f"event '{self.id}' has a wrong id")
        if not _is_hex128(self.sig) or not curve.verify(self.pubkey, digest, bytes.fromhex(self.sig)):
            raise PeerProtocolError(f"event '{self.id}' has a wrong signature")

    def tag(self, name: str) -> str | None:
        """Return the value of the first tag *name*, None when there is none."""
        return next(_values(self.tags, name), None)

    def tag_values(self, name: str) -> tuple[str, ...]:
        """Return the values of all tags *name*."""
        return tuple(_values(self.tags, name))


class Unsigned(NamedTuple):
    """An event without a signature: what is signed next, or a rumor (NIP-59) that never is."""

    pubkey: str
    created_at: int
    kind: int
    tags: Tags
    content: str

    @property
    def id(self) -> str:
        """The id its contents give."""
        return event_id(*self)

    @classmethod
    def parse(cls, data: bytes | str) -> Unsigned:
        """Return the rumor in the JSON text *data*, its form and its id checked.

        Raises:
            BadRecordError: it is no strict JSON in UTF-8 (RFC 8259), or no rumor, as `from_json` says.
        """
        return cls.from_json(_loads(data))

    @classmethod
    def from_fields(cls, obj: object) -> Unsigned:
        """Return the event with the fields of *obj*, whatever id and signature it has besides.

        Raises:
            BadRecordError: a field that an id is made of is missing or malformed.
        """
        return cls(*_body(_mapping(obj, "an event")))

    @classmethod
    def from_json(cls, obj: object) -> Unsigned:
        """Return the rumor in *obj*, its form and its id checked.

        Raises:
            BadRecordError: it is no rumor, it is signed, or its id is missing or wrong.
        """
        fields = _mapping(obj, "a rumor")
        if fields.get("sig") is not None:
            raise BadRecordError("the rumor is signed", hint="a rumor never carries a signature (NIP-59)")
        rumor = cls(*_body(fields))
        if _hex(fields, "id", _is_hex64) != rumor.id:
            raise BadRecordError("the rumor has a wrong id")
        return rumor

    def to_json(self) -> dict[str, object]:
        """Return the rumor as an object with its id and without a signature."""
        return {
            "id": self.id,
            "pubkey": self.pubkey,
            "created_at": self.created_at,
            "kind": self.kind,
            "tags": [list(tag) for tag in self.tags],
            "content": self.content,
        }

    def to_bytes(self) -> bytes:
        """Return the rumor as minified JSON in UTF-8. Raises: BadRecordError, as `serialize` does."""
        return _dumps({"id": self.id, **self._asdict()})

    def tag(self, name: str) -> str | None:
        """Return the value of the first tag *name*, None when there is none."""
        return next(_values(self.tags, name), None)

    def tag_values(self, name: str) -> tuple[str, ...]:
        """Return the values of all tags *name*."""
        return tuple(_values(self.tags, name))


def serialize(pubkey: str, created_at: int, kind: int, tags: Tags, content: str) -> bytes:
    """Return the bytes whose SHA-256 is the event's id (NIP-01).

    Raises:
        BadRecordError: a string holds a lone surrogate, or a number has more than 64 bits.
    """
    return _dumps((0, pubkey, created_at, kind, tags, content))


def event_id(pubkey: str, created_at: int, kind: int, tags: Tags, content: str) -> str:
    """Return the event's id in hex."""
    return sha256(serialize(pubkey, created_at, kind, tags, content)).hexdigest()


def sign(unsigned: Unsigned, key: SecretKey, aux: bytes) -> Event:
    """Return *unsigned* signed by *key*, with 32 bytes of fresh randomness *aux*."""
    if unsigned.pubkey != key.pubkey:
        raise ValueError("the event's author is not the owner of the key")
    digest = sha256(serialize(*unsigned)).digest()
    return Event(digest.hex(), *unsigned, key.sign(digest, aux).hex())


def is_expired(event: Event | Unsigned, now: int) -> bool:
    """Return whether *event* has expired at *now* (NIP-40); a malformed expiration never does."""
    value = event.tag("expiration")
    if value is None or not value.isascii() or not value.isdigit() or len(value) > 20:
        return False
    return int(value) <= now


def _loads(data: bytes | str) -> object:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadRecordError(f"not JSON: {error}") from None


def _dumps(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise BadRecordError(f"the event cannot be written as JSON: {error}") from None


def _values(tags: Tags, name: str) -> Iterator[str]:
    return (tag[1] for tag in tags if len(tag) > 1 and tag[0] == name)


def _mapping(obj: object, what: str) -> Mapping[str, object]:
    if not isinstance(obj, Mapping):
        raise BadRecordError(f"{what} must be an object")
    return cast("Mapping[str, object]", obj)


def _hex(fields: Mapping[str, object], name: str, matches: Callable[[str], object]) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not matches(value):
        raise BadRecordError(f"field '{name}' must be lower-case hex")
    return value


def _integer(fields: Mapping[str, object], name: str, maximum: int) -> int:
    value = fields.get(name)
    if type(value) is not int or not 0 <= value <= maximum:  # a bool is an int to isinstance
        raise BadRecordError(f"field '{name}' must be an integer from 0 to {maximum}")
    return value


def _body(fields: Mapping[str, object]) -> tuple[str, int, int, Tags, str]:
    """Return the checked fields that an id is made of, in their order."""
    content = fields.get("content")
    if not isinstance(content, str):
        raise BadRecordError("field 'content' must be a string")
    pubkey = _hex(fields, "pubkey", _is_hex64)
    created_at = _integer(fields, "created_at", MAX_TIME)
    kind = _integer(fields, "kind", MAX_KIND)
    tags = _tags(fields.get("tags"))
    try:
        content.encode()
    except UnicodeEncodeError:
        raise BadRecordError("the event holds a lone surrogate") from None
    return pubkey, created_at, kind, tags, content


def _tags(value: object) -> Tags:
    if not isinstance(value, _ARRAY):
        raise BadRecordError("field 'tags' must be an array")
    try:
        for tag in value:
            if not isinstance(tag, _ARRAY) or not tag:
                raise TypeError
            "".join(tag).encode()  # refuses in one step what is no string, and lone surrogates
    except TypeError:
        raise BadRecordError("a tag must be an array of one or more strings") from None
    except UnicodeEncodeError:
        raise BadRecordError("the event holds a lone surrogate") from None
    return tuple(map(tuple, value))
