"""The list of public keys a server lets in: a set in memory, and a file replaced atomically.

Rules:
- keys given on the command line or in the settings are always on the list, whatever the file says;
- a change is on disk before it counts, and made to what the file holds at that moment, under a lock beside
  it: several processes (relay, Blossom server, `allow serve`) may share and change one file;
- a file changed by another process is read again, looked at no more than twice a second; one that cannot
  be read leaves the last good list in force, and is not written over.

Looking up belongs to one thread, changes (which wait for the disk) to any other.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from powdo.errors import BadRecordError, BusyError, CannotCreateError, ConfigurationError
from powdo.lines import decode_json
from powdo.settings.paths import private_dir, write_private

_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LOOK_AGAIN = 0.5
_PATIENCE = 10.0

_Signature = tuple[int, int, int]


def _silent(_text: str) -> None:
    return


class Replaced(NamedTuple):
    """How many keys `replace` has let in and shut out, and how many are let in now."""

    added: int
    removed: int
    total: int


@dataclass(frozen=True, slots=True)
class _State:
    """What the file held when it was last read or written, and what it looked like then."""

    listed: frozenset[str]
    signature: _Signature | None


class Allowlist:
    """The hex public keys that may write; *path* None keeps the list in memory only.

    *warn* is told once of each state of the file that cannot be read. Raises: ConfigurationError.
    """

    def __init__(
        self, path: Path | None, always: Iterable[str] = (), *, warn: Callable[[str], None] = _silent
    ) -> None:
        self.always = frozenset(_checked(always))
        self._path = path
        self._warn = warn
        self._looked = 0.0
        self._unreadable: _Signature | None = None
        self._setting = threading.Lock()  # held for no longer than an assignment
        signature = _signature(path) if path is not None else None
        listed = _read(path) if path is not None and signature is not None else frozenset()
        self._state = _State(listed, signature)

    def __contains__(self, pubkey: object) -> bool:
        now = time.monotonic()
        if now - self._looked >= _LOOK_AGAIN:
            self._looked = now
            self._refresh()
        return pubkey in self.always or pubkey in self._state.listed

    def pubkeys(self) -> frozenset[str]:
        """Return all that are let in now."""
        self._refresh()
        return self.always | self._state.listed

    def add(self, pubkey: str) -> bool:
        """Put *pubkey* into the file; return whether it was not let in before.

        Raises: ConfigurationError, CannotCreateError, OutputError, BusyError.
        """
        new = frozenset(_checked([pubkey]))
        before, _ = self._change(lambda listed: listed | new)
        return pubkey not in before

    def remove(self, pubkey: str) -> bool:
        """Return whether *pubkey* was let in before and is not now; what `always` lets in stays.

        Raises: as `add`.
        """
        if pubkey in self.always:
            return False
        before, _ = self._change(lambda listed: listed - {pubkey})
        return pubkey in before

    def replace(self, desired: Iterable[str]) -> Replaced:
        """Make the file hold *desired* and nothing else. Raises: as `add`."""
        wanted = frozenset(_checked(desired))
        before, after = self._change(lambda _: wanted)
        return Replaced(len(after - before), len(before - after), len(after))

    def _change(
        self, change: Callable[[frozenset[str]], frozenset[str]]
    ) -> tuple[frozenset[str], frozenset[str]]:
        """Return all that were let in before *change* of the file's list, and after it."""
        with self._locked():
            state = self._current()
            before, after = state.listed, change(state.listed)
            if after != before:
                signature = _write(self._path, after) if self._path is not None else None
                state = _State(after, signature)
            with self._setting:
                self._state = state
        return before | self.always, after | self.always

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from changing the file. Raises: BusyError, CannotCreateError."""
        if self._path is None:
            yield
            return
        path = self._path.with_name(f"{self._path.name}.lock")
        private_dir(path.parent)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotCreateError(f"cannot create '{path}': {error.strerror}") from None
        try:
            _wait_for(descriptor, path)
            yield
        finally:
            os.close(descriptor)

    def _current(self) -> _State:
        """Return what the file holds, under the lock; the last known list when it is gone."""
        signature = _signature(self._path) if self._path is not None else None
        if self._path is None or signature is None or signature == self._state.signature:
            return self._state
        return _State(_read(self._path), signature)

    def _refresh(self) -> None:
        """Read the file again when it has changed, unless it is changed through us meanwhile."""
        before = self._state
        signature = _signature(self._path) if self._path is not None else None
        if self._path is None or signature is None or signature in (before.signature, self._unreadable):
            return
        try:
            listed = _read(self._path)
        except ConfigurationError as error:
            self._unreadable = signature
            self._warn(f"{error.message}; the last good list stays in force")
            return
        with self._setting:
            if self._state is before:
                self._state = _State(listed, signature)


def _wait_for(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            if time.monotonic() >= deadline:
                raise BusyError(f"another process holds '{path}'") from None
            time.sleep(0.01)


def _checked(pubkeys: Iterable[str]) -> list[str]:
    result = list(pubkeys)
    for pubkey in result:
        if not isinstance(pubkey, str) or not _HEX.fullmatch(pubkey):
            raise ConfigurationError("an allowlist holds public keys of 64 lower-case hex digits")
    return result


def _signature(path: Path) -> _Signature | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read(path: Path) -> frozenset[str]:
    try:
        value = decode_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"cannot read '{path}': {error.strerror}") from None
    except BadRecordError as error:
        raise ConfigurationError(f"cannot read '{path}': {error.message}") from None
    pubkeys = value.get("pubkeys") if isinstance(value, dict) else None
    if not isinstance(pubkeys, list):
        raise ConfigurationError(f"'{path}' is not an allowlist", hint='it holds {"pubkeys": […]}')
    try:
        return frozenset(_checked(pubkeys))
    except ConfigurationError as error:
        raise ConfigurationError(f"cannot read '{path}': {error.message}") from None


def _write(path: Path, pubkeys: frozenset[str]) -> _Signature | None:
    """Return what the file looks like now."""
    write_private(path, json.dumps({"pubkeys": sorted(pubkeys)}, indent=1).encode() + b"\n")
    return _signature(path)
