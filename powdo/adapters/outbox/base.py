"""The outbox's ground: the SQLite file, transactions, and locks between runs."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from powdo.errors import BusyError, CannotCreateError, OutputError, RetryLaterError
from powdo.settings.paths import private_dir

_SCHEMA = """
CREATE TABLE IF NOT EXISTS device (identity TEXT PRIMARY KEY, id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cursor (
    source TEXT NOT NULL, bucket TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (source, bucket)
);
CREATE TABLE IF NOT EXISTS capture (
    id TEXT PRIMARY KEY, device TEXT NOT NULL, sequence INTEGER NOT NULL, state TEXT NOT NULL,
    record TEXT NOT NULL, link TEXT, proof TEXT, bundle TEXT, key TEXT, created INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, retry_at INTEGER NOT NULL DEFAULT 0, error TEXT,
    UNIQUE (device, sequence)
);
CREATE INDEX IF NOT EXISTS capture_state ON capture (state, device, sequence);
CREATE INDEX IF NOT EXISTS capture_created ON capture (created);
CREATE INDEX IF NOT EXISTS capture_waiting ON capture (state, created);
CREATE INDEX IF NOT EXISTS capture_failed ON capture (state, retry_at) WHERE attempts > 0;
CREATE INDEX IF NOT EXISTS capture_kept ON capture (state) WHERE key IS NOT NULL;
CREATE TABLE IF NOT EXISTS wrap (
    id TEXT PRIMARY KEY, capture TEXT NOT NULL REFERENCES capture (id), recipient TEXT NOT NULL,
    event TEXT NOT NULL, created INTEGER NOT NULL, published INTEGER, attempts INTEGER NOT NULL DEFAULT 0,
    retry_at INTEGER NOT NULL DEFAULT 0, error TEXT
);
CREATE INDEX IF NOT EXISTS wrap_capture ON wrap (capture);
CREATE INDEX IF NOT EXISTS wrap_unpublished ON wrap (created) WHERE published IS NULL;
CREATE INDEX IF NOT EXISTS wrap_published ON wrap (published) WHERE published IS NOT NULL;
CREATE TABLE IF NOT EXISTS delivery (
    wrap TEXT NOT NULL, relay TEXT NOT NULL, accepted INTEGER NOT NULL, message TEXT NOT NULL,
    at INTEGER NOT NULL, PRIMARY KEY (wrap, relay)
);
CREATE TABLE IF NOT EXISTS event (
    id TEXT PRIMARY KEY, address TEXT, event TEXT NOT NULL, public INTEGER NOT NULL, created INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, retry_at INTEGER NOT NULL DEFAULT 0, error TEXT
);
CREATE INDEX IF NOT EXISTS event_created ON event (created);
CREATE INDEX IF NOT EXISTS event_address ON event (address) WHERE address IS NOT NULL;
CREATE TABLE IF NOT EXISTS signed (address TEXT PRIMARY KEY, event TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS control (kind TEXT NOT NULL, begin INTEGER NOT NULL, end INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS control_end ON control (kind, end);
CREATE TABLE IF NOT EXISTS manual (
    id TEXT PRIMARY KEY, begin INTEGER NOT NULL, end INTEGER NOT NULL, data TEXT NOT NULL,
    capture TEXT REFERENCES capture (id)
);
CREATE INDEX IF NOT EXISTS manual_capture ON manual (capture);
CREATE TABLE IF NOT EXISTS released (capture TEXT PRIMARY KEY REFERENCES capture (id));
CREATE TABLE IF NOT EXISTS sealed (capture TEXT PRIMARY KEY REFERENCES capture (id));
CREATE TABLE IF NOT EXISTS told (
    capture TEXT NOT NULL REFERENCES capture (id), carrier TEXT NOT NULL REFERENCES capture (id),
    PRIMARY KEY (capture, carrier)
);
CREATE TABLE IF NOT EXISTS sent (
    rumor TEXT NOT NULL, recipient TEXT NOT NULL, capture TEXT NOT NULL REFERENCES capture (id),
    PRIMARY KEY (rumor, recipient)
);
CREATE INDEX IF NOT EXISTS sent_capture ON sent (capture);
CREATE TABLE IF NOT EXISTS receipt (
    capture TEXT NOT NULL REFERENCES capture (id), dvm TEXT NOT NULL, stored INTEGER NOT NULL,
    record TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (capture, dvm)
);
CREATE TABLE IF NOT EXISTS early (
    capture TEXT NOT NULL REFERENCES capture (id), dvm TEXT NOT NULL, PRIMARY KEY (capture, dvm)
);
CREATE TABLE IF NOT EXISTS resent (
    capture TEXT PRIMARY KEY REFERENCES capture (id), times INTEGER NOT NULL, told INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS asked (
    dvm TEXT NOT NULL, device TEXT NOT NULL, sequence INTEGER NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (dvm, device, sequence)
);
CREATE INDEX IF NOT EXISTS receipt_at ON receipt (at) WHERE stored;
"""


class Store:
    """The files in *directory*, made on first use; other runs are waited for *patience* seconds.

    Raises: CannotCreateError, OutputError, RetryLaterError.
    """

    def __init__(self, directory: Path, *, patience: float = 10) -> None:
        self._directory = directory
        self.captures = directory / "outbox"
        self.bundles = directory / "bundles"
        for path in (directory, self.captures, self.bundles):
            private_dir(path)
        file = directory / "outbox.sqlite"
        try:
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise CannotCreateError(f"cannot create the outbox in '{directory}': {error.strerror}") from None
        with self._errors():
            self._db = sqlite3.connect(file, timeout=patience, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._write_ahead(patience)
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA foreign_keys=ON")
            self._db.execute("PRAGMA secure_delete=ON")  # the key of a dropped bundle is overwritten
            self._db.executescript(_SCHEMA)

    def _write_ahead(self, patience: float) -> None:
        """Turn to WAL; of several first runs SQLite refuses all but one at once, whatever the timeout."""
        deadline = time.monotonic() + patience
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    # --- plumbing ---

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise RetryLaterError(f"the outbox in '{self._directory}' is busy") from None
            raise OutputError(f"cannot write the outbox in '{self._directory}': {error}") from None
        except sqlite3.DatabaseError as error:
            raise OutputError(f"cannot use the outbox in '{self._directory}': {error}") from None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _query(self, sql: str, *values: object) -> list[sqlite3.Row]:
        with self._errors():
            return self._db.execute(sql, values).fetchall()

    @contextmanager
    def lock(self, name: str, *, timeout: float = 30.0) -> Iterator[None]:
        """Hold the lock *name* for the block; another run waits *timeout* seconds. Raises: BusyError."""
        path = self._directory / f"{name}.lock"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotCreateError(f"cannot create '{path}': {error.strerror}") from None
        try:
            deadline = time.monotonic() + timeout
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if time.monotonic() >= deadline:
                        raise BusyError(
                            f"another run holds '{path}'",
                            hint="it goes on where that one ends; try again later",
                        ) from None
                    time.sleep(0.05)
            yield
        finally:
            os.close(fd)
