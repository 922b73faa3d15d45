"""User records: what opens them, and that what was open is wiped."""

from __future__ import annotations

import gc
import os

import pytest

from powdo.custody import record as custody_record
from powdo.custody import wipe
from powdo.custody.record import erased, new_record, open_record, public_part, rewrapped
from powdo.errors import KeyRejectedError
from powdo.nips.bech32 import encode_nsec, secret_to_nsec
from powdo.nips.curve import SecretKey

_MASTER = bytes(range(32))
_KEY = SecretKey(b"\x07" * 32)


def test_no_two_records_share_randomness() -> None:
    """The same key kept twice has other DEKs, IVs and ciphertexts."""
    one, two = (new_record("ana", _KEY, _MASTER)["nostr"] for _ in range(2))
    assert all(one[name] != two[name] for name in one if name not in ("npub", "created_at"))


@pytest.mark.parametrize("part", [*custody_record.PARTS, "npub"])
@pytest.mark.parametrize("value", [None, 5, [], {}])
def test_what_is_no_text_is_damage(part: str, value: object) -> None:
    """A part of another type, or one that is missing, is told as damage and never as our bug."""
    record = new_record("ana", _KEY, _MASTER)
    record["nostr"][part] = value
    with pytest.raises(KeyRejectedError):
        open_record(record, _MASTER)
    del record["nostr"][part]
    with pytest.raises(KeyRejectedError):
        open_record(record, _MASTER)


def test_the_public_part_has_no_ciphertext() -> None:
    """What is shown of a record is its id, name, npub and dates."""
    record = new_record("ana", _KEY, _MASTER)
    assert set(public_part(record)["nostr"]) == {"npub", "created_at"}
    assert set(public_part(erased(record))["nostr"]) == {"npub", "created_at", "deleted_at"}


class _Watched:
    """Keeps every bytearray that a function returned, and what it held then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.held: list[tuple[bytearray, bytes]] = []
        for name in names:
            monkeypatch.setattr(custody_record, name, self._wrapped(getattr(custody_record, name)))

    def _wrapped(self, function):
        def wrapped(*arguments):
            found = function(*arguments)
            self.held.append((found, bytes(found)))
            return found

        return wrapped


def test_nsec_dek_and_secret_are_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every buffer that held a DEK, an nsec or a secret is zeros when making, opening, rewrapping is over."""
    watched = _Watched(monkeypatch, "_open", "secret_to_nsec", "nsec_to_secret")
    record = new_record("ana", _KEY, _MASTER)
    key = open_record(record, _MASTER)
    rewrapped(record, _MASTER, os.urandom(32))
    nsec = encode_nsec(bytes(_KEY.secret_bytes())).encode()
    held = [before for _, before in watched.held]
    assert held[0] == nsec
    assert held[2:4] == [nsec, bytes(_KEY.secret_bytes())]
    assert len(held) == 5
    assert not any(any(buffer) for buffer, _ in watched.held)
    assert key.pubkey == _KEY.pubkey


@pytest.mark.parametrize("part", ["nsec_tag", "dek_tag"])
def test_what_fails_is_wiped_too(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """A record that does not open leaves no DEK, and no half-decrypted text."""
    watched = _Watched(monkeypatch, "_open")
    wiped: list[bytearray] = []
    monkeypatch.setattr(custody_record, "wipe", lambda *buffers: (wiped.extend(buffers), wipe(*buffers)))
    record = new_record("ana", _KEY, _MASTER)
    record["nostr"][part] = custody_record._text(bytes(16))
    with pytest.raises(KeyRejectedError):
        open_record(record, _MASTER)
    assert wiped
    assert not any(any(buffer) for buffer in (*wiped, *(found for found, _ in watched.held)))


def test_a_key_is_wiped_at_the_end_of_its_block() -> None:
    """After the block the memory that held secret and key pair is zeros, and so after the object's end."""
    from coincurve._libsecp256k1 import ffi

    with SecretKey(b"\x07" * 32) as key:
        parts = [ffi.buffer(key._secret), ffi.buffer(key._keypair)]
        assert all(any(bytes(part)) for part in parts)
    assert not any(any(bytes(part)) for part in parts)
    key.wipe()
    other = SecretKey(b"\x08" * 32)
    memory, size = other._secret, 32
    del other
    gc.collect()
    assert not any(bytes(ffi.buffer(memory, size)))


def test_secret_to_nsec_refuses_other_lengths() -> None:
    """What is not 32 bytes long is no secret key."""
    from powdo.errors import BadRecordError

    with pytest.raises(BadRecordError):
        secret_to_nsec(bytearray(31))
