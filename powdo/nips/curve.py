"""The curve secp256k1: the one module that touches libsecp256k1, through coincurve's cffi library.

Rules:
- every return code and every length is checked: the library reads past a short buffer;
- a secret meets only constant-time functions: `secp256k1_ecdh` with a callback that copies x,
  never a multiplication of a point (`secp256k1_ec_pubkey_tweak_mul` takes variable time);
- signing takes fresh auxiliary randomness, as BIP-340 recommends, and reuses the cached keypair;
- coincurve's context is used, since it has been randomised against side channels.
"""

from __future__ import annotations

from functools import lru_cache
from types import TracebackType
from typing import Any, Self

from coincurve._libsecp256k1 import ffi, lib
from coincurve.context import GLOBAL_CONTEXT

from powdo.errors import BadRecordError, ConfigurationError, KeyRejectedError

_CONTEXT = GLOBAL_CONTEXT.ctx
_COPY_X_TYPE = "int(unsigned char *, const unsigned char *, const unsigned char *, void *)"
_HEX_LENGTH = 64
_SECRET_LENGTH = 32
_KEYPAIR_LENGTH = ffi.sizeof("secp256k1_keypair")
_KEPT_POINTS = 128  # one-time keys pass through as well


@lru_cache(maxsize=1)
def _copy_x() -> tuple[Any, Any]:
    """Return the ECDH callback that keeps x unhashed (NIP-44), and what must live as long as it."""

    def copy(output: Any, x: Any, _y: Any, _data: Any) -> int:
        ffi.memmove(output, x, 32)
        return 1

    try:
        callback = ffi.callback(_COPY_X_TYPE, copy)
    except MemoryError:  # cffi wants writable code: none under MemoryDenyWriteExecute= of systemd
        return _copy_x_without_cffi()
    return callback, callback


def _copy_x_without_cffi() -> tuple[Any, Any]:
    """Return the same callback made by ctypes, whose libffi has its closures in read-only memory."""
    import ctypes  # takes milliseconds to load and is rarely needed

    def copy(output: int, x: int, _y: int, _data: int) -> int:
        ctypes.memmove(output, x, 32)
        return 1

    pointer = ctypes.c_void_p
    try:
        function = ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer, pointer, pointer)(copy)
    except MemoryError:
        raise ConfigurationError(
            "the system allows no callbacks, which key agreement needs",
            hint="run the service without MemoryDenyWriteExecute=",
        ) from None
    address = ctypes.cast(function, pointer).value
    return ffi.cast("secp256k1_ecdh_hash_function", address), function


