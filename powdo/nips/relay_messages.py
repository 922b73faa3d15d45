"""The messages of NIP-01, NIP-42 and NIP-45, read and written strictly, for both ends of the wire.

What a peer sends is parsed into one frozen dataclass a message; anything else is a PeerProtocolError
that says what is wrong. Signatures are not checked here.

orjson reads and writes what is well-formed. What it refuses json looks at again, slowly: so that a message
with a lone surrogate, say, can still be answered under its subscription or id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from powdo.errors import BadRecordError, PeerProtocolError
from powdo.nips.event import Event
from powdo.nips.filters import Filter
from powdo.records import decode_json

MAX_SUBSCRIPTION_ID = 64

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode

#: The machine-readable prefixes of NIP-01 and NIP-42, and strfry's `replaced`.
PREFIXES = frozenset(
    {
        "duplicate",
        "pow",
        "blocked",
        "rate-limited",
        "invalid",
        "restricted",
        "mute",
        "error",
        "auth-required",
        "unsupported",
        "replaced",
    }
)


def prefix(message: str) -> str:
    """Return the machine-readable prefix of an OK or CLOSED *message*, or an empty string.

    strfry writes `ERROR: ` before those of CLOSED.
    """
    head = message.removeprefix("ERROR: ").partition(":")[0]
    return head if head in PREFIXES else ""


# --- what a relay sends --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventMessage:
    """A stored or live event for a subscription."""

    subscription: str
    event: Event


@dataclass(frozen=True, slots=True)
class OkMessage:
    """What became of an EVENT or AUTH."""

    id: str
    accepted: bool
    message: str


@dataclass(frozen=True, slots=True)
class EoseMessage:
    """The end of the stored events of a subscription."""

    subscription: str


@dataclass(frozen=True, slots=True)
class ClosedMessage:
    """The relay has ended or refused a subscription."""

    subscription: str
    message: str


@dataclass(frozen=True, slots=True)
class NoticeMessage:
    """Words for a person."""

    message: str


@dataclass(frozen=True, slots=True)
class ChallengeMessage:
    """The challenge that an AUTH must answer."""

    challenge: str


@dataclass(frozen=True, slots=True)
class CountMessage:
    """How many events a COUNT matches."""

    subscription: str
    count: int


RelayMessage = (
    EventMessage | OkMessage | EoseMessage | ClosedMessage | NoticeMessage | ChallengeMessage | CountMessage
)


# --- what a client sends -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Publish:
    """EVENT."""

    event: Event


@dataclass(frozen=True, slots=True)
class Authenticate:
    """AUTH."""

    event: Event


@dataclass(frozen=True, slots=True)
class Request:
    """REQ, or COUNT where *count* is set."""

    subscription: str
    filters: tuple[Filter, ...]
    count: bool = False


@dataclass(frozen=True, slots=True)
class Close:
    """CLOSE."""

    subscription: str


ClientMessage = Publish | Authenticate | Request | Close


class BadEventError(PeerProtocolError):
    """An EVENT or AUTH that carries no event; *id* is what it claims to be, where that is readable."""

    def __init__(self, message: str, event_id: str) -> None:
        super().__init__(message)
        self.event_id = event_id


class UnknownWordError(PeerProtocolError):
    """A message with a word of another protocol; *value* is all of it."""

    def __init__(self, value: list[object]) -> None:
        super().__init__(f"unknown message '{str(value[0])[:20]}'")
        self.value = value


class BadRequestError(PeerProtocolError):
    """A REQ or COUNT whose filters make no sense, for a *subscription* that can be answered."""

    def __init__(self, message: str, subscription: str) -> None:
        super().__init__(message)
        self.subscription = subscription


# --- reading -------------------------------------------------------------------------------------


def array(data: str | bytes) -> list[object]:
    """Return the message *data*: an array that begins with a word. Raises: PeerProtocolError."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = _decode_slowly(data)
    if not isinstance(value, list) or not value or not isinstance(value[0], str):
        raise PeerProtocolError("a message is not an array that begins with a word")
    return value


