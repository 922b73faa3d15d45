"""Who changes file and row of a blob: one at a time, in this server and beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from weakref import WeakValueDictionary

from powdo.errors import BusyError
from powdo.servers.blossom.storage import Storage
from powdo.servers.blossom.wire import Refusal

_PATIENCE = 10.0
_PAUSE = 0.01


class Locks:
    """A lock for each blob that is being changed in *storage*."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def changing(self, sha256: str) -> AsyncIterator[None]:
        """Hold `Storage.changing`; in this server who came first is first. Raises: Refusal 503, OSError."""
        lock = self._locks.get(sha256)
        if lock is None:
            lock = self._locks[sha256] = asyncio.Lock()
        async with lock:
            with await self._hold(sha256):
                yield

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
