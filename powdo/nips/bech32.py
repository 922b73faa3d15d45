"""Keys as people write them: npub and nsec (NIP-19).

Charset and checksum come from the library `nostr`, whose own decoders check neither prefix nor length.
Rules: the prefix must be the one asked for, the payload as long as it must be, the encoding bech32 (not
bech32m), the text at most 5000 characters; and a text that may hold a secret is never repeated in a message.
"""

from __future__ import annotations

import re

from nostr import bech32

from powdo.errors import BadRecordError, KeyRejectedError

MAX_LENGTH = 5000

_HINTS = {
    "nsec": "this is a secret key; give the npub, and take the secret as exposed",
    "ncryptsec": "this is an encrypted secret key; give the npub",
    "nprofile": "give the npub in it",
    "note": "this names an event, not a person; give the npub",
    "nevent": "this names an event, not a person; give the npub",
}
_KNOWN = {*_HINTS, "npub", "naddr"}
_NSEC_LENGTH, _SECRET_LENGTH = 63, 32
_FIELD = 2**256 - 2**32 - 977
_is_hex64 = re.compile("[0-9a-f]{64}").fullmatch


def encode_npub(pubkey: str) -> str:
    """Return *pubkey* (hex) as npub."""
    if not _is_hex64(pubkey):
        raise BadRecordError("a public key must be 64 lower-case hex digits")
    return encode("npub", bytes.fromhex(pubkey))


def decode_npub(text: str) -> str:
    """Return the public key of an npub in hex.

    Raises:
        BadRecordError: it is no npub, or names no point of the curve.
    """
    return _point(_decode_32(text, "npub").hex(), "npub")


def encode_nsec(secret: bytes) -> str:
    """Return *secret* as nsec."""
    if len(secret) != 32:
        raise BadRecordError("a secret key must be 32 bytes long")
    return encode("nsec", secret)


def decode_nsec(text: str) -> bytes:
    """Return the secret of an nsec.

    Raises:
        BadRecordError: it is no nsec, or its number is no secret key.
    """
    from powdo.nips.curve import SecretKey

    secret = _decode_32(text, "nsec")
    try:
        SecretKey(secret)
    except KeyRejectedError:
        raise BadRecordError("the nsec holds no valid secret key") from None
    return secret


def secret_to_nsec(secret: bytearray) -> bytearray:
    """Return the nsec of the 32 bytes *secret* as ASCII text; no copy is left that could not be wiped."""
    if len(secret) != _SECRET_LENGTH:
        raise BadRecordError("a secret key must be 32 bytes long")
    values = _regrouped(secret, 8, 5)
    checksum = bech32.bech32_create_checksum("nsec", list(values), bech32.Encoding.BECH32)
    text = bytearray(_NSEC_LENGTH)
    for index, value in enumerate(
        (*b"nsec1", *(ord(bech32.CHARSET[value]) for value in (*values, *checksum)))
    ):
        text[index] = value
    values[:] = bytes(len(values))
    return text


def nsec_to_secret(text: bytearray) -> bytearray:
    """Return the 32 bytes of an nsec in ASCII text, for the caller to wipe, as all copies made here are.

    Raises:
        BadRecordError: it is no nsec.
    """
    if len(text) != _NSEC_LENGTH or text[:5] != b"nsec1":
        raise BadRecordError("not an nsec")
    values = bytearray(_NSEC_LENGTH - 5 - 6)
    found = [bech32.CHARSET.find(chr(byte)) for byte in text[5:]]
    try:
        if -1 in found or bech32.bech32_verify_checksum("nsec", found) is not bech32.Encoding.BECH32:
            raise BadRecordError("the nsec has a wrong checksum")
        for index in range(len(values)):
            values[index] = found[index]
        secret = _regrouped(values, 5, 8)
        if secret.pop():  # 52 times 5 bits are four more than 32 bytes have
            secret[:] = bytes(len(secret))
            raise BadRecordError("the nsec has wrong padding")
        return secret
    finally:
        values[:] = bytes(len(values))


def _regrouped(data: bytearray, size: int, width: int) -> bytearray:
    """Return the bits of *data*, *size* in each byte, as *width* in each byte, the last padded with zeros.

    What is returned never grows: a bytearray that does leaves its former bytes in memory.
    """
    found = bytearray(-(-len(data) * size // width))
    held = count = index = 0
    for value in data:
        held = ((held << size) | value) & 0xFFF
        count += size
        while count >= width:
            count -= width
            found[index] = (held >> count) & ((1 << width) - 1)
            index += 1
    if count:
        found[index] = (held << (width - count)) & ((1 << width) - 1)
    return found


def parse_pubkey(text: str) -> str:
    """Return the public key in hex that *text* gives as npub or as 64 lower-case hex digits."""
    if _is_hex64(text):
        return _point(text, "public key")
    return decode_npub(text)


def encode(prefix: str, data: bytes) -> str:
    """Return *data* as bech32 under *prefix*."""
    return str(bech32.bech32_encode(prefix, bech32.convertbits(data, 8, 5), bech32.Encoding.BECH32))


def decode(text: str, prefix: str) -> bytes:
    """Return the bytes of the bech32 *text*, whose prefix must be *prefix*.

    Raises:
        BadRecordError: another prefix, a wrong checksum, bech32m, or more than 5000 characters.
    """
    found, values = _split(text, prefix)
    if found != prefix:
        known = found if found in _KNOWN else "something else"
        raise BadRecordError(
            f"expected an {prefix}, not {known}", hint=_HINTS.get(found) if prefix == "npub" else None
        )
    checksum = bech32.bech32_verify_checksum(prefix, values)
    if checksum is not bech32.Encoding.BECH32:
        raise BadRecordError(
            f"the {prefix} has a wrong checksum", hint="look for a mistyped or missing character"
        )
    data = bech32.convertbits(values[:-6], 5, 8, False)
    if data is None:
        raise BadRecordError(f"the {prefix} has wrong padding")
    return bytes(data)


def _split(text: str, wanted: str) -> tuple[str, list[int]]:
    """Return prefix, *wanted* or another, and values of *text*, whose checksum is still to be checked."""
    if len(text) > MAX_LENGTH:
        raise BadRecordError(f"more than {MAX_LENGTH} characters are no bech32 text (NIP-19)")
    if not text.isascii() or text not in (text.lower(), text.upper()):
        raise BadRecordError("not a bech32 text: foreign characters or mixed case")
    prefix, separator, rest = text.lower().rpartition("1")
    values = [bech32.CHARSET.find(character) for character in rest]
    if not separator or not prefix or len(values) < 6 or -1 in values:
        raise BadRecordError("not a bech32 text", hint=f"it should look like {wanted}1…")
    return prefix, values


def _decode_32(text: str, prefix: str) -> bytes:
    data = decode(text, prefix)
    if len(data) != 32:
        raise BadRecordError(f"the {prefix} must hold 32 bytes, not {len(data)}")
    return data


def _point(pubkey: str, what: str) -> str:
    """Return *pubkey* when it is the x of a point, by Euler's criterion, so that settings need no library."""
    x = int(pubkey, 16)
    if x >= _FIELD or pow(x**3 + 7, _FIELD // 2, _FIELD) != 1:
        raise BadRecordError(f"the {what} is no point of the curve")
    return pubkey
