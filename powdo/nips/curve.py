"""The secp256k1 curve: BIP-340 signatures and x-only ECDH. The one module that touches libsecp256k1.

It works on coincurve's cffi library directly: the public classes rebuild the key pair for each signature
and multiply in variable time, which an ECDH with a secret must not do. Every return code is checked.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from coincurve._libsecp256k1 import ffi, lib

from powdo.errors import BadRecordError, KeyRejectedError

_CONTEXT: Any = lib.secp256k1_context_create(lib.SECP256K1_CONTEXT_NONE)
_EVEN = b"\x02"


@ffi.callback(  # type: ignore[untyped-decorator]  # cffi has no types
    "int (unsigned char *, const unsigned char *, const unsigned char *, void *)"
)
def _copy_x(output: Any, x: Any, _y: Any, _data: Any) -> int:
    """Give out the x coordinate as it is: NIP-44 hashes it itself."""
    ffi.memmove(output, x, 32)
    return 1


class SecretKey:
    """A secret key; its pubkey is x-only, in hex.

    Raises: KeyRejectedError when *secret* is not 32 bytes in the group's range.
    """

    __slots__ = ("__dict__", "_pair", "_secret")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise KeyRejectedError("a secret key has 32 bytes")
        self._secret = bytes(secret)
        self._pair = ffi.new("secp256k1_keypair *")
        if lib.secp256k1_keypair_create(_CONTEXT, self._pair, self._secret) != 1:
            raise KeyRejectedError("the secret key is out of range")

    def __repr__(self) -> str:
        return f"SecretKey(pubkey={self.pubkey!r})"

    def secret_bytes(self) -> bytes:
        """Return the 32 secret bytes."""
        return self._secret

    @cached_property
    def pubkey(self) -> str:
        """The public key: 64 hex digits."""
        point, output = ffi.new("secp256k1_xonly_pubkey *"), ffi.new("unsigned char[32]")
        if (
            lib.secp256k1_keypair_xonly_pub(_CONTEXT, point, ffi.NULL, self._pair) != 1
            or lib.secp256k1_xonly_pubkey_serialize(_CONTEXT, output, point) != 1
        ):
            raise KeyRejectedError("the secret key has no public key")
        return bytes(ffi.buffer(output)).hex()

    def sign(self, digest: bytes, aux: bytes) -> bytes:
        """Return the 64-byte BIP-340 signature of a 32-byte *digest* with 32 bytes of fresh randomness."""
        if len(digest) != 32 or len(aux) != 32:
            raise ValueError("digest and aux have 32 bytes")
        output = ffi.new("unsigned char[64]")
        if lib.secp256k1_schnorrsig_sign32(_CONTEXT, output, digest, self._pair, aux) != 1:
            raise KeyRejectedError("the key cannot sign")
        return bytes(ffi.buffer(output))

    def ecdh_x(self, pubkey: str) -> bytes:
        """Return the shared x coordinate, unhashed, in constant time. Raises: BadRecordError."""
        point = ffi.new("secp256k1_pubkey *")
        if lib.secp256k1_ec_pubkey_parse(_CONTEXT, point, _EVEN + _decode(pubkey), 33) != 1:
            raise BadRecordError("the pubkey is not on the curve")
        output = ffi.new("unsigned char[32]")
        if lib.secp256k1_ecdh(_CONTEXT, output, point, self._secret, _copy_x, ffi.NULL) != 1:
            raise KeyRejectedError("the secret key is out of range")
        return bytes(ffi.buffer(output))


def _decode(pubkey: str) -> bytes:
    try:
        data = bytes.fromhex(pubkey)
    except ValueError:
        data = b""
    if len(data) != 32 or len(pubkey) != 64:
        raise BadRecordError("a pubkey has 64 hex digits")
    return data


def verify(pubkey: str, digest: bytes, signature: bytes) -> bool:
    """Return whether *signature* is *pubkey*'s BIP-340 signature of *digest*."""
    if len(digest) != 32 or len(signature) != 64:
        return False
    try:
        data = _decode(pubkey)
    except BadRecordError:
        return False
    point = ffi.new("secp256k1_xonly_pubkey *")
    if lib.secp256k1_xonly_pubkey_parse(_CONTEXT, point, data) != 1:
        return False
    return bool(lib.secp256k1_schnorrsig_verify(_CONTEXT, signature, digest, 32, point) == 1)
