"""Encryption between two keys (NIP-44), against its published vectors."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powdo.errors import BadRecordError, KeyRejectedError, PeerProtocolError, PowdoError
from powdo.nips import nip44
from powdo.nips.curve import SecretKey

FILE = Path(__file__).parents[1] / "vectors" / "nip44.vectors.json"
VECTORS: dict[str, Any] = json.loads(FILE.read_text())["v2"]
VALID, INVALID = VECTORS["valid"], VECTORS["invalid"]
KEY = bytes.fromhex("c41c775356fd92eadc63ff5a0dc1da211b268cbea22316767095b2871ea1412d")
NONCE = bytes.fromhex("00" * 31 + "01")


def secret(text: str) -> SecretKey:
    """Return the secret key in hex *text*."""
    return SecretKey(bytes.fromhex(text))


def test_vectors_are_those_of_the_nip() -> None:
    """The file is the one whose hash NIP-44 names."""
    digest = hashlib.sha256(FILE.read_bytes()).hexdigest()
    assert digest == "269ed0f69e4c192512cc779e78c555090cebc7c785b609e338a62afc3ce25040"


@pytest.mark.parametrize("case", VALID["get_conversation_key"], ids=lambda case: case["sec1"][:8])
def test_conversation_key(case: dict[str, str]) -> None:
    """Secret and public key give the published conversation key."""
    assert nip44.conversation_key(secret(case["sec1"]), case["pub2"]).hex() == case["conversation_key"]


@pytest.mark.parametrize("case", VALID["get_message_keys"]["keys"], ids=lambda case: case["nonce"][:8])
def test_message_keys(case: dict[str, str]) -> None:
    """Conversation key and nonce give the published message keys."""
    key = bytes.fromhex(VALID["get_message_keys"]["conversation_key"])
    found = nip44._message_keys(key, bytes.fromhex(case["nonce"]))
    assert tuple(map(bytes.hex, found)) == (case["chacha_key"], case["chacha_nonce"], case["hmac_key"])


@pytest.mark.parametrize(("length", "padded"), VALID["calc_padded_len"])
def test_padded_length(length: int, padded: int) -> None:
    """Lengths are padded as published."""
    assert nip44.padded_length(length) == padded


@pytest.mark.parametrize("case", VALID["encrypt_decrypt"], ids=lambda case: case["nonce"][:8])
def test_encrypt_decrypt(case: dict[str, str]) -> None:
    """Both sides find the same key, and the published payload in both directions."""
    one, other = secret(case["sec1"]), secret(case["sec2"])
    key = nip44.conversation_key(one, other.pubkey)
    assert key.hex() == case["conversation_key"] == nip44.conversation_key(other, one.pubkey).hex()
    assert nip44.encrypt(case["plaintext"], key, bytes.fromhex(case["nonce"])) == case["payload"]
    assert nip44.decrypt(case["payload"], key) == case["plaintext"]


@pytest.mark.parametrize("case", VALID["encrypt_decrypt_long_msg"], ids=lambda case: str(case["repeat"]))
def test_long_messages(case: dict[str, Any]) -> None:
    """Long texts give the published hashes and come back."""
    text, key = case["pattern"] * case["repeat"], bytes.fromhex(case["conversation_key"])
    assert hashlib.sha256(text.encode()).hexdigest() == case["plaintext_sha256"]
    payload = nip44.encrypt(text, key, bytes.fromhex(case["nonce"]))
    assert hashlib.sha256(payload.encode()).hexdigest() == case["payload_sha256"]
    assert nip44.decrypt(payload, key) == text


@pytest.mark.parametrize(
    ("length", "digest"),
    [
        (65535, "6d8c2810d1e870fbaa1f0a0937126cca837a15f9260e27060c331d70a3c0bc84"),
        (65536, "b7b4edb36ba92e267d322d56d9aebc22e7fa96ff52e3c12adc07f07a43cbc616"),
        (65537, "eeb7c7c5373894ea2c1547cfd3ccb15d5a0b2d619da852e5c79df792dcc9e435"),
    ],
)
def test_extended_lengths(length: int, digest: str) -> None:
    """From 65536 bytes on the extended prefix is used, as the vectors printed in NIP-44 have it."""
    payload = nip44.encrypt("a" * length, KEY, NONCE)
    assert hashlib.sha256(payload.encode()).hexdigest() == digest
    assert nip44.decrypt(payload, KEY) == "a" * length


def test_empty_text_is_refused() -> None:
    """A text has at least one byte.

    Of the invalid lengths in the vectors, 65536 and 100000 predate the extended prefix of 2026-06-28.
    """
    assert INVALID["encrypt_msg_lengths"] == [0, 65536, 100000, 10000000]
    with pytest.raises(BadRecordError):
        nip44.encrypt("", KEY, NONCE)


@pytest.mark.parametrize("case", INVALID["get_conversation_key"], ids=lambda case: case["note"])
def test_invalid_keys(case: dict[str, str]) -> None:
    """Secrets out of range and points off the curve give no conversation key."""
    with pytest.raises((BadRecordError, KeyRejectedError)):
        nip44.conversation_key(secret(case["sec1"]), case["pub2"])


@pytest.mark.parametrize("case", INVALID["decrypt"], ids=lambda case: case["note"])
def test_invalid_payloads(case: dict[str, str]) -> None:
    """Each published bad payload is refused."""
    with pytest.raises(PeerProtocolError):
        nip44.decrypt(case["payload"], bytes.fromhex(case["conversation_key"]))


def forge(padded: bytes) -> str:
    """Return a payload of exactly *padded*, with a right MAC."""
    cipher_key, cipher_nonce, mac_key = nip44._message_keys(KEY, NONCE)
    sealed = nip44._chacha20(cipher_key, cipher_nonce, padded)
    return base64.b64encode(b"\2" + NONCE + sealed + hmac.digest(mac_key, NONCE + sealed, "sha256")).decode()


@pytest.mark.parametrize(
    "padded",
    [
        b"\0\0" + (32).to_bytes(4, "big") + bytes(32),
        b"\0\0" + (65535).to_bytes(4, "big") + bytes(65536),
        b"\0\0" + bytes(32),
        b"\0\0\xff\xff\xff\xff" + bytes(60),
        b"\0\5" + b"hello" + bytes(28),
        b"\0\5" + b"hello" + bytes(26),
        b"\0\x40" + bytes(32),
        b"\0\4" + b"\xff\xfe\xfd\xfc" + bytes(28),
    ],
)
def test_wrong_padding_is_refused(padded: bytes) -> None:
    """A length that does not fit, an extended prefix without need, and what is not UTF-8 are refused."""
    with pytest.raises(PeerProtocolError):
        nip44.decrypt(forge(padded), KEY)


@pytest.mark.parametrize("position", [0, 1, 20, 33, 50, -33, -1])
def test_any_changed_byte_is_refused(position: int) -> None:
    """Version, nonce, ciphertext and MAC are all authenticated."""
    data = bytearray(base64.b64decode(nip44.encrypt("hello", KEY, NONCE)))
    data[position] ^= 1
    with pytest.raises(PeerProtocolError):
        nip44.decrypt(base64.b64encode(data).decode(), KEY)


def test_long_payload_is_refused_before_it_is_decoded() -> None:
    """The cap counts characters of the payload, exactly."""
    payload = nip44.encrypt("a" * 1000, KEY, NONCE)
    assert nip44.decrypt(payload, KEY, max_payload=len(payload)) == "a" * 1000
    with pytest.raises(PeerProtocolError, match="length"):
        nip44.decrypt(payload, KEY, max_payload=len(payload) - 1)


@pytest.mark.parametrize("junk", ["\n", " ", "é", "\ud800", "-", "="])
def test_foreign_characters_are_refused(junk: str) -> None:
    """Base64 is read strictly."""
    payload = nip44.encrypt("hello", KEY, NONCE)
    with pytest.raises(PeerProtocolError):
        nip44.decrypt(payload[:50] + junk + payload[50:], KEY)


def test_lone_surrogate_is_not_encrypted() -> None:
    """A lone surrogate has no UTF-8."""
    with pytest.raises(BadRecordError):
        nip44.encrypt("\ud800", KEY, NONCE)


@pytest.mark.parametrize(("key", "nonce"), [(KEY[:31], NONCE), (KEY, NONCE[:24]), (KEY, b"")])
def test_short_key_or_nonce_is_our_own_fault(key: bytes, nonce: bytes) -> None:
    """Key and nonce are 32 bytes each."""
    with pytest.raises(ValueError, match="32 bytes"):
        nip44.encrypt("hello", key, nonce)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=600),
    st.binary(min_size=32, max_size=32),
)
def test_round_trip(text: str, nonce: bytes) -> None:
    """Every text comes back."""
    assert nip44.decrypt(nip44.encrypt(text, KEY, nonce), KEY) == text


@given(st.text(max_size=400))
def test_junk_is_refused_in_one_way(text: str) -> None:
    """No text whatsoever raises anything but an error of ours."""
    with pytest.raises(PowdoError):
        nip44.decrypt(text, KEY)


def test_known_keys_are_remembered_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key with a known peer is the conversation key, computed once, and few are kept."""
    monkeypatch.setattr(nip44, "MAX_REMEMBERED", 3)
    mine, peers = SecretKey(b"\7" * 32), [SecretKey(bytes([number]) * 32).pubkey for number in range(1, 6)]
    for pubkey in peers * 2:
        assert nip44.known_key(mine, pubkey) == nip44.conversation_key(mine, pubkey)
        assert len(mine.remembered) <= 3
    assert nip44.known_key(mine, peers[-1]) is nip44.known_key(mine, peers[-1])
