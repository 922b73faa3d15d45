"""A secret key encrypted with a password (NIP-49): ncryptsec.

The password is normalised (NFKC), scrypt (N = 2**log_n, r = 8, p = 1) makes a key of it, and
XChaCha20-Poly1305 encrypts the 32 bytes with the security byte as associated data.
"""

from __future__ import annotations

import unicodedata
from hashlib import scrypt

from powdo.errors import BadRecordError, KeyRejectedError
from powdo.nips import bech32

#: What is known of how the key was handled: nothing. (0 is insecurely, 1 not insecurely.)
UNTRACKED = 2
#: 256 MiB and about a second.
LOG_N = 18
#: 4 GiB: more is asked for by nobody but to exhaust our memory.
MOST_LOG_N = 22

_VERSION = 2
_SALT, _NONCE, _SECRET, _TAG = 16, 24, 32, 16
_LENGTH = 3 + _SALT + _NONCE + _SECRET + _TAG


def encrypt(
    secret: bytes | bytearray,
    password: str,
    *,
    salt: bytes,
    nonce: bytes,
    log_n: int = LOG_N,
    security: int = UNTRACKED,
) -> str:
    """Return the ncryptsec of *secret*, with 16 fresh random bytes *salt* and 24 *nonce*.

    Raises: KeyRejectedError when there is too little memory for *log_n*.
    """
    from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as seal

    if (len(secret), len(salt), len(nonce)) != (_SECRET, _SALT, _NONCE):
        raise ValueError("secret, salt and nonce must be 32, 16 and 24 bytes long")
    associated = bytes([security])
    sealed = seal(bytes(secret), associated, nonce, _derive(password, salt, log_n))
    return bech32.encode("ncryptsec", bytes([_VERSION, log_n]) + salt + nonce + associated + sealed)


def decrypt(text: str, password: str) -> bytearray:
    """Return the 32 secret bytes in *text*, for the caller to wipe.

    Raises:
        BadRecordError: it is no ncryptsec of this version.
        KeyRejectedError: the password is wrong, or too much memory would be needed.
    """
    from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as open_
    from nacl.exceptions import CryptoError

    data = bech32.decode(text, "ncryptsec")
    if len(data) != _LENGTH or data[0] != _VERSION:
        raise BadRecordError("the ncryptsec is of an unknown version or was cut off")
    log_n, data = data[1], data[2:]
    salt, nonce, associated = data[:_SALT], data[_SALT : _SALT + _NONCE], data[_SALT + _NONCE :][:1]
    if log_n > MOST_LOG_N:
        raise KeyRejectedError(f"the ncryptsec wants 2^{log_n} rounds of scrypt, more than 2^{MOST_LOG_N}")
    try:
        plain = open_(data[_SALT + _NONCE + 1 :], associated, nonce, _derive(password, salt, log_n))
    except CryptoError:
        raise KeyRejectedError("the password does not open the ncryptsec") from None
    return bytearray(plain)


def _derive(password: str, salt: bytes, log_n: int) -> bytes:
    normal = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogateescape")
    if not 1 <= log_n <= MOST_LOG_N:
        raise BadRecordError(f"the ncryptsec has an impossible number of rounds: 2^{log_n}")
    needed = 128 * 8 * (1 << log_n) + (1 << 20)
    try:
        return scrypt(normal, salt=salt, n=1 << log_n, r=8, p=1, maxmem=needed, dklen=32)
    except (MemoryError, ValueError):
        raise KeyRejectedError(
            f"scrypt needs {needed >> 20} MiB of memory, which this machine does not give"
        ) from None
