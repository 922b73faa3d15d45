"""Which blobs there are and whose they are: SQLite, written by one thread at a time, in groups.

Rules:
- a change is committed (synchronous=FULL) before its coroutine goes on;
- changes that arrive while a commit runs share the next one, and the thread that commits takes it on;
- reads use their own connection and never wait for a write (WAL).
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from powdo.servers.blossom import rows, tables, usage
from powdo.servers.blossom.retention import Retention
from powdo.servers.blossom.rows import Blob, Dropped, Standing
from powdo.servers.blossom.tables import NEVER
from powdo.servers.blossom.usage import Usage

T = TypeVar("T")
#: What a thread is doing.
Done = Future[None]
_Work = tuple[Callable[[sqlite3.Connection], Any], "asyncio.Future[Any]"]

_GROUP = 256


class Metadata:
    """The rows in the SQLite file *path*. Raises: CannotCreateError."""

    def __init__(self, path: Path, retention: Retention | None = None) -> None:
        self._path = path
        self._retention = retention or Retention()
        tables.prepare(path)
        self._reader = tables.connect(path)
        self._db = tables.connect(path)
        self._writing = threading.Lock()
        self._queue: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self._executor = ThreadPoolExecutor(1, "blossom-metadata")  # for what no other thread brings
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()

    async def close(self) -> None:
        """Commit what was asked for and close the file; nothing more may be asked for by then."""
        await asyncio.to_thread(self._executor.shutdown)
        self._db.close()
        self._reader.close()

    # --- the threads that write ---

    async def _submit(self, change: Callable[[sqlite3.Connection], T], after: Done | None = None) -> T:
        """Return what *change* gives once it is committed; it waits for *after*, and fails with it."""
        # a request that is cancelled does not take its change back: it may be in a group already
        future: asyncio.Future[Any] = self._loop.create_future()

        def follow(before: Done) -> None:
            if (error := before.exception()) is not None:
                self._loop.call_soon_threadsafe(_settle, [(change, future)], [error])
                return
            self._queue.put((change, future))
            if threading.get_ident() == self._thread:  # it was done already, or the loop itself has done it
                self._executor.submit(self._commit_waiting)
            else:  # the thread that has put the file on disk goes on with its row
                self._commit_waiting()

        if after is None:
            self._queue.put((change, future))
            self._executor.submit(self._commit_waiting)
        else:
            after.add_done_callback(follow)
        return cast(T, await future)

    def _commit_waiting(self) -> None:
        """Commit what waits in groups, unless another thread is at it: then that one sees to it."""
        while not self._queue.empty() and self._writing.acquire(blocking=False):
            try:
                group = self._group()
                outcomes = _commit(self._db, group) if group else []
            finally:
                self._writing.release()
            self._loop.call_soon_threadsafe(_settle, group, outcomes)

    def _group(self) -> list[_Work]:
        group: list[_Work] = []
        with suppress(queue.Empty):
            while len(group) < _GROUP:
                group.append(self._queue.get_nowait())
        return group

    # --- changes ---

    async def add(
        self, blob: Blob, pubkey: str, *, wish: int = NEVER, after: Done | None = None
    ) -> Blob | None:
        """Make *pubkey* an owner of *blob* until *wish* at most; return the row before, or None.

        Where *after* is given, nothing is written before that is done. Raises: what it raised.
        """
        return await self._submit(
            partial(rows.add, blob=blob, pubkey=pubkey, wish=wish, retention=self._retention), after
        )

    async def drop(self, sha256: str, pubkey: str, *, token: str, expires: int, now: int) -> Dropped:
        """Take *pubkey* off the owners of a blob, once a *token*; the row goes with its last owner."""
        return await self._submit(
            partial(rows.drop, sha256=sha256, pubkey=pubkey, token=token, expires=expires, now=now)
        )

    async def note_removals(self, gone: Set[str], now: int) -> None:
        """Let *gone* be the owners off the list: from *now* on those that were not so before."""
        await self._submit(partial(usage.note_removals, gone=gone, now=now))

    async def reschedule(self) -> bool:
        """Let the rules of now hold for what is kept already; return whether they are others than before."""
        return await self._submit(partial(rows.reschedule, retention=self._retention))

    # --- questions ---

    def get(self, sha256: str, now: int) -> Blob | None:
        """Return the row of a blob that there is at *now*, or None."""
        blob = rows.find(self._reader, sha256)
        return blob if blob is not None and now < blob.expires else None

    def has(self, sha256: str) -> bool:
        """Return whether a blob has a row, even one whose time is over."""
        return rows.find(self._reader, sha256) is not None

    def standing(self, pubkey: str, sha256: str | None, now: int) -> Standing:
        """Return how *pubkey* stands to a blob at *now*."""
        return rows.standing(self._reader, pubkey, sha256, now)

    def usage(self, pubkey: str | None = None) -> Usage:
        """Return how much *pubkey* owns, or how much there is in all."""
        return usage.of(self._reader, pubkey)

    def owners(self) -> set[str]:
        """Return the public keys that own blobs."""
        return usage.owners(self._reader)

    def removed(self) -> set[str]:
        """Return the owners that are known to be off the list."""
        return usage.removed(self._reader)

    def removed_since(self, pubkey: str) -> int | None:
        """Return since when *pubkey* is known to be an owner off the list, or None."""
        return usage.removed_since(self._reader, pubkey)

    def owned(self, pubkey: str, *, after: str | None, limit: int, now: int) -> list[Blob] | None:
        """Return the blobs of *pubkey*, youngest first, past the blob *after*; None if that is not theirs."""
        return rows.owned(self._reader, pubkey, after=after, limit=limit, now=now)


def _commit(db: sqlite3.Connection, group: list[_Work]) -> list[Any]:
    """Return what each change of *group* gave, after one commit of them all, or the error that undid them."""
    try:
        db.execute("BEGIN IMMEDIATE")
        outcomes = [change(db) for change, _ in group]
        db.execute("COMMIT")
    except Exception as error:  # handed to every request that waits for it
        with suppress(sqlite3.Error):  # else nobody would be answered; BEGIN fails, and we are here again
            if db.in_transaction:
                db.execute("ROLLBACK")
        return [error] * len(group)
    return outcomes


def _settle(group: list[_Work], outcomes: list[Any]) -> None:
    for (_, future), outcome in zip(group, outcomes, strict=True):
        if future.cancelled():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
