"""The keystore in a file: {"v": 1, "users": [user record, …]}, a record a line, written whole or not at all.

Rules:
- who changes it holds the lock beside it; a reader sees the old file or the new one;
- a file that is damaged is neither used nor written over;
- once a new file is in place, what the old one held is overwritten, unless it has another name (a backup).
"""

from __future__ import annotations

import fcntl
import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from powdo.custody import (
    Change,
    Custody,
    Guard,
    UserRecord,
    check_username,
    is_deleted,
    name_taken,
    new_record,
    open_record,
)
from powdo.errors import (
    BadRecordError,
    CannotCreateError,
    ConfigurationError,
    KeyRejectedError,
    OutputError,
)
from powdo.lines import decode_json, encode_json
from powdo.settings.paths import private_dir, write_private

__all__ = ["Keystore", "check_username", "new_record", "open_record"]

_BACKUP = "it was changed by hand or cut off; bring it back from a backup"


class Keystore(Custody):
    """The keystore in *path*; it is made with the first key."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._users: dict[str, UserRecord] = {}

    def records(self) -> list[UserRecord]:
        """Return all records in the order in which they were made."""
        return list(self._load().values())

    def find(self, username: str) -> UserRecord | None:
        """Return the record of *username*, or None."""
        return self._load().get(username)

    def insert(self, records: Sequence[UserRecord], guard: Guard) -> None:
        """Add *records*, all or none."""
        with self._locked():
            users = dict(self._load())
            living = next((user for user in users.values() if not is_deleted(user)), None)
            npubs = {user["nostr"]["npub"]: name for name, user in users.items()}
            for record in records:
                _refuse_twin(record, users, npubs)
                users[record["username"]] = record
                npubs[record["nostr"]["npub"]] = record["username"]
            if living is not None:
                guard(living)
            self._write(users)

    def change(self, username: str | None, make: Change) -> list[UserRecord]:
        """Put what *make* returns of each record, or of that of *username*, in its place; all or none."""
        with self._locked():
            users = dict(self._load())
            names = [name for name in users if username in (None, name)]
            users |= {name: make(users[name]) for name in names}
            if users != self._users:
                self._write(users)
            return [users[name] for name in names]

    # --- the file ---

    def _load(self) -> dict[str, UserRecord]:
        """Return the records by username, read anew only when the file is another one."""
        while True:
            try:
                with self._path.open("rb") as file:
                    facts = os.fstat(file.fileno())
                    seen = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
                    if seen != self._seen:
                        self._users, self._seen = self._parsed(file.read()), seen
                return self._users
            except FileNotFoundError:
                self._users, self._seen = {}, None
                return self._users
            except OSError as error:
                raise KeyRejectedError(f"cannot read the keystore '{self._path}': {error.strerror}") from None
            except ConfigurationError:
                if not self._replaced(facts.st_ino):
                    raise

    def _replaced(self, inode: int) -> bool:
        """Return whether another run has put a new file in the place of *inode* and overwritten that."""
        try:
            return self._path.stat().st_ino != inode
        except OSError:
            return False

    def _parsed(self, data: bytes) -> dict[str, UserRecord]:
        try:
            content = decode_json(data)
        except BadRecordError:
            content = None
        users = content.get("users") if isinstance(content, dict) else None
        if not isinstance(users, list) or not all(_plausible(user) for user in users):
            raise ConfigurationError(f"the keystore '{self._path}' is damaged", hint=_BACKUP)
        found = {user["username"]: user for user in users}
        if len(found) != len(users):
            raise ConfigurationError(
                f"the keystore '{self._path}' is damaged: a name stands in it twice", hint=_BACKUP
            )
        return found

    def _write(self, users: dict[str, UserRecord]) -> None:
        text = '{"v":1,"users":[\n' + ",\n".join(map(encode_json, users.values())) + "\n]}"
        try:
            old = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            old = None
        except OSError as error:
            raise OutputError(f"cannot write '{self._path}': {error.strerror}") from None
        try:
            write_private(self._path, text.encode("utf-8") + b"\n")
            if old is not None:
                _overwrite(old)
        finally:
            if old is not None:
                os.close(old)

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
            self._sweep()
            yield
        finally:
            os.close(fd)

    def _sweep(self) -> None:
        """Overwrite and remove what a killed run left half-written: it may hold what is deleted since."""
        try:
            for left in self._path.parent.glob(f".{glob.escape(self._path.name)}.*"):
                fd = os.open(left, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    left.unlink()
                    _overwrite(fd)
                finally:
                    os.close(fd)
        except OSError as error:
            raise OutputError(f"cannot clean up beside '{self._path}': {error.strerror}") from None


def _overwrite(fd: int) -> None:
    """Fill the file *fd* with zeros if it has no name any more: what was deleted shall not be found in it."""
    facts = os.fstat(fd)
    if facts.st_nlink:
        return
    left, zeros = facts.st_size, bytes(1 << 16)
    try:
        while left:
            left -= os.write(fd, zeros[:left])
        os.fsync(fd)
    except OSError as error:
        raise OutputError(f"cannot overwrite the old keystore: {error.strerror}") from None


def _refuse_twin(record: UserRecord, users: dict[str, UserRecord], npubs: dict[str, str]) -> None:
    name, npub = record["username"], record["nostr"]["npub"]
    if name in users:
        raise name_taken(name)
    if npub in npubs:
        raise KeyRejectedError(f"'{npub}' is in custody already, as that of '{npubs[npub]}'")


def _plausible(user: object) -> bool:
    return (
        isinstance(user, dict)
        and isinstance(user.get("username"), str)
        and isinstance(user.get("nostr"), dict)
        and isinstance(user["nostr"].get("npub"), str)
    )