def _decode_slowly(data: str | bytes) -> object:
    try:
        return decode_json(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
    except BadRecordError as error:
        raise PeerProtocolError(f"a message is {error.message}") from None


def _texts(value: list[object], count: int) -> list[str]:
    texts = value[1 : 1 + count]
    if len(texts) != count or not all(isinstance(item, str) for item in texts):
        raise PeerProtocolError(f"'{str(value[0])[:20]}' message of the wrong shape")
    return [item for item in texts if isinstance(item, str)]


def _event(value: object) -> Event:
    claimed = value.get("id") if isinstance(value, Mapping) else None
    event_id = claimed if isinstance(claimed, str) and len(claimed) <= MAX_SUBSCRIPTION_ID else ""
    if not isinstance(value, Mapping):
        raise BadEventError("an event is a JSON object", event_id)
    try:
        return Event.from_json(value)
    except BadRecordError as error:
        raise BadEventError(error.message, event_id) from None


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise PeerProtocolError("'COUNT' message without a count")
    return value


def parse_relay_message(data: str | bytes) -> RelayMessage | None:
    """Return what a relay says; None for a word unknown to us. Raises: PeerProtocolError."""
    value = array(data)
    match value[0]:
        case "EVENT":
            (subscription,) = _texts(value, 1)
            return EventMessage(subscription, _event(value[2] if len(value) > 2 else None))
        case "OK":
            return _parse_ok(value)
        case "EOSE":
            return EoseMessage(*_texts(value, 1))
        case "CLOSED":
            return ClosedMessage(*_texts(value if len(value) > 2 else [*value, ""], 2))
        case "NOTICE":
            return NoticeMessage(*_texts(value, 1))
        case "AUTH":
            return ChallengeMessage(*_texts(value, 1))
        case "COUNT":
            (subscription,) = _texts(value, 1)
            counted = value[2] if len(value) > 2 else None
            if not isinstance(counted, Mapping):
                raise PeerProtocolError("'COUNT' message without a count")
            return CountMessage(subscription, _integer(counted.get("count")))
    return None


def _parse_ok(value: list[object]) -> OkMessage:
    (event_id,) = _texts(value, 1)
    accepted = value[2] if len(value) > 2 else None
    message = value[3] if len(value) > 3 else ""
    if not isinstance(accepted, bool) or not isinstance(message, str):
        raise PeerProtocolError("'OK' message of the wrong shape")
    return OkMessage(event_id, accepted, message)


def parse_client_message(data: str | bytes) -> ClientMessage:
    """Return what a client asks. Raises: PeerProtocolError and its children here."""
    value = array(data)
    match value[0]:
        case "EVENT":
            return Publish(_event(value[1] if len(value) > 1 else None))
        case "AUTH":
            return Authenticate(_event(value[1] if len(value) > 1 else None))
        case "REQ" | "COUNT":
            return _parse_request(value)
        case "CLOSE":
            return Close(*_texts(value, 1))
    raise UnknownWordError(value)


def _parse_request(value: list[object]) -> Request:
    (subscription,) = _texts(value, 1)
    if not 0 < len(subscription) <= MAX_SUBSCRIPTION_ID or any(
        0xD800 <= ord(c) < 0xE000 for c in subscription
    ):
        raise PeerProtocolError(f"a subscription id has 1 to {MAX_SUBSCRIPTION_ID} characters")
    if len(value) < 3:
        raise BadRequestError("no filter", subscription)
    filters = []
    for item in value[2:]:
        if not isinstance(item, Mapping):
            raise BadRequestError("a filter is a JSON object", subscription)
        try:
            filters.append(Filter.from_json(item))
        except BadRecordError as error:
            raise BadRequestError(error.message, subscription) from None
    return Request(subscription, tuple(filters), count=value[0] == "COUNT")


# --- writing -------------------------------------------------------------------------------------


def encode(*parts: object) -> bytes:
    """Return one message as minified JSON in UTF-8; a lone surrogate in it becomes a question mark."""
    try:
        return orjson.dumps(parts)
    except orjson.JSONEncodeError:
        return _encode(parts).encode("utf-8", "replace")
