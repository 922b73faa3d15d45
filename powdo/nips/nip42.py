"""Telling a relay who is connected (NIP-42): the AUTH event, made and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from powdo.errors import PeerProtocolError
from powdo.nips.event import Event, Unsigned, sign

if TYPE_CHECKING:
    from powdo.nips.curve import SecretKey

KIND = 22242
#: How far `created_at` may be off; NIP-42 speaks of ten minutes.
MAX_SKEW = 600

_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
_PORTS = {"ws": 80, "wss": 443}


def normalize_url(url: str) -> str:
    """Return *url* with ws or wss, a lower-case host, and no default port or last slash, for comparing.

    Raises:
        PeerProtocolError: it is no relay's URL.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    scheme = _SCHEMES.get(parts.scheme) if host else None
    if not host or not scheme or parts.username is not None:
        raise PeerProtocolError(f"'{url[:200]}' is no URL of a relay")
    host = f"[{host}]" if ":" in host else host
    place = host if port in (None, _PORTS[scheme]) else f"{host}:{port}"
    query = f"?{parts.query}" if parts.query else ""
    return f"{scheme}://{place}{parts.path.rstrip('/')}{query}"


def auth_event(challenge: str, relay_url: str, key: SecretKey, created_at: int, aux: bytes) -> Event:
    """Return the event that answers *challenge* of the relay at *relay_url*."""
    tags = (("relay", relay_url), ("challenge", challenge))
    return sign(Unsigned(key.pubkey, created_at, KIND, tags, ""), key, aux)


def check_auth(event: Event, challenge: str, relay_url: str, now: int) -> str:
    """Return the pubkey that *event* authenticates on a connection with *challenge*.

    Raises:
        PeerProtocolError: another kind, time, challenge or relay, or a wrong id or signature.
    """
    if event.kind != KIND:
        raise PeerProtocolError(f"kind {event.kind} does not authenticate")
    if abs(event.created_at - now) > MAX_SKEW:
        raise PeerProtocolError("the AUTH event's created_at is more than ten minutes off")
    if not challenge or event.tag_values("challenge") != (challenge,):
        raise PeerProtocolError("the AUTH event answers another challenge")
    relays = event.tag_values("relay")
    if len(relays) != 1 or normalize_url(relays[0]) != normalize_url(relay_url):
        raise PeerProtocolError(f"the AUTH event is not for '{relay_url}'")
    event.verify()
    return event.pubkey
