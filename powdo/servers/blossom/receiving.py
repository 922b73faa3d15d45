"""The body of an upload on its way to the storage: hashed as it comes, written by threads meanwhile.

A piece that is full goes to a thread, and the next one is gathered, so an upload holds two pieces at most;
what is left at the end is written by the thread that commits the blob. Hashing stays in the event loop: what
has just come is in the processor's cache, and there is no thread to wake for it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor

from powdo.servers.blossom.storage import Incoming

#: To wake a thread costs about as much as writing 100 KB.
_PIECE = 1 << 19


class Body:
    """What has come so far of the bytes of *incoming*."""

    def __init__(self, incoming: Incoming, executor: Executor) -> None:
        self.length = 0
        self._incoming = incoming
        self._executor = executor
        self._digest = hashlib.sha256()
        self._gathered: list[bytes] = []
        self._size = 0
        self._writing: asyncio.Future[None] | None = None

    async def add(self, data: bytes) -> None:
        """Take the next bytes; returns when there is room for more. Raises: OSError."""
        self.length += len(data)
        self._size += len(data)
        self._digest.update(data)
        self._gathered.append(data)
        if self._size >= _PIECE:
            await self._written()
            loop = asyncio.get_running_loop()
            self._writing = loop.run_in_executor(self._executor, self._write, self._gathered)
            self._writing.add_done_callback(_see)
            self._gathered, self._size = [], 0

    async def finish(self) -> str:
        """Return the hash of all that came. Raises: OSError."""
        await self._written()
        return self._digest.hexdigest()

    def commit(self, sha256: str) -> None:
        """Write what is left, and put the blob on disk for good; for a thread. Raises: OSError."""
        self._write(self._gathered)
        self._incoming.commit(sha256)

    async def _written(self) -> None:
        if self._writing is not None:
            await self._writing
            self._writing = None

    def _write(self, piece: Sequence[bytes]) -> None:
        for data in piece:
            self._incoming.write(data)


def _see(writing: asyncio.Future[None]) -> None:
    """Look at how *writing* ended: where a body was given up nobody else does, and asyncio complains."""
    if not writing.cancelled():
        writing.exception()
