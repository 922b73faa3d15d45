"""NIP-42: proving to a relay who is connected."""

from __future__ import annotations

from urllib.parse import urlsplit

from powdo.errors import PeerProtocolError
from powdo.nips.curve import SecretKey
from powdo.nips.event import Event, Unsigned, sign

AUTH = 22242
_SKEW = 600
_PORTS = {"ws": 80, "wss": 443, "http": 80, "https": 443}
_SCHEMES = {"http": "ws", "https": "wss"}


def normalize_url(url: str) -> str:
    """Return *url* with lower-case scheme and host, no default port and no trailing slash.

    Raises: PeerProtocolError when it is no URL.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise PeerProtocolError("not a relay URL")
    scheme = _SCHEMES.get(parts.scheme.lower(), parts.scheme.lower())
    name = f"[{host}]" if ":" in host else host
    place = name if port in (None, _PORTS.get(scheme)) else f"{name}:{port}"
    query = f"?{parts.query}" if parts.query else ""
    return f"{scheme}://{place}{parts.path.rstrip('/')}{query}"


def auth_event(challenge: str, relay_url: str, key: SecretKey, created_at: int, aux: bytes) -> Event:
    """Return the signed event that answers *challenge*."""
    tags = (("relay", relay_url), ("challenge", challenge))
    return sign(Unsigned(key.pubkey, created_at, AUTH, tags, ""), key, aux)


def check_auth(event: Event, challenge: str, relay_url: str, now: int) -> str:
    """Return the pubkey that *event* authenticates. Raises: PeerProtocolError with the reason."""
    if event.kind != AUTH:
        raise PeerProtocolError(f"kind {event.kind} does not authenticate")
    if abs(event.created_at - now) > _SKEW:
        raise PeerProtocolError("created_at is more than ten minutes off")
    if event.tag_values("challenge") != (challenge,):
        raise PeerProtocolError("the challenge is not this connection's")
    relays = event.tag_values("relay")
    if len(relays) != 1 or normalize_url(relays[0]) != normalize_url(relay_url):
        raise PeerProtocolError(f"the relay tag is not '{relay_url}'")
    event.verify()
    return event.pubkey
