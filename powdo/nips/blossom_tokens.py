"""Authorization tokens of Blossom (BUD-11), without I/O.

Rules:
- a token we make is one string in standard base64 and in base64url, because servers in the field
  understand one alphabet or the other; it is printable ASCII without `>`, `?` and `~`, padded with spaces;
- a token we check is taken in both alphabets, padded or not, and everything in it is taken strictly;
- reasons for refusing a token are ASCII: they go into the X-Reason header.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from powdo.errors import BadRecordError, PeerProtocolError
from powdo.nips.blossom import domain, is_hash
from powdo.nips.curve import SecretKey
from powdo.nips.event import Event, Unsigned, sign

KIND = 24242
VERBS = frozenset({"get", "upload", "list", "delete", "media"})
#: How far back a token is dated: BUD-11 wants the past, and clocks differ by seconds.
BACKDATED = 5
LIFETIME = 300
#: A day, and some minutes for clients that date a token back: as long a used one has to be remembered.
LONGEST_LIFE = 24 * 3600 + 600
MAX_TOKEN = 16384
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}", re.ASCII)
_URLSAFE = str.maketrans("-_", "+/")
_INTEGER = re.compile(r"0|[1-9][0-9]{0,14}", re.ASCII)
_CONTENT = {
    "get": "Download a blob",
    "upload": "Upload a blob",
    "list": "List blobs",
    "delete": "Delete a blob",
    "media": "Upload a blob",
}


def make_token(
    key: SecretKey,
    verb: str,
    *,
    server: str,
    hashes: Sequence[str] = (),
    now: int,
    aux: bytes,
    lifetime: int = LIFETIME,
) -> str:
    """Return an Authorization header for *verb* at the URL *server*, for the blobs *hashes* (BUD-11)."""
    if verb not in VERBS:
        raise ValueError(verb)
    tags = (
        ("t", verb),
        *(("x", sha256) for sha256 in hashes),
        ("expiration", str(now + lifetime)),
        ("server", domain(server)),
    )
    event = sign(Unsigned(key.pubkey, now - BACKDATED, KIND, tags, _CONTENT[verb]), key, aux)
    return f"Nostr {encode_token(event)}"


def encode_token(event: Event) -> str:
    """Return *event* as base64 that reads the same in both alphabets and needs no padding."""
    text = json.dumps(event.to_json(), separators=(",", ":"))  # ASCII
    for symbol in ">?~\x7f":  # the only ASCII that gives the two symbols the alphabets differ in
        text = text.replace(symbol, f"\\u{ord(symbol):04x}")
    return base64.b64encode((text + " " * (-len(text) % 3)).encode()).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What a checked token allows: *hashes* empty when it names no blob.

    It is known by its *signature*: the same wish signed twice within a second is two tokens of one id.
    """

    signature: str
    pubkey: str
    verb: str
    hashes: frozenset[str]
    expires: int


def read_token(header: str, verb: str, *, domains: Collection[str], now: int) -> Token:
    """Return what the Authorization *header* allows at a server known as *domains* (BUD-11).

    The caller compares `hashes`. Raises: PeerProtocolError with an ASCII reason.
    """
    event = decode_token(header)
    if event.kind != KIND:
        raise PeerProtocolError("token is not of kind 24242")
    if event.created_at > now:
        raise PeerProtocolError("token is dated in the future")
    expires = _expiration(event)
    if expires <= now:
        raise PeerProtocolError("token has expired")
    if expires - event.created_at > LONGEST_LIFE:
        raise PeerProtocolError("token is valid for more than a day")
    if _values(event, "t") != [verb]:
        raise PeerProtocolError(f"token is not for '{verb}'")
    servers = _values(event, "server")
    if servers and not any(server in domains for server in servers):
        raise PeerProtocolError("token is for another server")
    hashes = _values(event, "x")
    if not all(is_hash(sha256) for sha256 in hashes):
        raise PeerProtocolError("token names a blob by something else than its sha256")
    try:
        event.verify()
    except PeerProtocolError:
        raise PeerProtocolError("token has a wrong id or signature") from None
    return Token(
        signature=event.sig, pubkey=event.pubkey, verb=verb, hashes=frozenset(hashes), expires=expires
    )


def decode_token(header: str) -> Event:
    """Return the event in an Authorization *header* of the scheme Nostr, its form checked and no more.

    Raises: PeerProtocolError with an ASCII reason.
    """
    scheme, _, text = header.partition(" ")
    text = text.strip(" ")
    if scheme.lower() != "nostr":
        raise PeerProtocolError("authorization is not of the Nostr scheme")
    if len(text) > MAX_TOKEN or not _BASE64.fullmatch(text):
        raise PeerProtocolError("token is not base64")
    text = text.rstrip("=").translate(_URLSAFE)
    try:
        return Event.parse(binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True))
    except binascii.Error:
        raise PeerProtocolError("token is not base64") from None
    except BadRecordError:
        raise PeerProtocolError("token is not an event") from None


def _values(event: Event, name: str) -> list[str]:
    """Return the first values of the tags *name*; a tag without one counts as an empty value."""
    return [tag[1] if len(tag) > 1 else "" for tag in event.tags if tag and tag[0] == name]


def _expiration(event: Event) -> int:
    values = _values(event, "expiration")
    if len(values) != 1 or not _INTEGER.fullmatch(values[0]):
        raise PeerProtocolError("token has no expiration")
    return int(values[0])
