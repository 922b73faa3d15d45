"""The body of an upload on its way to the storage: hashed piece by piece, written by threads meanwhile.

A piece that is full goes to a thread, and the next one is gathered, so an upload holds two pieces at most;
what is left at the end is written by the thread that commits the blob, or by one that begins before, while it
is hashed. Hashing stays in the event loop: what has come of late is in the processor's cache, and there is no
thread to wake for it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor, Future

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
        self._writing: Future[None] | None = None

    def add(self, data: bytes) -> bool:
        """Take the next bytes; return whether a piece is full, so that `spill` has to come before more."""
        self.length += len(data)
        self._size += len(data)
        self._gathered.append(data)
        return self._size >= _PIECE

    async def spill(self) -> None:
        """Let a thread write what has been gathered, after the piece before it. Raises: OSError."""
        if self._writing is not None:
            await asyncio.wrap_future(self._writing)
        self._writing = self._executor.submit(self._write, self._gathered)
        self._hash()
        self._gathered, self._size = [], 0

    def hasten(self) -> None:
        """Let the disk begin with the end of the body, while that is hashed."""
        self._writing = self._executor.submit(self._hasten, self._writing)

    def finish(self) -> str:
        """Return the hash of all that came."""
        self._hash()
        return self._digest.hexdigest()

    def commit(self, sha256: str) -> None:
        """Write what is left, and put the blob on disk for good; for a thread. Raises: OSError."""
        if self._writing is not None:
            self._incoming.expect(sha256)
            self._writing.result()  # threads begin in the order of submission: it is under way at least
        self._incoming.commit(sha256, self._gathered)

    def _hash(self) -> None:
        for data in self._gathered:
            self._digest.update(data)

    def _write(self, piece: Sequence[bytes]) -> None:
        for data in piece:
            self._incoming.write(data)

    def _hasten(self, before: Future[None] | None) -> None:
        if before is not None:
            before.result()
        self._incoming.hasten(self._gathered)
