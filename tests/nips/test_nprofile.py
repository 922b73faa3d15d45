"""nprofile: the vector of NIP-19, round trips, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.errors import BadRecordError
from powdo.nips.bech32 import encode, encode_npub
from powdo.nips.curve import SecretKey
from powdo.nips.nprofile import Profile, decode_nprofile, encode_nprofile, parse_profile

KEY = "3bf0c63fcb93463407af97a5e5ee64fa883d107ef9e558472c4eb9aaaefa459d"
VECTOR = (
    "nprofile1qqsrhuxx8l9ex335q7he0f09aej04zpazpl0ne2cgukyawd24mayt8gpp4mhxue69uhhytnc9e3k7mgpz4mhxue69uhkg6nz"
    "v9ejuumpv34kytnrdaksjlyr9p"
)


def test_the_vector_of_the_nip() -> None:
    """The example of NIP-19 is read, and written the same."""
    profile = decode_nprofile(VECTOR)
    assert profile == Profile(KEY, ("wss://r.x.com", "wss://djbas.sadkb.com"))
    assert encode_nprofile(profile) == VECTOR


@given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=255), max_size=5))
def test_whatever_is_written_is_read(relays: list[str]) -> None:
    """Key and relays come back in their order."""
    profile = Profile(SecretKey(bytes([7]) * 32).pubkey, tuple(relays))
    assert decode_nprofile(encode_nprofile(profile)) == profile


def test_what_is_known_under_other_types_is_left_alone() -> None:
    """A type that this program does not know is passed over."""
    assert decode_nprofile(encode("nprofile", b"\x09\x01x\x00\x20" + bytes.fromhex(KEY))) == Profile(KEY)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"\x00\x20" + bytes(31), b"\x00\x1f" + bytes(31), b"\x01\x01x", b"\x00\x20" + bytes(32)],
)
def test_what_is_none_is_refused(data: bytes) -> None:
    """No key, half a key, a key that is no point, or a field that is cut off."""
    with pytest.raises(BadRecordError):
        decode_nprofile(encode("nprofile", data))
    with pytest.raises(BadRecordError):
        decode_nprofile(encode("nprofile", b"\x00\x20" + bytes.fromhex(KEY) + b"\x01\x02\xc3\xa4"))
    with pytest.raises(BadRecordError):
        encode_nprofile(Profile(KEY, ("wss://ä",)))


def test_each_way_to_name_a_key() -> None:
    """An npub and hex name a key without relays; a secret is refused."""
    assert parse_profile(encode_npub(KEY)) == parse_profile(KEY) == Profile(KEY)
    assert parse_profile(VECTOR).relays[0] == "wss://r.x.com"
    with pytest.raises(BadRecordError):
        parse_profile("nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5")
