"""Custody of Nostr keys: a file of user records whose secrets only the master key opens.

A record is {id, username, nostr: {npub, encrypted_dek, dek_iv, dek_tag, encrypted_nsec, nsec_iv, nsec_tag,
created_at}}: the nsec (bech32 text) is encrypted with a data key of its own (DEK, 32 bytes), that one with
the master key; both AES-256-GCM with 96-bit IVs and no associated data, binary values in base64.
"""

from __future__ import annotations

import binascii
import fcntl
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from powdo.errors import BadRecordError, CannotCreateError, ConfigurationError, KeyRejectedError, PowdoError
from powdo.lines import decode_json, format_time
from powdo.nips.bech32 import decode_nsec, encode_npub, encode_nsec
from powdo.nips.curve import SecretKey
from powdo.settings.paths import private_dir, write_private

_FIELDS = ("encrypted_dek", "dek_iv", "dek_tag", "encrypted_nsec", "nsec_iv", "nsec_tag")
_IV, _TAG = 12, 16
_UNUSABLE = "the keystore '{}' is damaged"

UserRecord = dict[str, Any]


def _seal(master: bytes, plain: bytes) -> tuple[bytes, bytes, bytes]:
    """Return ciphertext, IV and tag."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    iv = os.urandom(_IV)
    sealed = AESGCM(master).encrypt(iv, plain, None)
    return sealed[:-_TAG], iv, sealed[-_TAG:]


def _open(master: bytes, sealed: bytes, iv: bytes, tag: bytes) -> bytes:
    """Return the plaintext. Raises: ValueError when key or data are wrong."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(master).decrypt(iv, sealed + tag, None)
    except InvalidTag:
        raise ValueError("authentication failed") from None


def _text(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def new_record(username: str, key: SecretKey, master: bytes) -> UserRecord:
    """Return the record that keeps *key* for *username* under the *master* key."""
    dek = os.urandom(32)
    encrypted_dek, dek_iv, dek_tag = _seal(master, dek)
    encrypted_nsec, nsec_iv, nsec_tag = _seal(dek, encode_nsec(key.secret_bytes()).encode("ascii"))
    values = (encrypted_dek, dek_iv, dek_tag, encrypted_nsec, nsec_iv, nsec_tag)
    nostr = {"npub": encode_npub(key.pubkey)} | {
        name: _text(value) for name, value in zip(_FIELDS, values, strict=True)
    }
    nostr["created_at"] = format_time(datetime.now(UTC).replace(microsecond=0))
    return {"id": str(uuid.uuid4()), "username": username, "nostr": nostr}


def open_record(record: Mapping[str, Any], master: bytes) -> SecretKey:
    """Return the key in *record*. Raises: KeyRejectedError for a wrong master key or a damaged record."""
    name = record["username"]
    try:
        nostr = record["nostr"]
        fields = {field: binascii.a2b_base64(nostr[field], strict_mode=True) for field in _FIELDS}
    except (KeyError, TypeError, ValueError):
        raise KeyRejectedError(f"the record of '{name}' in the keystore is damaged") from None
    try:
        dek = _open(master, fields["encrypted_dek"], fields["dek_iv"], fields["dek_tag"])
    except ValueError:
        raise KeyRejectedError(
            f"the master key does not open the key of '{name}'",
            hint="it is another master key than the one the keystore was made with",
        ) from None
    try:
        nsec = _open(dek, fields["encrypted_nsec"], fields["nsec_iv"], fields["nsec_tag"])
        key = SecretKey(decode_nsec(nsec.decode("ascii")))
    except (ValueError, PowdoError):
        raise KeyRejectedError(f"the record of '{name}' in the keystore is damaged") from None
    if encode_npub(key.pubkey) != nostr.get("npub"):
        raise KeyRejectedError(f"the record of '{name}' holds another key than its npub says")
    return key


class Keystore:
    """The keystore in *path*; it is made with the first key."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def records(self) -> list[UserRecord]:
        """Return all user records. Raises: ConfigurationError when the file is damaged."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise KeyRejectedError(f"cannot read the keystore '{self._path}': {error.strerror}") from None
        try:
            content = decode_json(data)
        except BadRecordError:
            raise ConfigurationError(_UNUSABLE.format(self._path)) from None
        users = content.get("users") if isinstance(content, dict) else None
        if not isinstance(users, list) or not all(_plausible(user) for user in users):
            raise ConfigurationError(_UNUSABLE.format(self._path))
        return users

    def find(self, username: str) -> UserRecord | None:
        """Return the record of *username*, or None."""
        return next((user for user in self.records() if user["username"] == username), None)

    def get(self, username: str) -> UserRecord:
        """Return the record of *username*. Raises: KeyRejectedError."""
        record = self.find(username)
        if record is None:
            raise KeyRejectedError(
                f"no key of '{username}'", hint=f"make one with `powdo keys new {username}`"
            )
        return record

    def unlock(self, username: str, master: bytes) -> SecretKey:
        """Return the key of *username*. Raises: KeyRejectedError."""
        return open_record(self.get(username), master)

    def create(self, username: str, master: bytes) -> UserRecord:
        """Make a key for *username* and return its record. Raises: KeyRejectedError when there is one."""
        check_username(username)
        with self._locked():
            users = self.records()
            if any(user["username"] == username for user in users):
                raise KeyRejectedError(f"'{username}' has a key already")
            if users:
                open_record(users[0], master)  # two master keys in one keystore would lock somebody out
            record = new_record(username, _draw(), master)
            self._write([*users, record])
        return record

    def _write(self, users: list[UserRecord]) -> None:
        text = json.dumps({"v": 1, "users": users}, indent=1, ensure_ascii=False)
        write_private(self._path, text.encode("utf-8") + b"\n")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        private_dir(self._path.parent)
        lock = self._path.with_suffix(".lock")
        try:
            fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotCreateError(f"cannot create '{lock}': {error.strerror}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _draw() -> SecretKey:
    """Return a fresh key; the chance that a draw is no valid secret is 2**-128."""
    return SecretKey(os.urandom(32))


def _plausible(user: object) -> bool:
    return (
        isinstance(user, dict)
        and isinstance(user.get("username"), str)
        and isinstance(user.get("nostr"), dict)
        and isinstance(user["nostr"].get("npub"), str)
    )


def check_username(username: str) -> str:
    """Return *username* if it can name a user. Raises: BadRecordError."""
    if not 1 <= len(username) <= 64 or not username.isprintable() or username != username.strip():
        raise BadRecordError(f"'{username[:64]}' cannot name a user")
    return username
