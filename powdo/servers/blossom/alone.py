"""One server for one data directory: what another server receives must not be swept away."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from powdo.errors import BusyError, CannotCreateError

#: `fsck` holds the lock for the moment in which it lists what is in `incoming/`.
_PATIENCE = 1.0
_PAUSE = 0.05


@contextmanager
def alone(data: Path) -> Iterator[None]:
    """Hold the folder *data*, made if need be, until the block ends. Raises: BusyError, CannotCreateError."""
    path = data / "blossom.lock"
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotCreateError(f"cannot create '{path}': {error.strerror}") from None
    try:
        end = time.monotonic() + _PATIENCE
        while not _locked(descriptor):
            if time.monotonic() > end:
                raise BusyError(f"another server uses '{data}'")
            time.sleep(_PAUSE)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
