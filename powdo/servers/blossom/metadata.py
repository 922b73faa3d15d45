"""Which blobs there are and whose they are: SQLite, written by one thread in groups.

Rules:
- a change is committed (synchronous=FULL) before its coroutine goes on;
- changes that arrive while a commit runs share the next one;
- reads use their own connection and never wait for a write (WAL).
"""

from __future__ import annotations

import asyncio
import enum
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from powdo.errors import CannotCreateError

T = TypeVar("T")
_Work = tuple[Callable[[sqlite3.Connection], Any], "asyncio.Future[Any]"]

_GROUP = 256
_SCHEMA = """
CREATE TABLE IF NOT EXISTS blob (
    sha256 BLOB PRIMARY KEY, size INTEGER NOT NULL, type TEXT NOT NULL, uploaded INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS owner (
    pubkey BLOB NOT NULL, sha256 BLOB NOT NULL REFERENCES blob (sha256), uploaded INTEGER NOT NULL,
    PRIMARY KEY (pubkey, sha256)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS owner_list ON owner (pubkey, uploaded DESC, sha256);
CREATE INDEX IF NOT EXISTS owner_blob ON owner (sha256);
CREATE TABLE IF NOT EXISTS spent (
    token BLOB NOT NULL, sha256 BLOB NOT NULL, expires INTEGER NOT NULL, PRIMARY KEY (token, sha256)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Blob:
    """One blob's row."""

    sha256: str
    size: int
    type: str
    uploaded: int


class Dropped(enum.Enum):
    """What became of a wish to delete a blob."""

    MISSING = "no such blob"
    FOREIGN = "the blob belongs to another key"
    SPENT = "the token has deleted this blob before"
    SHARED = "another owner keeps the blob"
    GONE = "nobody owns the blob any more"


class Metadata:
    """The rows in the SQLite file *path*. Raises: CannotCreateError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._reader = self._connect()
            self._reader.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise CannotCreateError(f"cannot use '{path}': {error}") from None
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="blossom-metadata", daemon=True)
        self._thread.start()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA foreign_keys=ON")
        return db

    async def close(self) -> None:
        """Commit what was asked for and close the file."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._reader.close()

    # --- the writing thread ---

    def _write(self) -> None:
        db = self._connect()
        more = True
        while more:
            group: list[_Work] = []
            item = self._queue.get()
            while item is not None:
                group.append(item)
                if len(group) >= _GROUP or self._queue.empty():
                    break
                item = self._queue.get()
            more = item is not None
            if group:
                outcomes = _commit(db, group)
                self._loop.call_soon_threadsafe(_settle, group, outcomes)
        db.close()

    async def _submit(self, change: Callable[[sqlite3.Connection], T]) -> T:
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put((change, future))
        # a cancelled request does not take its change back: it may be in a group already
        return cast(T, await asyncio.shield(future))

    # --- changes ---

    async def add(self, blob: Blob, pubkey: str) -> Blob | None:
        """Make *pubkey* an owner of *blob*; return the row that was there before, or None for a new one."""

        def change(db: sqlite3.Connection) -> Blob | None:
            key = bytes.fromhex(blob.sha256)
            before = _find(db, blob.sha256)
            if before is None:
                db.execute("INSERT INTO blob VALUES (?, ?, ?, ?)", (key, blob.size, blob.type, blob.uploaded))
            db.execute(
                "INSERT OR IGNORE INTO owner VALUES (?, ?, ?)", (bytes.fromhex(pubkey), key, blob.uploaded)
            )
            return before

        return await self._submit(change)

    async def drop(self, sha256: str, pubkey: str, *, token: str, expires: int, now: int) -> Dropped:
        """Take *pubkey* off the owners of a blob, once a *token*; the row goes with its last owner."""

        def change(db: sqlite3.Connection) -> Dropped:
            key = bytes.fromhex(sha256)
            if _find(db, sha256) is None:
                return Dropped.MISSING
            db.execute("DELETE FROM spent WHERE expires < ?", (now,))
            mine = (bytes.fromhex(pubkey), key)
            if not db.execute("SELECT 1 FROM owner WHERE pubkey = ? AND sha256 = ?", mine).fetchone():
                return Dropped.FOREIGN
            use = (bytes.fromhex(token), key)
            if db.execute("SELECT 1 FROM spent WHERE token = ? AND sha256 = ?", use).fetchone():
                return Dropped.SPENT
            db.execute("INSERT INTO spent VALUES (?, ?, ?)", (*use, expires))
            db.execute("DELETE FROM owner WHERE pubkey = ? AND sha256 = ?", mine)
            if db.execute("SELECT 1 FROM owner WHERE sha256 = ? LIMIT 1", (key,)).fetchone():
                return Dropped.SHARED
            db.execute("DELETE FROM blob WHERE sha256 = ?", (key,))
            return Dropped.GONE

        return await self._submit(change)

    # --- questions ---

    def get(self, sha256: str) -> Blob | None:
        """Return the row of a blob, or None."""
        return _find(self._reader, sha256)

    def owned(self, pubkey: str, *, after: str | None, limit: int) -> list[Blob] | None:
        """Return the blobs of *pubkey*, youngest first, past the blob *after*; None if that is not theirs."""
        owner, uploaded, last = bytes.fromhex(pubkey), 1 << 60, b""
        if after is not None:
            last = bytes.fromhex(after)
            row = self._reader.execute(
                "SELECT uploaded FROM owner WHERE pubkey = ? AND sha256 = ?", (owner, last)
            ).fetchone()
            if row is None:
                return None
            uploaded = row[0]
        rows = self._reader.execute(
            "SELECT b.sha256, b.size, b.type, o.uploaded FROM owner o JOIN blob b USING (sha256) "
            "WHERE o.pubkey = ?1 AND (o.uploaded < ?2 OR (o.uploaded = ?2 AND o.sha256 > ?3)) "
            "ORDER BY o.uploaded DESC, o.sha256 LIMIT ?4",
            (owner, uploaded, last, limit),
        ).fetchall()
        return [Blob(row[0].hex(), row[1], row[2], row[3]) for row in rows]


def _find(db: sqlite3.Connection, sha256: str) -> Blob | None:
    row = db.execute(
        "SELECT size, type, uploaded FROM blob WHERE sha256 = ?", (bytes.fromhex(sha256),)
    ).fetchone()
    return Blob(sha256, *row) if row else None


def _commit(db: sqlite3.Connection, group: list[_Work]) -> list[Any]:
    """Return what each change of *group* gave, after one commit of them all, or the error that undid them."""
    try:
        db.execute("BEGIN IMMEDIATE")
        outcomes = [change(db) for change, _ in group]
        db.execute("COMMIT")
    except Exception as error:  # handed to every request that waits for it
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
