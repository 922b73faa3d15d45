"""Custody of Nostr keys: what every keystore does, wherever its records lie.

A keystore is a `Custody`. An adapter gives it the four steps that touch a file or a database; the rest is the
same everywhere: names are unique, and so are keys, and one master key opens all of them.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

from powdo.custody.record import (
    PARTS,
    UserRecord,
    WrongMasterError,
    erased,
    is_deleted,
    name_taken,
    new_record,
    open_record,
    public_part,
    rewrapped,
    wipe,
)
from powdo.errors import BadRecordError, KeyRejectedError, UsageError
from powdo.nips.curve import SecretKey

__all__ = [
    "PARTS",
    "Custody",
    "UserRecord",
    "WrongMasterError",
    "check_username",
    "erased",
    "is_deleted",
    "name_taken",
    "new_record",
    "open_record",
    "public_part",
    "rewrapped",
    "wipe",
]

#: Is given one record of the keystore whose key lives, and raises if another could not be added beside it.
Guard = Callable[[UserRecord], None]
Change = Callable[[UserRecord], UserRecord]

_SECRETS = ("nsec1", "ncryptsec1")
_LONGEST = 64


class Custody(Protocol):
    """A keystore: user records whose secrets only the master key opens.

    Raises: ConfigurationError when it is damaged, and what its adapter raises where it cannot read or write.
    """

    # --- what an adapter does --------------------------------------------------------------------------

    @abstractmethod
    def records(self) -> list[UserRecord]:
        """Return all records in the order in which they were made."""

    @abstractmethod
    def find(self, username: str) -> UserRecord | None:
        """Return the record of *username*, or None."""

    @abstractmethod
    def insert(self, records: Sequence[UserRecord], guard: Guard) -> None:
        """Add *records*, all or none, once *guard* has been given a record whose key lives, if there is one.

        Raises: KeyRejectedError when a username or an npub is there already, and what *guard* raises.
        """

    @abstractmethod
    def change(self, username: str | None, make: Change) -> list[UserRecord]:
        """Put what *make* returns of each record, or of that of *username*, in its place; all or none.

        Return the records as they are then. What is no longer part of one is overwritten as far as the medium
        allows. Raises: what *make* raises.
        """

    # --- what all do -----------------------------------------------------------------------------------

    def get(self, username: str) -> UserRecord:
        """Return the record of *username*. Raises: KeyRejectedError."""
        record = self.find(username)
        if record is None:
            raise KeyRejectedError(
                f"no key of '{shown(username)}'",
                hint=f"make one with `powdo keys new {shown(username)}`; `powdo keys list` shows who has one",
            )
        return record

    def unlock(self, username: str, master: bytes) -> SecretKey:
        """Return the key of *username*; wipe it after use. Raises: KeyRejectedError."""
        return open_record(self.get(username), master)

    def create(self, username: str, master: bytes) -> UserRecord:
        """Make a key for *username* and return its record. Raises: KeyRejectedError when there is one."""
        return self.create_all([username], master)[0]

    def create_all(self, usernames: Sequence[str], master: bytes) -> list[UserRecord]:
        """Make a key for each of *usernames*, all or none, and return their records.

        Raises: BadRecordError, KeyRejectedError.
        """
        made = []
        for username in usernames:
            check_username(username)
            with _draw() as key:
                made.append(new_record(username, key, master))
        self.insert(made, _opener(master))
        return made

    def adopt(self, username: str, key: SecretKey, master: bytes) -> UserRecord:
        """Take *key* into custody for *username* and return its record, also when it is there already.

        Raises: BadRecordError, KeyRejectedError.
        """
        check_username(username)
        record = new_record(username, key, master)
        there = self.find(username)
        if there is not None and there["nostr"].get("npub") == record["nostr"]["npub"]:
            open_record(there, master).wipe()
            return there
        self.insert([record], _opener(master))
        return record

    def delete(self, username: str) -> UserRecord:
        """Zero what is encrypted of the key of *username*; its npub and the date are kept.

        Raises: KeyRejectedError when there is none.
        """
        self.get(username)
        return self.change(username, erased)[0]

    def rotate(self, old: bytes, new: bytes, progress: Callable[[int], None]) -> int:
        """Put every DEK under the master key *new* instead of *old*, all or none; return how many.

        Raises: KeyRejectedError, with the keystore as it was.
        """
        count = 0

        def make(record: UserRecord) -> UserRecord:
            nonlocal count
            progress(1)
            if is_deleted(record):
                return record
            count += 1
            return rewrapped(record, old, new)

        if old == new:
            raise UsageError(
                "the new master key is the one in use", hint="make another with `openssl rand -hex 32`"
            )
        self.change(None, make)
        return count


def _opener(master: bytes) -> Guard:
    """Return the guard against a second master key, which would lock somebody out."""

    def guard(record: UserRecord) -> None:
        open_record(record, master).wipe()

    return guard


def _draw() -> SecretKey:
    """Return a fresh key; the chance that a draw is no valid secret is 2**-128."""
    secret = bytearray(os.urandom(32))
    try:
        return SecretKey(secret)
    finally:
        wipe(secret)


def shown(username: str) -> str:
    """Return *username* for a message, where a secret given in its place is not repeated."""
    return "…" if looks_secret(username) else username[:_LONGEST]


def looks_secret(text: str) -> bool:
    """Return whether *text* may be a secret key."""
    is_hex = len(text) == _LONGEST and all(character in "0123456789abcdefABCDEF" for character in text)
    return text.strip().lower().startswith(_SECRETS) or is_hex


def check_username(username: str) -> str:
    """Return *username* if it can name a user. Raises: BadRecordError."""
    if looks_secret(username):
        raise BadRecordError(
            "a secret key cannot name a user",
            hint="take it as exposed: others see command lines; `powdo keys import NAME` asks for a key",
        )
    if not 1 <= len(username) <= _LONGEST or not username.isprintable() or username != username.strip():
        raise BadRecordError(f"'{username[:_LONGEST]}' cannot name a user")
    return username
