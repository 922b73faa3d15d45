"""File descriptors of a server: room for its connections, and one word where there is none."""

from __future__ import annotations

import asyncio
import errno
import resource
import time
from collections.abc import Callable
from typing import Any

#: Files, sockets that listen, and connections that only ask something or are refused.
_OTHERS = 64
_SILENCE = 60.0


def room_for(connections: int) -> int:
    """Return how many of *connections* the system lets us hold, our soft limit raised for them.

    That limit is 1024 nearly everywhere, for the sake of programs that use select(2), which we do not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHERS
    if 0 <= soft < wanted:  # RLIM_INFINITY is -1
        soft = wanted if hard < 0 else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft < 0 else max(1, min(connections, soft - _OTHERS))


def watch(loop: asyncio.AbstractEventLoop, warn: Callable[[str], None]) -> None:
    """Tell *warn* once a minute that nobody can connect; asyncio would log a traceback an attempt."""
    told = -_SILENCE

    def on_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal told
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in (errno.EMFILE, errno.ENFILE):
            loop.default_exception_handler(context)
        elif time.monotonic() - told >= _SILENCE:
            told = time.monotonic()
            warn("too many open files: new connections wait until others have ended")

    loop.set_exception_handler(on_error)
