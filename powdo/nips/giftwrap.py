"""Rumor, seal and gift wrap (NIP-59), and every reason to refuse one.

Rules:
- a rumor is unsigned; its seal (kind 13, no tags) is signed by the author; the wrap (kind 1059, or 21059
  where it is not to be stored) by a one-time key, and names the recipient in its one `p` tag;
- the wrap is verified before it is decrypted, the seal before its content is (NIP-44);
- only a rumor whose author signed the seal is returned: anybody can seal a rumor that names another;
- the caller gives all times and dates seal and wrap back, or lets `enclose` do so by the randomness it is
  given; the true time is the rumor's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from powdo.errors import BadRecordError, PeerProtocolError
from powdo.nips import nip44
from powdo.nips.curve import SecretKey
from powdo.nips.event import Event, Tags, Unsigned, is_expired, sign
from powdo.nips.kinds import GIFT_WRAP, WRAP_KINDS

SEAL = 13
#: Seal and wrap are dated back independently, up to two days.
BACK = 2 * 86400


class Unwrapped(NamedTuple):
    """A gift wrap that passed every check, layer by layer."""

    wrap: Event
    seal: Event
    rumor: Unsigned


def seal(
    rumor: Unsigned, author: SecretKey, recipient: str, *, created_at: int, nonce: bytes, aux: bytes
) -> Event:
    """Return *rumor* sealed for *recipient*; *nonce* and *aux* are 32 fresh random bytes each.

    A seal has no tags (NIP-59), so an expiration stands on the wrap alone.
    """
    if rumor.pubkey != author.pubkey:
        raise ValueError("the rumor's author is not the owner of the key")
    content = nip44.encrypt(rumor.to_bytes().decode(), nip44.known_key(author, recipient), nonce)
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
    """Return the gift wrap of *sealed* for *recipient*, signed by the *one_time* key.

    *extra_tags* may carry proof of work (NIP-13).
    """
    unsigned = wrap_unsigned(
        sealed,
        one_time,
        recipient,
        created_at=created_at,
        nonce=nonce,
        expiration=expiration,
        extra_tags=extra_tags,
        kind=kind,
    )
    return sign(unsigned, one_time, aux)


def wrap_unsigned(
    sealed: Event,
    one_time: SecretKey,
    recipient: str,
    *,
    created_at: int,
    nonce: bytes,
    expiration: int | None = None,
    extra_tags: Tags = (),
    kind: int = GIFT_WRAP,
) -> Unsigned:
    """Return the gift wrap still to be signed by *one_time*, so that proof of work can be added first."""
    if kind not in WRAP_KINDS:
        raise ValueError(f"kind {kind} is no gift wrap")
    content = nip44.encrypt(sealed.to_bytes().decode(), nip44.conversation_key(one_time, recipient), nonce)
    expires: Tags = () if expiration is None else (("expiration", str(expiration)),)
    return Unsigned(one_time.pubkey, created_at, kind, (("p", recipient), *expires, *extra_tags), content)


def enclose(
    rumor: Unsigned,
    author: SecretKey,
    recipient: str,
    *,
    now: int,
    fresh: Callable[[int], bytes],
    expiration: int | None = None,
    prove: Callable[[Unsigned], Unsigned] | None = None,
) -> Event:
    """Return *rumor* sealed and gift-wrapped for *recipient*, both layers dated back from *now*.

    *fresh* returns so many random bytes; the one-time key is made of them, too. *prove* may add proof of
    work to the wrap (NIP-13) before it is signed.
    """

    def date_back() -> int:
        # 2**64 is so much more than two days that each moment of them is as likely.
        return now - int.from_bytes(fresh(8), "big") % BACK

    sealed = seal(rumor, author, recipient, created_at=date_back(), nonce=fresh(32), aux=fresh(32))
    one_time = SecretKey(fresh(32))
    unsigned = wrap_unsigned(
        sealed, one_time, recipient, created_at=date_back(), nonce=fresh(32), expiration=expiration
    )
    return sign(unsigned if prove is None else prove(unsigned), one_time, fresh(32))


def unwrap(event: Event, recipient: SecretKey, *, now: int | None = None) -> Unwrapped:
    """Return the layers of the gift wrap *event*, all checked; with *now*, what has expired is refused.

    Raises:
        BadRecordError: the wrap or the rumor has expired.
        PeerProtocolError: a layer is malformed, forged, or for somebody else.
    """
    _check_wrap(event, recipient, now)
    sealed = _open_seal(event, recipient)
    rumor = _open_rumor(sealed, recipient)
    if now is not None and is_expired(rumor, now):
        raise BadRecordError("expired: the rumor's time is over (NIP-40)")
    return Unwrapped(event, sealed, rumor)


def _check_wrap(event: Event, recipient: SecretKey, now: int | None) -> None:
    if event.kind not in WRAP_KINDS:
        raise PeerProtocolError(f"kind {event.kind} is no gift wrap")
    event.verify()
    if event.tag_values("p") != (recipient.pubkey,):
        raise PeerProtocolError("the gift wrap is addressed to somebody else")
    if now is not None and is_expired(event, now):
        raise BadRecordError("expired: the gift wrap's time is over (NIP-40)")


def _open_seal(event: Event, recipient: SecretKey) -> Event:
    text = _decrypt(event, nip44.conversation_key(recipient, event.pubkey), "seal")
    try:
        sealed = Event.parse(text)
    except BadRecordError as error:
        raise PeerProtocolError(f"the seal is malformed: {error.message}") from None
    if sealed.kind != SEAL:
        raise PeerProtocolError(f"kind {sealed.kind} is no seal")
    if sealed.tags:
        raise PeerProtocolError("the seal has tags")
    try:
        sealed.verify()
    except PeerProtocolError as error:
        raise PeerProtocolError(f"the seal is forged: {error.message}") from None
    return sealed


def _open_rumor(sealed: Event, recipient: SecretKey) -> Unsigned:
    text = _decrypt(sealed, nip44.known_key(recipient, sealed.pubkey), "rumor")
    try:
        rumor = Unsigned.parse(text)
    except BadRecordError as error:
        raise PeerProtocolError(f"the rumor is malformed: {error.message}") from None
    if rumor.pubkey != sealed.pubkey:
        raise PeerProtocolError("the rumor names another author than the one who sealed it")
    return rumor


def _decrypt(event: Event, key: bytes, what: str) -> str:
    """Return the text inside *event*, whose signature has been checked."""
    try:
        return nip44.decrypt(event.content, key)
    except PeerProtocolError as error:
        raise PeerProtocolError(f"the {what} cannot be opened: {error.message}") from None
