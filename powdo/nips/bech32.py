"""NIP-19: npub, nsec and nprofile. The checksum is nostr.bech32's; every other check is made here.

That library accepts bech32m, any prefix and any length, so a secret could pass for a public key.
"""

from __future__ import annotations

import re

from nostr import bech32

from powdo.errors import BadRecordError

_LONGEST = 5000
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PUBKEY, _RELAY = 0, 1


def _encode(prefix: str, data: bytes) -> str:
    return str(bech32.bech32_encode(prefix, bech32.convertbits(data, 8, 5), bech32.Encoding.BECH32))


def _decode(text: str, prefix: str) -> bytes:
    """Return the bytes in *text*. Raises: BadRecordError that never repeats a secret."""
    found = text.lower().partition("1")[0]
    if found in ("nsec", "ncryptsec") and prefix != found:
        raise BadRecordError(f"a secret key ({found}) was given where an {prefix} belongs")
    if len(text) > _LONGEST or not text.isascii() or text not in (text.lower(), text.upper()):
        raise BadRecordError(f"not an {prefix}")
    name, _, body = text.lower().rpartition("1")
    if name != prefix or len(body) < 6 or any(character not in bech32.CHARSET for character in body):
        raise BadRecordError(f"not an {prefix}" if prefix == "nsec" else f"not an {prefix}: '{text[:80]}'")
    values = [bech32.CHARSET.find(character) for character in body]
    if bech32.bech32_verify_checksum(name, values) != bech32.Encoding.BECH32:
        raise BadRecordError(f"an {prefix} with a typing error (its checksum is wrong)")
    data = bech32.convertbits(values[:-6], 5, 8, False)
    if data is None:
        raise BadRecordError(f"not an {prefix}: wrong padding")
    return bytes(data)


def _decode_32(text: str, prefix: str) -> bytes:
    data = _decode(text, prefix)
    if len(data) != 32:
        raise BadRecordError(f"not an {prefix}: {len(data)} bytes instead of 32")
    return data


def encode_npub(pubkey: str) -> str:
    """Return the npub of a hex *pubkey*."""
    return _encode("npub", bytes.fromhex(pubkey))


def decode_npub(text: str) -> str:
    """Return the hex pubkey of an npub. Raises: BadRecordError."""
    return _decode_32(text, "npub").hex()


def encode_nsec(secret: bytes) -> str:
    """Return the nsec of 32 secret bytes."""
    return _encode("nsec", secret)


def decode_nsec(text: str) -> bytes:
    """Return the 32 secret bytes of an nsec. Raises: BadRecordError that does not repeat it."""
    return _decode_32(text, "nsec")


def parse_pubkey(text: str) -> str:
    """Return the hex pubkey that an npub or 64 lower-case hex digits name. Raises: BadRecordError."""
    return text if _HEX.fullmatch(text) else decode_npub(text)


def decode_nprofile(text: str) -> tuple[str, tuple[str, ...]]:
    """Return hex pubkey and relays of an nprofile; unknown TLVs are ignored. Raises: BadRecordError."""
    data, pubkey, relays = _decode(text, "nprofile"), None, []
    while data:
        if len(data) < 2 or len(data) < 2 + data[1]:
            raise BadRecordError("not an nprofile: a value is cut off")
        kind, value, data = data[0], data[2 : 2 + data[1]], data[2 + data[1] :]
        if kind == _PUBKEY and pubkey is None:
            if len(value) != 32:
                raise BadRecordError("not an nprofile: its pubkey has not 32 bytes")
            pubkey = value.hex()
        elif kind == _RELAY:
            relays.append(value.decode("ascii", "replace"))
    if pubkey is None:
        raise BadRecordError("not an nprofile: no pubkey")
    return pubkey, tuple(relays)
