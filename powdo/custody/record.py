"""The user record that keeps a secret key under the master key, and how it is opened.

A record is {id, username, nostr: {npub, encrypted_dek, dek_iv, dek_tag, encrypted_nsec, nsec_iv, nsec_tag,
created_at}}: the nsec (bech32 text) is encrypted with a data key of its own (DEK, 32 bytes), that one with
the master key; both AES-256-GCM with 96-bit IVs and no associated data, binary values in base64.

Rules:
- a decrypted nsec or DEK lies in a bytearray that is wiped before the function returns, also when it fails;
- no message tells what a ciphertext held;
- of a key that was deleted the six parts are zeros, and `deleted_at` says since when.
"""

from __future__ import annotations

import binascii
import os
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from powdo.errors import KeyRejectedError, PowdoError
from powdo.lines import format_time
from powdo.nips.bech32 import encode_npub, nsec_to_secret, secret_to_nsec
from powdo.nips.curve import SecretKey

UserRecord = dict[str, Any]

#: The encrypted parts in their order, each with its length in bytes; of the nsec it is that of its text.
PARTS = {
    "encrypted_dek": 32,
    "dek_iv": 12,
    "dek_tag": 16,
    "encrypted_nsec": 63,
    "nsec_iv": 12,
    "nsec_tag": 16,
}


class WrongMasterError(KeyRejectedError):
    """The master key does not open a record: it is another one, or the record's DEK is damaged."""


# --- AES-256-GCM -----------------------------------------------------------------------------------


def _seal(key: bytes | bytearray, plain: bytearray) -> tuple[bytes, bytes, bytes]:
    """Return ciphertext, IV and tag."""
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import GCM

    iv = os.urandom(PARTS["dek_iv"])
    encryptor = Cipher(AES(key), GCM(iv)).encryptor()
    return encryptor.update(plain) + encryptor.finalize(), iv, encryptor.tag


def _open(key: bytes | bytearray, sealed: bytes, iv: bytes, tag: bytes) -> bytearray:
    """Return the plaintext, for the caller to wipe. Raises: ValueError when key or data are wrong."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import GCM

    plain = bytearray(len(sealed))
    try:
        decryptor = Cipher(AES(key), GCM(iv, tag)).decryptor()
        decryptor.update_into(sealed, plain)
        decryptor.finalize()
    except (InvalidTag, ValueError):
        wipe(plain)
        raise ValueError("authentication failed") from None
    return plain


def wipe(*buffers: bytearray) -> None:
    """Overwrite *buffers* with zeros."""
    for buffer in buffers:
        buffer[:] = bytes(len(buffer))


# --- records ---------------------------------------------------------------------------------------


def now() -> str:
    """Return the time as records keep it."""
    return format_time(datetime.now(UTC).replace(microsecond=0))


def new_record(username: str, key: SecretKey, master: bytes) -> UserRecord:
    """Return the record that keeps *key* for *username* under the *master* key."""
    dek, secret = bytearray(os.urandom(32)), key.secret_bytes()
    nsec = secret_to_nsec(secret)
    try:
        values = (*_seal(master, dek), *_seal(dek, nsec))
    finally:
        wipe(dek, secret, nsec)
    nostr = {"npub": encode_npub(key.pubkey)} | {
        name: _text(value) for name, value in zip(PARTS, values, strict=True)
    }
    return {"id": str(uuid.uuid4()), "username": username, "nostr": nostr | {"created_at": now()}}


def open_record(record: Mapping[str, Any], master: bytes) -> SecretKey:
    """Return the key in *record*; wipe it after use.

    Raises:
        WrongMasterError: the master key does not open it.
        KeyRejectedError: it was deleted or is damaged, or holds another key than its npub says.
    """
    name, parts = record["username"], _parts(record)
    dek = _open_dek(name, parts, master)
    try:
        nsec = _open(dek, parts["encrypted_nsec"], parts["nsec_iv"], parts["nsec_tag"])
        try:
            secret = nsec_to_secret(nsec)
        finally:
            wipe(nsec)
        try:
            key = SecretKey(secret)
        finally:
            wipe(secret)
    except (ValueError, PowdoError):
        raise _damaged(name) from None
    finally:
        wipe(dek)
    if encode_npub(key.pubkey) != record["nostr"].get("npub"):
        key.wipe()
        raise KeyRejectedError(f"the record of '{name}' holds another key than its npub says")
    return key


def rewrapped(record: Mapping[str, Any], old: bytes, new: bytes) -> UserRecord:
    """Return *record* with its DEK under the master key *new* instead of *old*, the rest as it is.

    Raises: as open_record, but the nsec is not looked at.
    """
    parts = _parts(record)
    dek = _open_dek(record["username"], parts, old)
    try:
        values = dict(zip(PARTS, map(_text, _seal(new, dek)), strict=False))
    finally:
        wipe(dek)
    return {**record, "nostr": {**record["nostr"], **values}}


def erased(record: Mapping[str, Any]) -> UserRecord:
    """Return *record* with its encrypted parts zeroed and the date; one that was deleted stays as it is."""
    if is_deleted(record):
        return dict(record)
    zeros = {name: _text(bytes(length)) for name, length in PARTS.items()}
    return {**record, "nostr": {**record["nostr"], **zeros, "deleted_at": now()}}


def is_deleted(record: Mapping[str, Any]) -> bool:
    """Return whether the key in *record* was deleted."""
    return record["nostr"].get("deleted_at") is not None


def public_part(record: Mapping[str, Any]) -> UserRecord:
    """Return *record* without its encrypted parts."""
    nostr = record["nostr"]
    shown = {"npub": nostr.get("npub"), "created_at": nostr.get("created_at")}
    if is_deleted(record):
        shown["deleted_at"] = nostr["deleted_at"]
    return {"id": record.get("id"), "username": record["username"], "nostr": shown}


def _open_dek(name: str, parts: Mapping[str, bytes], master: bytes) -> bytearray:
    try:
        return _open(master, parts["encrypted_dek"], parts["dek_iv"], parts["dek_tag"])
    except ValueError:
        raise WrongMasterError(
            f"the master key does not open the key of '{name}'",
            hint="it is another master key than the one the keystore was made with",
        ) from None


def _parts(record: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the encrypted parts, each as long as it must be. Raises: KeyRejectedError."""
    name, nostr = record["username"], record["nostr"]
    if is_deleted(record):
        raise KeyRejectedError(
            f"the key of '{name}' was deleted on {str(nostr['deleted_at'])[:10]}",
            hint="its npub is kept, and nobody can sign for it any more",
        )
    try:
        parts = {part: binascii.a2b_base64(nostr[part], strict_mode=True) for part in PARTS}
    except (KeyError, TypeError, ValueError):
        raise _damaged(name) from None
    if any(len(parts[part]) != length for part, length in PARTS.items()):
        raise _damaged(name)
    return parts


def name_taken(name: str) -> KeyRejectedError:
    """Return the error for a second key of the user *name*, whichever keystore it is that has the first."""
    return KeyRejectedError(
        f"'{name}' has a key already",
        hint="a name keeps its key, even a deleted one; `powdo keys list` shows them",
    )


def _damaged(name: str) -> KeyRejectedError:
    return KeyRejectedError(
        f"the record of '{name}' in the keystore is damaged",
        hint="bring the keystore back from a backup; `powdo keys audit` tells what else is wrong",
    )


def _text(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")
