"""Keys, signatures and shared points on secp256k1."""

from __future__ import annotations

import csv
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from powdo.errors import BadRecordError, KeyRejectedError
from powdo.nips import curve
from powdo.nips.curve import SecretKey, verify

VECTORS = Path(__file__).parents[1] / "vectors" / "bip340.csv"
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def rows() -> list[dict[str, str]]:
    """Return the published vectors of BIP-340 with messages of 32 bytes, the only length signed here."""
    with VECTORS.open(newline="") as file:
        return [row for row in csv.DictReader(file) if len(row["message"]) == 64]


def test_all_vectors_are_there() -> None:
    """Fifteen of the nineteen published vectors sign a digest of 32 bytes."""
    assert len(rows()) == 15


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["index"])
def test_bip340_verify(row: dict[str, str]) -> None:
    """Each published signature is judged as BIP-340 says."""
    digest, signature = bytes.fromhex(row["message"]), bytes.fromhex(row["signature"])
    assert verify(row["public key"].lower(), digest, signature) is (row["verification result"] == "TRUE")


@pytest.mark.parametrize("row", [row for row in rows() if row["secret key"]], ids=lambda row: row["index"])
def test_bip340_sign(row: dict[str, str]) -> None:
    """Secret key, digest and auxiliary randomness give exactly the published signature."""
    key = SecretKey(bytes.fromhex(row["secret key"]))
    assert key.pubkey == row["public key"].lower()
    signature = key.sign(bytes.fromhex(row["message"]), bytes.fromhex(row["aux_rand"]))
    assert signature == bytes.fromhex(row["signature"])


@pytest.mark.parametrize("number", [0, ORDER, ORDER + 1, 2**256 - 1])
def test_secret_out_of_range_is_rejected(number: int) -> None:
    """Zero and everything from the order of the curve on is no secret key."""
    with pytest.raises(KeyRejectedError):
        SecretKey(number.to_bytes(32, "big"))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_secret_of_wrong_length_is_rejected(length: int) -> None:
    """A secret key is 32 bytes long and nothing is read past it."""
    with pytest.raises(KeyRejectedError):
        SecretKey(b"\1" * length)


def test_greatest_secret_is_accepted() -> None:
    """The order less one is the last secret key."""
    assert len(SecretKey((ORDER - 1).to_bytes(32, "big")).pubkey) == 64


def test_secret_is_not_shown() -> None:
    """Neither repr nor str nor a pickle shows the secret, in hex or as bytes."""
    key = SecretKey(bytes(range(1, 33)))
    assert bytes(range(1, 33)).hex() not in repr(key) + str(key)
    assert "\\x01\\x02" not in repr(key)
    with pytest.raises(TypeError):
        pickle.dumps(key)


@pytest.mark.parametrize("length", [0, 63, 65])
def test_signature_of_wrong_length_is_false(length: int) -> None:
    """A signature that is too short or too long is wrong, even when its first bytes are right."""
    key = SecretKey(b"\7" * 32)
    right = key.sign(bytes(32), bytes(32))
    assert verify(key.pubkey, bytes(32), right)
    assert not verify(key.pubkey, bytes(32), (right + b"\0")[:length])


@pytest.mark.parametrize("pubkey", ["", "zz" * 32, "00" * 31, " " * 64, "ff" * 32, "0 " * 32])
def test_malformed_pubkey_verifies_nothing(pubkey: str) -> None:
    """What is no point of the curve has signed nothing."""
    assert not verify(pubkey, bytes(32), bytes(64))


@pytest.mark.parametrize(("digest", "aux"), [(31, 32), (33, 32), (32, 31), (32, 0)])
def test_sign_wants_exact_lengths(digest: int, aux: int) -> None:
    """The library never reads past a short digest or short randomness."""
    with pytest.raises(ValueError, match="32 bytes"):
        SecretKey(b"\7" * 32).sign(bytes(digest), bytes(aux))


def test_randomness_changes_the_signature() -> None:
    """Other auxiliary randomness gives another signature, and both are right."""
    key = SecretKey(b"\7" * 32)
    one, other = key.sign(bytes(32), bytes(32)), key.sign(bytes(32), b"\1" * 32)
    assert one != other
    assert verify(key.pubkey, bytes(32), one)
    assert verify(key.pubkey, bytes(32), other)


def test_shared_point_is_the_same_on_both_sides() -> None:
    """Both sides compute the same x, whatever the parity of their points."""
    keys = [SecretKey(bytes([number]) * 32) for number in range(1, 9)]
    for one in keys:
        for other in keys:
            assert one.ecdh_x(other.pubkey) == other.ecdh_x(one.pubkey)


def test_shared_point_is_not_hashed() -> None:
    """With the secret 1 the shared x is the other's public key itself."""
    other = SecretKey(b"\5" * 32)
    assert SecretKey(bytes(31) + b"\1").ecdh_x(other.pubkey) == bytes.fromhex(other.pubkey)


@pytest.mark.parametrize("pubkey", ["ff" * 32, "00" * 32, "12", "zz" * 32, "ab " * 21 + "a"])
def test_no_shared_point_off_the_curve(pubkey: str) -> None:
    """A public key that is no point is refused."""
    with pytest.raises(BadRecordError):
        SecretKey(b"\7" * 32).ecdh_x(pubkey)


def test_latest_points_are_kept_and_no_more() -> None:
    """A public key met again is not looked up on the curve again; what is no point is refused each time."""
    curve.point.cache_clear()
    keys = [SecretKey(number.to_bytes(32, "big")) for number in range(1, 200)]
    for key in keys[1:]:
        signature = key.sign(bytes(32), bytes(32))
        assert verify(key.pubkey, bytes(32), signature)
        assert not verify(keys[0].pubkey, bytes(32), signature)
        with pytest.raises(BadRecordError):
            keys[0].ecdh_x("ff" * 32)
    kept = curve.point.cache_info()
    assert kept.currsize == kept.maxsize == 128
    assert curve.point(keys[0].pubkey) is curve.point(keys[0].pubkey)


@pytest.mark.skipif(sys.platform != "linux", reason="the restriction is one of Linux")
def test_shared_point_without_executable_memory() -> None:
    """Under systemd's MemoryDenyWriteExecute= keys still agree, and on the same point."""
    code = """
import ctypes
denied = ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0  # PR_SET_MDWE
from powdo.nips.curve import SecretKey
print(denied, SecretKey(b"\\1" * 32).ecdh_x(SecretKey(b"\\2" * 32).pubkey).hex())
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    denied, shared = result.stdout.split()
    assert shared == SecretKey(b"\1" * 32).ecdh_x(SecretKey(b"\2" * 32).pubkey).hex()
    if denied != "True":
        pytest.skip("this kernel cannot deny it")


def test_both_callbacks_agree() -> None:
    """The callback made by ctypes gives the same x as the one made by cffi."""
    one, other = SecretKey(b"\3" * 32), SecretKey(b"\5" * 32)
    expected = one.ecdh_x(other.pubkey)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curve, "_copy_x", curve._copy_x_without_cffi)
        assert other.ecdh_x(one.pubkey) == expected
