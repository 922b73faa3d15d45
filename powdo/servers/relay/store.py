"""Where events are kept: SQLite in WAL mode, one thread that writes, three that read.

Rules:
- a write is answered only after its transaction is on the disk (synchronous=FULL); all that waits while
  one transaction is committed goes into the next, so a slow disk costs delay and not throughput;
- what cannot be stored is answered with an error, never with silence;
- readers have their own connections and see whole transactions only; gift wraps have readers of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from powdo.errors import BusyError, CannotCreateError, OutputError
from powdo.nips.filters import Filter
from powdo.servers.relay.limits import Limits
from powdo.servers.relay.policy import WRAPS
from powdo.servers.relay.query import Value, select
from powdo.servers.relay.tables import give_back, make_tables
from powdo.servers.relay.writing import Outcome, Write, store_event, sweep

_BATCH = 512
#: Seconds between two looks for what has expired or is too old, and how much of it goes in one transaction.
_SWEEP = 60.0
_SLICE = 100
#: Pages given back to the system at a time: a mebibyte, which keeps the writer for some 5 ms.
_PAGES = 128
#: The first two count in a new file only, and only before any other. Two wraps or three fit into 8 KiB, which
#: makes the file a third smaller than one page for each, and SQLite maps 2 GiB of it at most.
_PRAGMAS = (
    "page_size=8192",
    "auto_vacuum=INCREMENTAL",
    "journal_mode=WAL",
    "synchronous=FULL",
    "cache_size=-65536",
    "busy_timeout=10000",
)
#: The newest 500 wraps of somebody lie all over the file: mapped, reading them takes half the time. An error
#: of the disk then ends the process and not the query; nothing is lost by it.
_READING = ("query_only=ON", "cache_size=-32768", f"mmap_size={1 << 40}")

Delivered = Callable[[Sequence[tuple[Write, Outcome]]], None]


#: One stored event: its id, and its JSON as it is sent.
Found = tuple[bytes, bytes]


def _lock(directory: Path) -> int:
    """Return the descriptor that keeps a second relay out of *directory*."""
    path = directory / "relay.lock"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotCreateError(f"cannot create '{path}': {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise BusyError(f"another relay holds '{path}'") from None
    return descriptor


class Store:
    """The events in *directory*; *delivered* is called in the loop's thread after each commit."""

    def __init__(self, directory: Path, delivered: Delivered, limits: Limits) -> None:
        self._limits = limits
        self._file = directory / "relay.sqlite"
        self._delivered = delivered
        #: Transactions begun, and those whose events have been handed on. A reader may see what is committed
        #: before it is handed on; whoever must not meet it twice compares the two.
        self.begun = 0
        self.handed_on = 0
        self._queue: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._wraps = ThreadPoolExecutor(2, thread_name_prefix="relay-reader")
        self._others = ThreadPoolExecutor(1, thread_name_prefix="relay-reader")
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = _lock(directory)
        try:
            self._file.touch(mode=0o600)
            self._db = sqlite3.connect(self._file, timeout=10, isolation_level=None, check_same_thread=False)
            for pragma in _PRAGMAS:
                self._db.execute(f"PRAGMA {pragma}")
            make_tables(self._db, int(time.time()))
        except OSError as error:
            raise CannotCreateError(f"cannot create '{self._file}': {error.strerror}") from None
        except sqlite3.Error as error:
            raise CannotCreateError(f"cannot open '{self._file}': {error}") from None
        self._writer = threading.Thread(target=self._write_all, name="relay-writer", daemon=True)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to write; answers are delivered in *loop*."""
        self._loop = loop
        self._writer.start()

    def waiting(self) -> int:
        """Return how many writes wait for the disk."""
        return self._queue.qsize()

    def submit(self, write: Write) -> None:
        """Hand over one event to be stored."""
        self._queue.put(write)

    def stop(self) -> None:
        """Write what waits and then no more; break off what is being read."""
        self._queue.put(None)
        for threads in (self._wraps, self._others):
            threads.shutdown(wait=False, cancel_futures=True)
        for connection in self._opened:
            connection.interrupt()

    def is_writing(self) -> bool:
        """Return whether something may still be written."""
        return self._writer.is_alive()

    def close(self) -> None:
        """Write what waits, then close everything."""
        self.stop()
        if self._writer.is_alive():
            self._writer.join()
        for threads in (self._wraps, self._others):
            threads.shutdown()
        for connection in (*self._opened, self._db):
            connection.close()
        os.close(self._lock)

    # --- writing, in the writer's thread ---

    def _write_all(self) -> None:
        due = time.monotonic()
        while True:
            if time.monotonic() >= due and not self._sweep():
                due = time.monotonic() + _SWEEP
            try:
                first = self._queue.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                continue
            batch: list[Write | None] = [first]
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get())
            writes = [item for item in batch if item is not None]
            if writes:
                self.begun += 1
                self._answer(self._commit(writes))
            if len(writes) < len(batch):
                return

    def _sweep(self) -> bool:
        """Remove a slice of what is too old, or give back a slice of space; return whether there is more."""
        try:
            with self._transaction():
                removed = sweep(self._db, int(time.time()), self._limits, _SLICE)
            return removed == _SLICE or give_back(self._db, _PAGES)
        except sqlite3.Error:
            return False  # a full disk, say: the next look finds the same again

    def _commit(self, writes: Sequence[Write]) -> list[tuple[Write, Outcome]]:
        """Return what became of *writes*, committed together."""
        try:
            with self._transaction():
                outcomes = [(write, store_event(self._db, write, self._limits)) for write in writes]
        except (sqlite3.Error, UnicodeError, OverflowError):  # the writer must outlive whatever came in
            return [(write, Outcome(False, "error: cannot store the event", new=False)) for write in writes]
        return outcomes

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _answer(self, outcomes: list[tuple[Write, Outcome]]) -> None:
        if self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._hand_on, outcomes)
        except RuntimeError:
            return  # the loop has ended; the events are safe and the clients will ask again

    def _hand_on(self, outcomes: list[tuple[Write, Outcome]]) -> None:
        try:
            self._delivered(outcomes)
        finally:
            self.handed_on += 1

    # --- reading, in the readers' threads ---

    async def query(self, asked: Filter, readers: Sequence[str], limit: int) -> list[Found]:
        """Return up to *limit* stored events that *asked* shows to *readers*, newest first."""
        wanted = select("raw", asked, readers=readers, now=int(time.time()), limit=limit)
        if wanted is None:
            return []
        rows = await self._read(*wanted, self._threads([asked]))
        return [(event_id, raw) for _, event_id, raw in rows]

    async def count(self, filters: Sequence[Filter], readers: Sequence[str]) -> int:
        """Return how many stored events any of *filters* shows to *readers* (NIP-45)."""
        now = int(time.time())
        parts = [wanted for item in filters if (wanted := select("seq", item, readers=readers, now=now))]
        if not parts:
            return 0
        union = " UNION ".join(f"SELECT seq FROM ({sql})" for sql, _ in parts)  # noqa: S608  # as below
        values = [value for _, bound in parts for value in bound]
        sql = f"SELECT count(*) FROM ({union})"  # noqa: S608  # our own words
        rows = await self._read(sql, values, self._threads(filters))
        return int(rows[0][0])

    def _threads(self, filters: Sequence[Filter]) -> ThreadPoolExecutor:
        """Return who reads: gift wraps cost little, and do not wait for what is asked of all the rest."""
        wraps = all(asked.kinds is not None and WRAPS.issuperset(asked.kinds) for asked in filters)
        return self._wraps if wraps else self._others

    async def _read(
        self, sql: str, values: Sequence[Value], threads: ThreadPoolExecutor
    ) -> list[tuple[Any, ...]]:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(threads, lambda: self._reader().execute(sql, values).fetchall())
        except (sqlite3.Error, UnicodeError, OverflowError, RuntimeError) as error:  # the last: shut down
            raise OutputError(f"cannot read '{self._file}': {error}") from None

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self._file, timeout=10, isolation_level=None, check_same_thread=False
            )
            for pragma in _READING:
                connection.execute(f"PRAGMA {pragma}")
            self._local.connection = connection
            self._opened.append(connection)
        return connection
