"""How a process ends when it is told to: clean up, then really die of the same signal.

A shell then sees 143, 130 or 141 and systemd a clean stop; a plain exit(143) would count as a failure.
A signal that was ignored when we started (nohup, `&` in a script) stays ignored.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminated(BaseException):
    """A signal asks the process to end; no `except Exception` may stop it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class _State:
    """Whether a record is in hand, and which signal came meanwhile."""

    depth = 0
    waiting: int | None = None


def _handle(signum: int, _frame: FrameType | None) -> None:
    if _State.depth and _State.waiting is None:
        _State.waiting = signum  # the record in hand is finished first; a second signal does not wait
        return
    signal.signal(signum, signal.SIG_IGN)
    raise Terminated(signum)


def install() -> None:
    """Make SIGINT, SIGTERM and SIGHUP raise Terminated in the main thread."""
    for signum in _ENDING:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, _handle)


def waits() -> bool:
    """Return whether a signal came that is held back: what takes long in a deferred block ends early."""
    return _State.waiting is not None


@contextmanager
def deferred() -> Iterator[None]:
    """Hold a first signal back until the block ends."""
    _State.depth += 1
    try:
        yield
    finally:
        _State.depth -= 1
        if not _State.depth and _State.waiting is not None:
            signum, _State.waiting = _State.waiting, None
            signal.signal(signum, signal.SIG_IGN)
            raise Terminated(signum)


def die(signum: int) -> NoReturn:
    """End this process by *signum* itself, so that the parent sees what happened."""
    signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signum])
    os.kill(os.getpid(), signum)
    os._exit(128 + signum)  # not reached unless the signal cannot kill (pid 1 of a container)
