"""Encryption of a text between two keys (NIP-44, version 2).

Rules:
- plaintexts have 1 to 2**32-1 bytes, since 2026-06-28; from 65536 bytes on their length is written in an
  extended prefix, which many peers cannot read yet: what is sent should stay shorter;
- the payload's length is bounded before base64 is decoded, the MAC is compared before decrypting;
- the MAC is HMAC-SHA256 over nonce and ciphertext, compared in constant time.
"""

from __future__ import annotations

import binascii
import hmac

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from powdo.errors import BadRecordError, PeerProtocolError
from powdo.nips.curve import SecretKey

MAX_PAYLOAD = 1 << 20
MAX_REMEMBERED = 1024
_SALT = b"nip44-v2"
_SHA256 = SHA256()
_VERSION = b"\x02"
_SHORT = 65536
_LONGEST = (1 << 32) - 1
_SHORTEST_PAYLOAD, _SHORTEST_DATA = 132, 99


def conversation_key(secret: SecretKey, pubkey: str) -> bytes:
    """Return the 32-byte key that both sides share (HKDF-extract of the shared x).

    Raises:
        BadRecordError: *pubkey* is no point of the curve.
    """
    return hmac.digest(_SALT, secret.ecdh_x(pubkey), "sha256")


def known_key(secret: SecretKey, pubkey: str) -> bytes:
    """Return the conversation key with a peer who writes again and again, remembered for the latest ones."""
    remembered = secret.remembered
    key = remembered.get(pubkey)
    if key is None:
        key = conversation_key(secret, pubkey)
        if len(remembered) >= MAX_REMEMBERED:
            remembered.clear()
        remembered[pubkey] = key
    return key


def _message_keys(key: bytes, nonce: bytes) -> tuple[bytes, bytes, bytes]:
    """Return ChaCha key, ChaCha nonce and HMAC key: 76 bytes of HKDF-expand."""
    keys = HKDFExpand(_SHA256, 76, nonce).derive(key)
    return keys[:32], keys[32:44], keys[44:]


def padded_length(length: int) -> int:
    """Return the length that a plaintext of *length* bytes is padded to."""
    if length <= 32:
        return 32
    power = 1 << (length - 1).bit_length()
    chunk = 32 if power <= 256 else power // 8
    return chunk * ((length - 1) // chunk + 1)


def _pad(plain: bytes) -> bytes:
    length = len(plain)
    if not 1 <= length <= _LONGEST:
        raise BadRecordError("a plaintext has 1 to 2**32-1 bytes")
    prefix = length.to_bytes(2, "big") if length < _SHORT else b"\0\0" + length.to_bytes(4, "big")
    return prefix + plain + bytes(padded_length(length) - length)


def _unpad(padded: bytes) -> bytes:
    length, start = int.from_bytes(padded[:2], "big"), 2
    if length == 0:
        length, start = int.from_bytes(padded[2:6], "big"), 6
        if length < _SHORT:
            raise PeerProtocolError("invalid padding")
    if len(padded) != start + padded_length(length):
        raise PeerProtocolError("invalid padding")
    return padded[start : start + length]


def _chacha20(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """Return *data* xored with the key stream; the library wants counter (0) before nonce."""
    return Cipher(ChaCha20(key, b"\0\0\0\0" + nonce), mode=None).encryptor().update(data)


def encrypt(plaintext: str, key: bytes, nonce: bytes) -> str:
    """Return the payload of *plaintext* under a conversation *key*; *nonce* is 32 fresh random bytes.

    Raises:
        BadRecordError: the text is empty, too long, or holds a lone surrogate.
    """
    if len(key) != 32 or len(nonce) != 32:
        raise ValueError("conversation key and nonce have 32 bytes")
    chacha_key, chacha_nonce, mac_key = _message_keys(key, nonce)
    try:
        plain = plaintext.encode("utf-8")
    except UnicodeEncodeError:
        raise BadRecordError("a lone surrogate cannot be encrypted") from None
    authenticated = nonce + _chacha20(chacha_key, chacha_nonce, _pad(plain))
    mac = hmac.digest(mac_key, authenticated, "sha256")
    return binascii.b2a_base64(_VERSION + authenticated + mac, newline=False).decode("ascii")


def decrypt(payload: str, key: bytes, *, max_payload: int = MAX_PAYLOAD) -> str:
    """Return the plaintext of *payload*, whose MAC is checked before anything is decrypted.

    The event that carries it must have been verified first, as NIP-44 demands.

    Raises:
        PeerProtocolError: the payload is malformed, forged, for another key, or longer than *max_payload*.
    """
    if payload.startswith("#"):
        raise PeerProtocolError("unsupported encryption version")
    if not _SHORTEST_PAYLOAD <= len(payload) <= max_payload:
        raise PeerProtocolError("invalid payload length")
    try:
        data = binascii.a2b_base64(payload, strict_mode=True)
    except ValueError:
        raise PeerProtocolError("invalid base64") from None
    if len(data) < _SHORTEST_DATA:
        raise PeerProtocolError("invalid payload length")
    if data[:1] != _VERSION:
        raise PeerProtocolError("unsupported encryption version")
    authenticated, mac = data[1:-32], data[-32:]
    chacha_key, chacha_nonce, mac_key = _message_keys(key, authenticated[:32])
    if not hmac.compare_digest(hmac.digest(mac_key, authenticated, "sha256"), mac):
        raise PeerProtocolError("invalid MAC")
    try:
        return _unpad(_chacha20(chacha_key, chacha_nonce, authenticated[32:])).decode("utf-8")
    except UnicodeDecodeError:
        raise PeerProtocolError("the plaintext is not UTF-8") from None
