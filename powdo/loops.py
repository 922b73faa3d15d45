"""How an asyncio command ends when it is told to: stop, clean up, then die of the same signal.

asyncio keeps what a signal handler raises inside a task, so here a signal sets an event instead, and
Terminated is raised only after the loop has ended. A signal ignored at our start stays ignored.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from powdo.signals import Terminated

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run *main* with an event that a signal sets; a second signal cancels it. Raises: Terminated."""
    received: list[int] = []

    async def supervise() -> None:
        stop = asyncio.Event()
        task = asyncio.ensure_future(main(stop))
        loop = asyncio.get_running_loop()

        def on_signal(signum: int) -> None:
            if received:
                task.cancel()
            received.append(signum)
            stop.set()

        for signum in _ENDING:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                loop.add_signal_handler(signum, on_signal, signum)
        try:
            await task
        except asyncio.CancelledError:
            if not received:
                raise

    asyncio.run(supervise())
    if received:
        raise Terminated(received[0])
