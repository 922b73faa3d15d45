"""Who changes file and row of a blob: one at a time, in this server and beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import TypeVar
from weakref import WeakValueDictionary

from powdo.errors import BusyError
from powdo.servers.blossom.storage import Storage
from powdo.servers.blossom.wire import Refusal

T = TypeVar("T")

_PATIENCE = 10.0
_PAUSE = 0.01


class Locks:
    """A lock for each blob that is being changed in *storage*; *warn* is told what nobody waits for."""

    def __init__(self, storage: Storage, warn: Callable[[str], None]) -> None:
        self._storage = storage
        self._warn = warn
        self._changes: set[asyncio.Task[None]] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def change(self, sha256: str, work: Callable[[], Awaitable[T]]) -> T:
        """Return what *work* does while it holds `Storage.changing`; in this server who came first is first.

        A change that has begun comes to its end, and holds the blob so long, though nobody waits for it any
        more: otherwise its row might come after somebody else had settled its file. Who waits goes on as soon
        as the work is done; the blob is let go meanwhile.

        Raises: Refusal 503, OSError, and what *work* raises.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._change(sha256, work, answer))
        self._changes.add(task)  # the loop itself keeps none alive
        task.add_done_callback(self._changes.discard)
        return await answer

    async def _change(self, sha256: str, work: Callable[[], Awaitable[T]], answer: asyncio.Future[T]) -> None:
        lock = self._locks.get(sha256)
        if lock is None:
            lock = self._locks[sha256] = asyncio.Lock()
        try:
            async with lock:
                with await self._hold(sha256):
                    outcome = await work()
                    if not answer.done():
                        answer.set_result(outcome)
                    await asyncio.sleep(0)  # who waits comes first
        except asyncio.CancelledError:  # the loop ends
            answer.cancel()
            raise
        except Exception as error:  # whatever it is, it belongs to who waits
            if answer.done():
                self._warn(f"a change of blob {sha256[:8]}: {error}")
            else:
                answer.set_exception(error)

    async def _hold(self, sha256: str) -> ExitStack:
        """Wait for a sweep or another process to be done with the blob: a matter of one commit."""
        stack = ExitStack()
        end = asyncio.get_running_loop().time() + _PATIENCE
        while True:
            try:
                stack.enter_context(self._storage.changing(sha256))
            except BusyError:
                if asyncio.get_running_loop().time() > end:
                    raise Refusal(503, "the blob is being changed", {"Retry-After": "10"}) from None
                await asyncio.sleep(_PAUSE)
            else:
                return stack
