"""Blobs whose time is over go: first the row, then the file, a few at a time.

The same code runs in the server and in `blossom prune`, which may work beside it: each blob is held by its
note while it goes, and whether it is over is asked once more in the transaction that removes its row.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, suppress

from powdo.errors import BusyError
from powdo.servers.blossom import rows, tables
from powdo.servers.blossom.config import Config
from powdo.servers.blossom.rows import Blob
from powdo.servers.blossom.storage import Storage

#: Each is a file open and a row locked, for the time of one commit.
_BATCH = 32
_OWNERS = 1000


def sweep(db: sqlite3.Connection, storage: Storage, now: int) -> Iterator[list[Blob]]:
    """Remove blobs that are over at *now*, and yield those of each batch once they are gone.

    What somebody else is changing is left for the next sweep. Raises: OSError, sqlite3.Error.
    """
    storage.settle(lambda sha256: rows.find(db, sha256) is not None)
    after = (0, "")
    while batch := rows.over(db, now, after, _BATCH):
        after = (batch[-1].expires, batch[-1].sha256)
        if gone := _remove(db, storage, batch, now):
            yield gone
    more = True
    while more:
        with tables.transaction(db):
            more = rows.remove_owners(db, now, _OWNERS) == _OWNERS


def _remove(db: sqlite3.Connection, storage: Storage, batch: Sequence[Blob], now: int) -> list[Blob]:
    with ExitStack() as notes:
        held = []
        for blob in batch:
            with suppress(BusyError):
                notes.enter_context(storage.changing(blob.sha256))
                held.append(blob)
        with tables.transaction(db):
            gone = [blob for blob in held if rows.remove_over(db, blob.sha256, now)]
        for blob in gone:
            storage.remove(blob.sha256)
    return gone


@asynccontextmanager
async def sweeping(config: Config, storage: Storage) -> AsyncIterator[None]:
    """Sweep now and again, in a thread, until the block ends; a batch in hand is finished."""
    stop = asyncio.Event()
    task = asyncio.create_task(_often(config, storage, stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def _often(config: Config, storage: Storage, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await asyncio.to_thread(_once, config, storage, stop)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), config.sweep_interval)


def _once(config: Config, storage: Storage, stop: asyncio.Event) -> None:
    count = size = 0
    try:
        with closing(tables.connect(config.data / tables.FILE)) as db:
            for gone in sweep(db, storage, int(time.time())):
                count += len(gone)
                size += sum(blob.size for blob in gone)
                if stop.is_set():
                    break
    except (OSError, sqlite3.Error) as error:
        config.warn(f"cannot sweep: {error}")  # the next round tries again
    if count:
        config.tell(f"swept {count} blobs of {size} bytes")
