"""How much there is, in all and of each owner, and since when owners are off the list.

Triggers count: whatever adds or removes a row, undoes a transaction or ends the process, the sums are right.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Set
from typing import NamedTuple

#: Stands in the place of an owner for all blobs together, each counted once.
_ALL = b""

#: One step of the tables: counts what is there, then whatever comes and goes.
STEP = (
    "CREATE TABLE usage "
    "(pubkey BLOB PRIMARY KEY, blobs INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO usage SELECT x'', count(*), coalesce(sum(size), 0) FROM blob",
    "INSERT INTO usage "
    "SELECT pubkey, count(*), sum(size) FROM owner JOIN blob USING (sha256) GROUP BY pubkey",
    "CREATE TRIGGER blob_added AFTER INSERT ON blob BEGIN "
    "UPDATE usage SET blobs = blobs + 1, bytes = bytes + NEW.size WHERE pubkey = x''; END",
    "CREATE TRIGGER blob_gone AFTER DELETE ON blob BEGIN "
    "UPDATE usage SET blobs = blobs - 1, bytes = bytes - OLD.size WHERE pubkey = x''; END",
    "CREATE TRIGGER owner_added AFTER INSERT ON owner BEGIN "
    "INSERT INTO usage SELECT NEW.pubkey, 1, size FROM blob WHERE sha256 = NEW.sha256 "
    "ON CONFLICT (pubkey) DO UPDATE SET blobs = blobs + 1, bytes = bytes + excluded.bytes; END",
    "CREATE TRIGGER owner_gone AFTER DELETE ON owner BEGIN "
    "UPDATE usage SET blobs = blobs - 1, "
    "bytes = bytes - (SELECT size FROM blob WHERE sha256 = OLD.sha256) WHERE pubkey = OLD.pubkey; "
    "DELETE FROM usage WHERE pubkey = OLD.pubkey AND blobs = 0; END",
    "CREATE TABLE removed (pubkey BLOB PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID",
)


class Usage(NamedTuple):
    """So many blobs, of so many bytes."""

    blobs: int
    bytes: int


def of(db: sqlite3.Connection, pubkey: str | None = None) -> Usage:
    """Return what *pubkey* owns, or all that there is; also what is over and not removed yet."""
    key = _ALL if pubkey is None else bytes.fromhex(pubkey)
    row = db.execute("SELECT blobs, bytes FROM usage WHERE pubkey = ?", (key,)).fetchone()
    return Usage(*row) if row else Usage(0, 0)


def owners(db: sqlite3.Connection) -> set[str]:
    """Return the public keys that own blobs."""
    return {key.hex() for (key,) in db.execute("SELECT pubkey FROM usage WHERE pubkey <> x''")}


# --- owners off the list ---


def removed(db: sqlite3.Connection) -> set[str]:
    """Return the owners that are known to be off the list."""
    return {key.hex() for (key,) in db.execute("SELECT pubkey FROM removed")}


def removed_since(db: sqlite3.Connection, pubkey: str) -> int | None:
    """Return since when *pubkey* is known to be an owner off the list, or None."""
    row = db.execute("SELECT since FROM removed WHERE pubkey = ?", (bytes.fromhex(pubkey),)).fetchone()
    return None if row is None else int(row[0])


def note_removals(db: sqlite3.Connection, gone: Set[str], now: int) -> None:
    """Let *gone* be the owners off the list: from *now* on those that were not so before."""
    known = removed(db)
    new, back = gone - known, known - gone
    db.executemany("INSERT INTO removed VALUES (?, ?)", [(bytes.fromhex(key), now) for key in new])
    db.executemany("DELETE FROM removed WHERE pubkey = ?", [(bytes.fromhex(key),) for key in back])
