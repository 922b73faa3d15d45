"""HTTP requests that carry their own authorization (NIP-98): the event of kind 27235, made and checked.

Rules:
- the request is named by its URL, its method and, as NIP-86 wants it, the hash of its body;
- a token counts for a minute around its date; that none counts twice is for the server to see;
- reasons for refusing a token are ASCII, and say nothing of what the server would have taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import TYPE_CHECKING

from powdo.errors import PeerProtocolError
from powdo.nips.blossom_tokens import decode_token, encode_token
from powdo.nips.event import Event, Unsigned, sign
from powdo.nips.nip42 import normalize_url

if TYPE_CHECKING:
    from powdo.nips.curve import SecretKey

KIND = 27235
#: How far `created_at` may be off, in seconds, as NIP-98 suggests.
MAX_SKEW = 60


def make_header(key: SecretKey, url: str, method: str, body: bytes, *, now: int, aux: bytes) -> str:
    """Return the Authorization header for one request by *key*."""
    tags = (("u", url), ("method", method), ("payload", sha256(body).hexdigest()))
    event = sign(Unsigned(key.pubkey, now, KIND, tags, ""), key, aux)
    return f"Nostr {encode_token(event)}"


def read_header(header: str, method: str, *, urls: Iterable[str], now: int) -> Event:
    """Return the event that authorizes a *method* at a server known as *urls*, but for its body.

    URLs are compared as those of relays are: the scheme is ws or http, and no last slash counts.
    Raises: PeerProtocolError.
    """
    event = decode_token(header)
    if event.kind != KIND:
        raise PeerProtocolError("token is not of kind 27235")
    if abs(event.created_at - now) > MAX_SKEW:
        raise PeerProtocolError("token's created_at is more than a minute off")
    if not _names_one_of(event, urls):
        raise PeerProtocolError("token is for another URL")
    methods = event.tag_values("method")
    if len(methods) != 1 or methods[0].upper() != method:
        raise PeerProtocolError("token is for another method")
    try:
        event.verify()
    except PeerProtocolError:
        raise PeerProtocolError("token has a wrong id or signature") from None
    return event


def check_body(event: Event, body: bytes) -> None:
    """Let pass the *body* that *event* names in its one payload tag. Raises: PeerProtocolError."""
    if event.tag_values("payload") != (sha256(body).hexdigest(),):
        raise PeerProtocolError("token is for another body")


def _names_one_of(event: Event, urls: Iterable[str]) -> bool:
    named = event.tag_values("u")
    try:
        return len(named) == 1 and normalize_url(named[0]) in {normalize_url(url) for url in urls}
    except PeerProtocolError:
        return False