class SecretKey:
    """A secret key, never shown; its keypair is computed once.

    It lies in memory of its own, which `wipe`, the end of a `with` block, or its own end overwrites.

    Raises:
        KeyRejectedError: *secret* is not 32 bytes long, zero, or not below the order of the curve.
    """

    __slots__ = ("_keypair", "_secret", "pubkey", "remembered")

    #: The x-only public key in lower-case hex.
    pubkey: str
    #: What was derived with long-known peers, by their public key (see nip44.known_key).
    remembered: dict[str, bytes]

    def __init__(self, secret: bytes | bytearray) -> None:
        if len(secret) != _SECRET_LENGTH:
            raise KeyRejectedError("a secret key must be 32 bytes long")
        self._secret = ffi.new("unsigned char[32]")
        self._keypair = ffi.new("secp256k1_keypair *")
        ffi.memmove(self._secret, secret, _SECRET_LENGTH)
        if lib.secp256k1_keypair_create(_CONTEXT, self._keypair, self._secret) != 1:
            raise KeyRejectedError("the secret key is not on the curve")
        self.pubkey = _x_only(self._keypair)
        self.remembered = {}

    def wipe(self, _memmove: Any = ffi.memmove, _zeros: bytes = bytes(_KEYPAIR_LENGTH)) -> None:
        """Overwrite the secret; the key cannot be used any more."""
        # what is called is bound above: an interpreter that ends may have no module any more
        for name, length in (("_secret", 32), ("_keypair", len(_zeros))):
            part = getattr(self, name, None)
            if part is not None:
                _memmove(part, _zeros, length)
                setattr(self, name, None)
        self.remembered = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.wipe()

    __del__ = wipe

    def __repr__(self) -> str:
        return f"<SecretKey of {self.pubkey}>"

    def __reduce__(self) -> str:
        raise TypeError("a secret key is not pickled")

    def sign(self, digest: bytes, aux: bytes) -> bytes:
        """Return the BIP-340 signature of *digest*, made with 32 bytes of fresh randomness *aux*."""
        if len(digest) != 32 or len(aux) != 32:
            raise ValueError("digest and auxiliary randomness must be 32 bytes long")
        signature = ffi.new("unsigned char[64]")
        if lib.secp256k1_schnorrsig_sign32(_CONTEXT, signature, digest, self._keypair, aux) != 1:
            raise KeyRejectedError("the secret key cannot sign")
        return bytes(ffi.buffer(signature))

    def ecdh_x(self, pubkey: str) -> bytes:
        """Return the x of the point shared with *pubkey*, 32 bytes, unhashed.

        Raises:
            BadRecordError: *pubkey* is no point of the curve.
        """
        peer, _ = point(pubkey)
        shared = ffi.new("unsigned char[32]")
        if lib.secp256k1_ecdh(_CONTEXT, shared, peer, self._secret, _copy_x()[0], ffi.NULL) != 1:
            raise KeyRejectedError("the secret key has no shared point with this public key")
        return bytes(ffi.buffer(shared))

    def secret_bytes(self) -> bytearray:
        """Return a copy of the 32 secret bytes, for the keystore only, which wipes it."""
        return bytearray(ffi.buffer(self._secret))


def verify(pubkey: str, digest: bytes, signature: bytes) -> bool:
    """Return whether *signature* is *pubkey*'s BIP-340 signature of *digest*, never raising."""
    if len(digest) != 32 or len(signature) != 64:
        return False
    try:
        _, author = point(pubkey)
    except BadRecordError:
        return False
    return bool(lib.secp256k1_schnorrsig_verify(_CONTEXT, signature, digest, 32, author) == 1)


@lru_cache(maxsize=_KEPT_POINTS)
def point(pubkey: str) -> tuple[Any, Any]:
    """Return the point of *pubkey* (hex) whose y is even (BIP-340), for key agreement and for verification.

    The latest ones are kept: to find y takes a tenth of a verification, and the author of a gift wrap is met
    twice, a worker often.

    Raises:
        BadRecordError: *pubkey* is no point of the curve.
    """
    try:
        x = bytes.fromhex(pubkey)
    except ValueError:
        x = b""
    if len(x) != 32 or len(pubkey) != _HEX_LENGTH:  # fromhex skips white space
        raise BadRecordError("a public key must be 64 hex digits")
    whole, x_only = ffi.new("secp256k1_pubkey *"), ffi.new("secp256k1_xonly_pubkey *")
    if lib.secp256k1_ec_pubkey_parse(_CONTEXT, whole, b"\x02" + x, 33) != 1:
        raise BadRecordError(f"public key '{pubkey}' is not on the curve")
    if lib.secp256k1_xonly_pubkey_from_pubkey(_CONTEXT, x_only, ffi.NULL, whole) != 1:
        raise BadRecordError(f"public key '{pubkey}' has no x")
    return whole, x_only


def _x_only(keypair: Any) -> str:
    public = ffi.new("secp256k1_xonly_pubkey *")
    x = ffi.new("unsigned char[32]")
    if lib.secp256k1_keypair_xonly_pub(_CONTEXT, public, ffi.NULL, keypair) != 1:
        raise KeyRejectedError("the secret key has no public key")
    if lib.secp256k1_xonly_pubkey_serialize(_CONTEXT, x, public) != 1:
        raise KeyRejectedError("the public key cannot be written")
    return bytes(ffi.buffer(x)).hex()
