"""Owners who are off the list: for how long they may still delete what they own.

The list's file has no times, so the server notes when it first sees an owner who is not on it: while it runs
it looks every minute, and at each start. The note is in the database, is never moved by what the key asks,
and goes when the key is on the list again, or owns nothing any more.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from powdo.servers.allowlist import Allowlist
from powdo.servers.blossom.metadata import Metadata

GRACE = 7 * 86400
_LOOK_AGAIN = 60.0


class Removals:
    """Follows *allowlist*; None where everybody may write."""

    def __init__(self, allowlist: Allowlist | None, metadata: Metadata, warn: Callable[[str], None]) -> None:
        self._allowlist = allowlist
        self._metadata = metadata
        self._warn = warn

    def lets(self, pubkey: str) -> bool:
        """Return whether *pubkey*, which is not on the list, may still see to the blobs it owns."""
        since = self._metadata.removed_since(pubkey)
        if since is None:  # removed within the last minute, or never known here
            return self._metadata.usage(pubkey).blobs > 0
        return time.time() < since + GRACE

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Note removals until the block ends."""
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _follow(self) -> None:
        while True:
            try:
                await self._look()
            except sqlite3.Error as error:
                self._warn(f"cannot note who is off the list: {error}")
            await asyncio.sleep(_LOOK_AGAIN)

    async def _look(self) -> None:
        gone = self._metadata.owners() - self._allowlist.pubkeys() if self._allowlist else set()
        if gone != self._metadata.removed():
            await self._metadata.note_removals(gone, int(time.time()))
