"""NIP-49: the published vectors, round trips and refusals."""

from __future__ import annotations

import os
import unicodedata

import pytest

from powdo.errors import BadRecordError, KeyRejectedError
from powdo.nips import bech32, nip49

_VECTOR = (
    "ncryptsec1qgg9947rlpvqu76pj5ecreduf9jxhselq2nae2kghhvd5g7dgjtcxfqtd67p9m0w57lspw8gsq6yphnm8623nsl8xn9"
    "j4jdzz84zm3frztj3z7s35vpzmqf6ksu8r89qk5z2zxfmu5gv8th8wclt0h4p"
)
_SECRET = "3501454135014541350145413501453fefb02227e449e57cf4d3a3ce05378683"
_UNUSUAL = "\u212b\u2126\u1e9b\u0323"


def _made(password: str, **options: int) -> str:
    return nip49.encrypt(
        bytes.fromhex(_SECRET), password, salt=os.urandom(16), nonce=os.urandom(24), log_n=16, **options
    )


def test_the_published_text_is_opened() -> None:
    """The NIP's ncryptsec gives the NIP's key with the NIP's password."""
    assert nip49.decrypt(_VECTOR, "nostr").hex() == _SECRET
    assert nip49.decrypt(_VECTOR.upper(), "nostr").hex() == _SECRET


def test_the_published_text_is_made() -> None:
    """With the salt, nonce and security byte of the NIP's text, that text comes out again."""
    data = bech32.decode(_VECTOR, "ncryptsec")
    assert (len(data), data[0], data[1]) == (91, 2, 16)
    made = nip49.encrypt(
        bytes.fromhex(_SECRET),
        "nostr",
        salt=data[2:18],
        nonce=data[18:42],
        log_n=data[1],
        security=data[42],
    )
    assert made == _VECTOR


def test_passwords_are_normalised() -> None:
    """The NIP's unusual password is one however its letters are put together (NFKC)."""
    assert unicodedata.normalize("NFKC", _UNUSUAL) == "\u00c5\u03a9\u1e69"
    assert nip49.decrypt(_made(_UNUSUAL), "\u00c5\u03a9\u1e69").hex() == _SECRET


def test_what_does_not_open_is_refused() -> None:
    """A wrong password, another security byte, a cut or foreign text give no key and are not repeated."""
    text = _made("right")
    data = bytearray(bech32.decode(text, "ncryptsec"))
    with pytest.raises(KeyRejectedError, match="the password does not open"):
        nip49.decrypt(text, "wrong")
    data[42] ^= 1
    with pytest.raises(KeyRejectedError, match="the password does not open"):
        nip49.decrypt(bech32.encode("ncryptsec", bytes(data)), "right")
    for bad in (
        bech32.encode("ncryptsec", bytes(data[:-1])),
        bech32.encode("ncryptsec", b"\x01" + bytes(data[1:])),
        bech32.encode("ncryptsec", bytes([2, 0]) + bytes(data[2:])),
        bech32.encode("nsec", bytes(32)),
        text[:-1],
        "nonsense",
    ):
        with pytest.raises(BadRecordError) as caught:
            nip49.decrypt(bad, "right")
        assert bad not in f"{caught.value.message}{caught.value.hint}" or bad == "nonsense"


@pytest.mark.parametrize("log_n", [23, 30, 255])
def test_a_text_that_would_exhaust_memory_is_refused(log_n: int) -> None:
    """More rounds than anybody asks for are refused before scrypt runs."""
    data = bytearray(bech32.decode(_VECTOR, "ncryptsec"))
    data[1] = log_n
    with pytest.raises(KeyRejectedError, match="rounds of scrypt"):
        nip49.decrypt(bech32.encode("ncryptsec", bytes(data)), "nostr")


def test_lengths_are_ours_to_get_right() -> None:
    """A salt, nonce or secret of another length is a bug of the caller."""
    with pytest.raises(ValueError, match="must be"):
        nip49.encrypt(bytes(32), "x", salt=bytes(15), nonce=bytes(24))
