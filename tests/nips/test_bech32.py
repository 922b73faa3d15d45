"""Keys as people write them (NIP-19)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nostr import bech32 as reference

from powdo.errors import BadRecordError
from powdo.nips import bech32
from powdo.nips.curve import SecretKey

NPUB = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg"
PUBKEY = "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e"
NSEC = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5"
SECRET = "67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa"
NPROFILE = (
    "nprofile1qqsrhuxx8l9ex335q7he0f09aej04zpazpl0ne2cgukyawd24mayt8gpp4mhxue69uhhytnc9e3k7mgpz4mhxue69uhkg6nz"
    "v9ejuumpv34kytnrdaksjlyr9p"
)


def test_published_examples() -> None:
    """The examples of NIP-19 are read and written as it says."""
    assert bech32.decode_npub(NPUB) == PUBKEY
    assert bech32.encode_npub(PUBKEY) == NPUB
    assert bech32.decode_nsec(NSEC).hex() == SECRET
    assert bech32.encode_nsec(bytes.fromhex(SECRET)) == NSEC


def test_pubkey_is_read_in_both_forms() -> None:
    """A public key may be given as npub, also in capitals, and as lower-case hex."""
    assert (
        bech32.parse_pubkey(NPUB)
        == bech32.parse_pubkey(NPUB.upper())
        == bech32.parse_pubkey(PUBKEY)
        == PUBKEY
    )


@given(st.binary(min_size=32, max_size=32).filter(lambda b: 0 < int.from_bytes(b, "big") < 2**255))
def test_round_trip(secret: bytes) -> None:
    """Every key survives both forms."""
    pubkey = SecretKey(secret).pubkey
    assert bech32.decode_nsec(bech32.encode_nsec(secret)) == secret
    assert bech32.parse_pubkey(bech32.encode_npub(pubkey)) == bech32.parse_pubkey(pubkey) == pubkey


@pytest.mark.parametrize(
    "text",
    [
        "",
        "npub",
        "npub1",
        "1" * 10,
        NPUB[:-1],
        NPUB[:-1] + "q",
        NPUB.replace("elf", "lef"),
        NPUB[:20].upper() + NPUB[20:],
        " " + NPUB,
        NPUB + "\n",
        "nostr:" + NPUB,
        NPROFILE,
        PUBKEY.upper(),
        PUBKEY[:-2],
        "ff" * 32,
        bech32.encode("npub", bytes.fromhex(PUBKEY)[:31]),
        bech32.encode("npub", bytes.fromhex(PUBKEY) + b"\0"),
        bech32.encode("npub", b"\xff" * 32),
        bech32.encode("note", bytes.fromhex(PUBKEY)),
        reference.bech32_encode(
            "npub", reference.convertbits(bytes.fromhex(PUBKEY), 8, 5), reference.Encoding.BECH32M
        ),
        "npub1" + "q" * 5000,
        "npüb1",
    ],
    ids=lambda text: text[:24],
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    """Typing errors, other prefixes, lengths and encodings, and points off the curve are refused."""
    with pytest.raises(BadRecordError):
        bech32.parse_pubkey(text)


def test_what_is_no_bech32_is_told_what_is_wanted() -> None:
    """Who is asked for a public key is never shown how a secret one looks."""
    with pytest.raises(BadRecordError) as caught:
        bech32.parse_pubkey("wss://relay.example")
    assert caught.value.hint == "it should look like npub1…"


@pytest.mark.parametrize("text", [NSEC, NSEC.upper(), NSEC[:-1] + "q", NSEC[:30]])
def test_secret_given_as_public_key_is_refused_unseen(text: str) -> None:
    """An nsec, whole or damaged, never passes for a public key and is not repeated in the message."""
    with pytest.raises(BadRecordError) as caught:
        bech32.parse_pubkey(text)
    assert text[5:20].lower() not in (str(caught.value) + str(caught.value.hint)).lower()
    assert "nsec" in caught.value.message
    assert "secret" in str(caught.value.hint)


@pytest.mark.parametrize(
    "text",
    [
        NPUB,
        NSEC[:-1] + "q",
        bech32.encode("nsec", bytes(32)),
        bech32.encode("nsec", b"\xff" * 32),
        SECRET,
        "nsec1",
    ],
)
def test_what_is_no_secret_key_is_refused_unseen(text: str) -> None:
    """An npub, a typing error, and a number that is no secret key are refused without repeating them."""
    with pytest.raises(BadRecordError) as caught:
        bech32.decode_nsec(text)
    assert len(text) < 10 or text[5:20] not in str(caught.value)


@given(st.binary(min_size=32, max_size=32))
def test_the_wiping_functions_agree_with_the_others(secret: bytes) -> None:
    """An nsec made and read in buffers is that of the plain functions."""
    text = bech32.secret_to_nsec(bytearray(secret))
    assert text.decode() == bech32.encode_nsec(secret)
    assert bech32.nsec_to_secret(text) == secret


@pytest.mark.parametrize("position", range(63))
def test_a_changed_nsec_is_refused_in_buffers_too(position: int) -> None:
    """Any other character gives no secret."""
    text = bech32.secret_to_nsec(bytearray(b"\x07" * 32))
    text[position] = ord("q") if text[position] != ord("q") else ord("p")
    for bad in (text, text[:-1], text + b"q", bytearray(), bytearray(b"\xff" * 63)):
        with pytest.raises(BadRecordError):
            bech32.nsec_to_secret(bytearray(bad))


def test_an_nsec_with_padding_is_refused_in_buffers_too() -> None:
    """Bits beyond the 32 bytes must be zeros."""
    values = [0] * 51 + [1]
    checksum = reference.bech32_create_checksum("nsec", values, reference.Encoding.BECH32)
    text = "nsec1" + "".join(reference.CHARSET[value] for value in values + checksum)
    with pytest.raises(BadRecordError, match="padding"):
        bech32.nsec_to_secret(bytearray(text.encode()))
