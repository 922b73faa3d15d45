"""NIP-59: rumor, seal and gift wrap, and every reason to refuse one.

A rumor is unsigned, its seal (kind 13) is signed by the author, the wrap (1059; 21059 where it is not
stored) by a one-time key. All three timestamps are given by the caller, who dates seal and wrap back.
"""

from __future__ import annotations

from dataclasses import dataclass

from powdo.errors import BadRecordError, PeerProtocolError
from powdo.nips import nip44
from powdo.nips.curve import SecretKey
from powdo.nips.event import Event, Tags, Unsigned, is_expired, sign
from powdo.records import decode_json, encode_json

SEAL, GIFT_WRAP, EPHEMERAL_GIFT_WRAP = 13, 1059, 21059
WRAP_KINDS = (GIFT_WRAP, EPHEMERAL_GIFT_WRAP)


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """A gift wrap that has passed every check."""

    wrap: Event
    seal: Event
    rumor: Unsigned


def _expiration(at: int | None) -> Tags:
    return () if at is None else (("expiration", str(at)),)


def seal(
    rumor: Unsigned, author: SecretKey, recipient: str, *, created_at: int, nonce: bytes, aux: bytes
) -> Event:
    """Return the seal of *rumor* for *recipient*; its tags are empty, as NIP-59 wants them."""
    if rumor.pubkey != author.pubkey:
        raise ValueError("the rumor names another author than the key")
    content = nip44.encrypt(encode_json(rumor.to_json()), nip44.conversation_key(author, recipient), nonce)
    return sign(Unsigned(author.pubkey, created_at, SEAL, (), content), author, aux)


def wrap(
    sealed: Event,
    one_time: SecretKey,
    recipient: str,
    *,
    created_at: int,
    nonce: bytes,
    aux: bytes,
    expiration: int | None = None,
    extra_tags: Tags = (),
    kind: int = GIFT_WRAP,
) -> Event:
    """Return the gift wrap of a seal for *recipient*, signed by the *one_time* key."""
    content = nip44.encrypt(encode_json(sealed.to_json()), nip44.conversation_key(one_time, recipient), nonce)
    tags = (("p", recipient), *_expiration(expiration), *extra_tags)
    return sign(Unsigned(one_time.pubkey, created_at, kind, tags, content), one_time, aux)


def _object(text: str, what: str) -> dict[str, object]:
    try:
        value = decode_json(text.encode("utf-8"))
    except BadRecordError as error:
        raise PeerProtocolError(f"the {what} is {error.message}") from None
    if not isinstance(value, dict):
        raise PeerProtocolError(f"the {what} is not an event")
    return value


def _check_wrap(event: Event, recipient: SecretKey, now: int | None) -> None:
    if event.kind not in WRAP_KINDS:
        raise PeerProtocolError(f"kind {event.kind} is no gift wrap")
    event.verify()
    if now is not None and is_expired(event, now):
        raise BadRecordError("the gift wrap has expired")
    if event.tag_values("p") != (recipient.pubkey,):
        raise PeerProtocolError("the gift wrap is addressed to somebody else")


def _check_seal(sealed: Event) -> None:
    if sealed.kind != SEAL:
        raise PeerProtocolError(f"kind {sealed.kind} is no seal")
    if sealed.tags:
        raise PeerProtocolError("the seal has tags")
    sealed.verify()


def unwrap(event: Event, recipient: SecretKey, *, now: int | None = None) -> Unwrapped:
    """Return seal and rumor of a gift wrap, all of it checked; with *now*, expired ones are refused.

    Raises: BadRecordError when a layer is malformed or expired, PeerProtocolError when it is forged.
    """
    _check_wrap(event, recipient, now)
    sealed = Event.from_json(
        _object(nip44.decrypt(event.content, nip44.conversation_key(recipient, event.pubkey)), "seal")
    )
    _check_seal(sealed)
    rumor = Unsigned.from_json(
        _object(nip44.decrypt(sealed.content, nip44.conversation_key(recipient, sealed.pubkey)), "rumor")
    )
    if rumor.pubkey != sealed.pubkey:
        raise PeerProtocolError("the rumor's author did not seal it")
    if now is not None and is_expired(rumor, now):
        raise BadRecordError("the rumor has expired")
    return Unwrapped(event, sealed, rumor)
