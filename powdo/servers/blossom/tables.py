"""The tables of `blossom.sqlite`, how they came to be what they are, and how they are opened.

Rules:
- only a server, which holds its data directory alone, makes the tables and brings them up to date;
- others open what is there, and refuse tables of another version;
- every moment is in unix seconds; NEVER stands for what has no end, so that moments compare without a case
  of their own for it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from powdo.errors import BusyError, CannotCreateError, InputMissingError
from powdo.servers.blossom import usage

#: Later than any moment.
NEVER = 1 << 62

FILE = "blossom.sqlite"
_PATIENCE = 10.0
#: After how many pages the log is worked in: an upload writes ten, and most of them are written again soon.
_CHECKPOINT = 4000
#: What leads from each version (PRAGMA user_version) to the next; a step that was released is never changed.
_STEPS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE IF NOT EXISTS blob (sha256 BLOB PRIMARY KEY, size INTEGER NOT NULL, "
        "type TEXT NOT NULL, uploaded INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE IF NOT EXISTS owner (pubkey BLOB NOT NULL, sha256 BLOB NOT NULL "
        "REFERENCES blob (sha256), uploaded INTEGER NOT NULL, PRIMARY KEY (pubkey, sha256)) WITHOUT ROWID",
        "CREATE INDEX IF NOT EXISTS owner_list ON owner (pubkey, uploaded DESC, sha256)",
        "CREATE INDEX IF NOT EXISTS owner_blob ON owner (sha256)",
        "CREATE TABLE IF NOT EXISTS spent (token BLOB NOT NULL, sha256 BLOB NOT NULL, "
        "expires INTEGER NOT NULL, PRIMARY KEY (token, sha256)) WITHOUT ROWID",
    ),
    (  # retention: when a blob goes, when each owner's wish and the rules let it go, and by which rules
        f"ALTER TABLE blob ADD COLUMN expires INTEGER NOT NULL DEFAULT {NEVER}",
        f"ALTER TABLE owner ADD COLUMN wish INTEGER NOT NULL DEFAULT {NEVER}",
        f"ALTER TABLE owner ADD COLUMN expires INTEGER NOT NULL DEFAULT {NEVER}",
        "CREATE INDEX blob_expires ON blob (expires)",
        "CREATE INDEX owner_expires ON owner (expires)",
        "CREATE TABLE retention (rules TEXT NOT NULL)",
        "INSERT INTO retention VALUES ('[]')",
    ),
    usage.STEP,
    ("CREATE INDEX spent_expires ON spent (expires)",),  # each deletion forgets what has expired
)


def prepare(path: Path) -> None:
    """Make the tables in *path*, or bring them up to date; for a server only. Raises: CannotCreateError."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = connect(path)
        try:
            _update(db, path)
        finally:
            db.close()
    except (OSError, sqlite3.Error) as error:
        raise CannotCreateError(f"cannot use '{path}': {error}") from None


def _update(db: sqlite3.Connection, path: Path) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(_STEPS):
        raise CannotCreateError(f"'{path}' was made by a newer powdo", hint="upgrade powdo")
    for number, step in enumerate(_STEPS[version:], version + 1):
        with transaction(db):
            for statement in step:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection to *path* whose commits are durable; transactions are begun by hand."""
    db = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT}")
    db.execute("PRAGMA foreign_keys=ON")
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block does, or undo it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def open_beside(data: Path) -> sqlite3.Connection:
    """Return a connection to the tables in the folder *data*, whether a server runs there or not.

    Raises: InputMissingError, BusyError for tables of another version, CannotCreateError.
    """
    path = data / FILE
    if not path.is_file():
        raise InputMissingError(f"no Blossom server has kept blobs in '{data}'")
    try:
        db = connect(path)
        (version,) = db.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        raise CannotCreateError(f"cannot use '{path}': {error}") from None
    if version != len(_STEPS):
        db.close()
        raise BusyError(f"'{path}' is of another version of powdo", hint="let its server start once")
    return db
