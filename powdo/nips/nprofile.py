"""A public key together with relays where its owner is found: nprofile (NIP-19).

TLV: type 0 is the key, each type 1 a relay; other types are left alone, as the NIP wants.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from powdo.errors import BadRecordError
from powdo.nips.bech32 import decode, encode, parse_pubkey

_KEY, _RELAY = 0, 1
_MOST = 255


class Profile(NamedTuple):
    """A public key in hex, and relays as whoever made the text wrote them."""

    pubkey: str
    relays: tuple[str, ...] = ()


def encode_nprofile(profile: Profile) -> str:
    """Return *profile* as nprofile. Raises: BadRecordError where a relay is too long or not ASCII."""
    data = bytearray([_KEY, 32]) + bytes.fromhex(profile.pubkey)
    for relay in profile.relays:
        if not relay.isascii() or len(relay) > _MOST:
            raise BadRecordError("a relay in an nprofile must be ASCII, and at most 255 characters long")
        data += bytes([_RELAY, len(relay)]) + relay.encode("ascii")
    return encode("nprofile", bytes(data))


def decode_nprofile(text: str) -> Profile:
    """Return what an nprofile holds. Raises: BadRecordError."""
    fields = list(_fields(decode(text, "nprofile")))
    keys = [value for kind, value in fields if kind == _KEY]
    if len(keys) != 1 or len(keys[0]) != 32:
        raise BadRecordError("the nprofile does not hold one public key")
    return Profile(
        parse_pubkey(keys[0].hex()), tuple(_relays(value for kind, value in fields if kind == _RELAY))
    )


def parse_profile(text: str) -> Profile:
    """Return the key that *text* gives as nprofile, npub or hex, with the relays of an nprofile.

    Raises: BadRecordError.
    """
    if text.lower().startswith("nprofile1"):
        return decode_nprofile(text)
    return Profile(parse_pubkey(text))


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        if at + 2 > len(data) or at + 2 + data[at + 1] > len(data):
            raise BadRecordError("the nprofile is cut off")
        length = data[at + 1]
        yield data[at], data[at + 2 : at + 2 + length]
        at += 2 + length


def _relays(values: Iterable[bytes]) -> Iterator[str]:
    for value in values:
        try:
            yield value.decode("ascii")
        except UnicodeDecodeError:
            raise BadRecordError("the nprofile names a relay that is not ASCII") from None
