"""What is kept of the allowlist on this side: the pinned keys, and the changes the relay was not told yet.

Rules:
- `allow-pins.json` and `allow-queue.jsonl` in the state directory change under one lock, held for an instant;
- `allow-send.lock` is held by the one run that speaks to the relay, so that changes go out in their order;
- a change is on the disk before anybody tries to tell it, and leaves the file after it was told;
- a line that was cut off or damaged is told and left out; it never takes others with it.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from powdo.adapters.allow import order
from powdo.adapters.allow.order import Action, Change
from powdo.errors import (
    BadRecordError,
    BusyError,
    CannotCreateError,
    ConfigurationError,
    InputMissingError,
    OutputError,
)
from powdo.lines import decode_json
from powdo.settings.paths import fsync_path, private_dir, write_private

_PATIENCE = 30.0
_POLL = 0.02


class State:
    """The files in *directory*; *warn* is told what a person should know.

    Raises: BusyError, CannotCreateError, InputMissingError, OutputError.
    """

    def __init__(self, directory: Path, warn: Callable[[str], None]) -> None:
        self._directory = directory
        self._pins = directory / "allow-pins.json"
        self._queue = directory / "allow-queue.jsonl"
        self._warn = warn
        self._told = False

    def pins(self) -> frozenset[str]:
        """Return the pinned pubkeys. Raises: ConfigurationError when the file is damaged."""
        data = _read(self._pins)
        if data is None:
            return frozenset()
        try:
            content = decode_json(data)
        except BadRecordError:
            content = None
        pubkeys = content.get("pubkeys") if isinstance(content, dict) else None
        if not isinstance(pubkeys, list) or not all(map(order.is_pubkey, pubkeys)):
            raise ConfigurationError(
                f"'{self._pins}' is damaged", hint="it holds the keys of `powdo allow add`; bring it back"
            )
        return frozenset(pubkeys)

    def ask(self, action: Action, pubkeys: Iterable[str], *, pin: bool = False) -> None:
        """Queue *action* for each of *pubkeys*; with *pin* they are pinned, or unpinned, first."""
        wanted = list(dict.fromkeys(pubkeys))
        if not wanted:
            return
        now = datetime.now(UTC)
        with self._locked("allow.lock"):
            if pin:
                self._write_pins(wanted, action)
            self._append(
                Change(id=uuid.uuid4().hex, action=action, pubkey=pubkey, at=now, not_before=now)
                for pubkey in wanted
            )

    def waiting(self) -> list[Change]:
        """Return what the relay was not told yet, the newest change of each key."""
        if not self._queue.exists():
            return []
        with self._locked("allow.lock"):
            return order.standing(self._load())

    def settle(self, gone: Iterable[str], kept: Iterable[Change] = ()) -> None:
        """Take the changes with the ids *gone* off the queue, and note those *kept* for another attempt."""
        if not self._queue.exists():
            return
        with self._locked("allow.lock"):
            left = order.settled(self._load(), frozenset(gone), list(kept))
            data = b"".join(map(order.encode, left))
            if data != _read(self._queue):
                write_private(self._queue, data)

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Be the one run that speaks to the relay."""
        with self._locked("allow-send.lock"):
            yield

    # --- files ---

    def _write_pins(self, pubkeys: list[str], action: Action) -> None:
        before = self.pins()
        after = before.union(pubkeys) if action == "add" else before.difference(pubkeys)
        if after != before:
            write_private(self._pins, json.dumps({"pubkeys": sorted(after)}, indent=1).encode() + b"\n")

    def _load(self) -> list[Change]:
        changes, bad = [], 0
        for line in (_read(self._queue) or b"").split(b"\n"):
            try:
                changes.append(order.decode(line))
            except BadRecordError:
                bad += bool(line.strip())
        if bad and not self._told:
            self._told = True
            self._warn(f"{bad} damaged line{'s' if bad > 1 else ''} in '{self._queue}' left out")
        return changes

    def _append(self, changes: Iterable[Change]) -> None:
        data = b"".join(map(order.encode, changes))
        try:
            fd = os.open(self._queue, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotCreateError(f"cannot open '{self._queue}': {error.strerror}") from None
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                data = b"\n" + data  # what was cut off stays a line of its own
            try:
                _write(fd, data)
                os.fsync(fd)
            except OSError as error:
                os.ftruncate(fd, size)
                raise OutputError(f"cannot write '{self._queue}': {error.strerror}") from None
            if not size:
                fsync_path(self._directory)
        finally:
            os.close(fd)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        path = private_dir(self._directory) / name
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotCreateError(f"cannot create '{path}': {error.strerror}") from None
        try:
            deadline = time.monotonic() + _PATIENCE
            while not _try_lock(fd):
                if time.monotonic() >= deadline:
                    raise BusyError(f"another run holds '{path}'", hint="nothing is lost; try again later")
                time.sleep(_POLL)
            yield
        finally:
            os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _read(path: Path) -> bytes | None:
    """Return what *path* holds, or None when it is not there."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputMissingError(f"cannot read '{path}': {error.strerror}") from None
