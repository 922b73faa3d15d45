"""WinZip's AES-256 as a bundle uses it (AE-2): keys from the password, a code of authenticity, a counter.

Rules (https://www.winzip.com/en/support/aes-encryption/):
- keys are PBKDF2-HMAC-SHA1 of password and salt, 1000 rounds: 32 bytes to encrypt, 32 to authenticate, and
  2 that tell a wrong password early;
- the code is the first 10 bytes of HMAC-SHA1 over the ciphertext;
- AES runs in counter mode, the counter little-endian from 1;
- the caller asks `authentic` before it decrypts: nothing is made of bytes that another may have written.
"""

from __future__ import annotations

import hashlib
import hmac

from Cryptodome.Cipher import AES
from Cryptodome.Util import Counter

SALT_SIZE = 16
VERIFIER_SIZE = 2
MAC_SIZE = 10
_KEY_SIZE = 32
_ROUNDS = 1000


class Opener:
    """Opens one member: all its ciphertext to `authenticate`, then, once `authentic`, to `decrypt`."""

    def __init__(self, password: bytes, salt: bytes) -> None:
        size = 2 * _KEY_SIZE + VERIFIER_SIZE
        keys = hashlib.pbkdf2_hmac("sha1", password, salt, _ROUNDS, size)
        counter = Counter.new(128, little_endian=True, initial_value=1)
        self._cipher = AES.new(keys[:_KEY_SIZE], AES.MODE_CTR, counter=counter)
        self._mac = hmac.new(keys[_KEY_SIZE : 2 * _KEY_SIZE], digestmod="sha1")
        self._verifier = keys[2 * _KEY_SIZE :]

    def fits(self, verifier: bytes) -> bool:
        """Return whether the password may be the right one; of wrong ones, 1 of 65536 fits."""
        return hmac.compare_digest(self._verifier, verifier)

    def authenticate(self, data: bytes) -> None:
        """Take the next piece of ciphertext into the code."""
        self._mac.update(data)

    def authentic(self, mac: bytes) -> bool:
        """Return whether *mac* is the code of all that `authenticate` was given."""
        return hmac.compare_digest(self._mac.digest()[:MAC_SIZE], mac)

    def decrypt(self, data: bytes) -> bytes | bytearray:
        """Return the plaintext of the next piece of ciphertext."""
        plain = bytearray(len(data))  # into a buffer of ours: without one each piece is copied once more
        self._cipher.decrypt(data, output=plain)
        return plain
