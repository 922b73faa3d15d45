"""The rows of blobs and owners: what one change does to them, within a transaction of the caller's.

Rules:
- a blob goes when the last of its owners lets it go: its `expires` is the latest of theirs;
- from that moment on there is no such blob, whether its row has been removed yet or not;
- an upload never brings an owner's end nearer; to have a blob gone sooner, its owner deletes it.
"""

from __future__ import annotations

import enum
import sqlite3
from dataclasses import dataclass
from typing import NamedTuple

from powdo.servers.blossom.retention import Retention
from powdo.servers.blossom.tables import NEVER
from powdo.servers.blossom.usage import Usage


@dataclass(frozen=True, slots=True)
class Blob:
    """One blob's row."""

    sha256: str
    size: int
    type: str
    uploaded: int
    expires: int = NEVER


class Dropped(enum.Enum):
    """What became of a wish to delete a blob."""

    MISSING = "no such blob"
    FOREIGN = "the blob belongs to another key"
    SPENT = "the token has deleted this blob before"
    SHARED = "another owner keeps the blob"
    GONE = "nobody owns the blob any more"


def find(db: sqlite3.Connection, sha256: str) -> Blob | None:
    """Return the row of a blob, also of one whose time is over, or None."""
    row = db.execute(
        "SELECT size, type, uploaded, expires FROM blob WHERE sha256 = ?", (bytes.fromhex(sha256),)
    ).fetchone()
    return Blob(sha256, *row) if row else None


def add(db: sqlite3.Connection, blob: Blob, pubkey: str, *, wish: int, retention: Retention) -> Blob | None:
    """Make *pubkey* an owner of *blob*, who wants it no longer than until *wish*.

    Returns the row that was there before, or None for a new one.
    """
    key, owner, now = bytes.fromhex(blob.sha256), bytes.fromhex(pubkey), blob.uploaded
    expires = retention.expires(blob.type, pubkey, now, wish)
    if _insert(db, key, blob, expires):  # tried first: nearly every blob is new
        before = None
    elif (before := find(db, blob.sha256)) is not None and before.expires > now:
        expires = retention.expires(before.type, pubkey, now, wish)
    else:
        remove(db, key)
        _insert(db, key, blob, expires)
        before = None
    db.execute(
        "INSERT INTO owner (pubkey, sha256, uploaded, wish, expires) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (pubkey, sha256) DO UPDATE SET uploaded = excluded.uploaded, wish = excluded.wish, "
        "expires = excluded.expires WHERE excluded.expires >= owner.expires",
        (owner, key, now, wish, expires),
    )
    if before is not None and expires > before.expires:
        db.execute("UPDATE blob SET expires = ? WHERE sha256 = ?", (expires, key))
    return before


def _insert(db: sqlite3.Connection, key: bytes, blob: Blob, expires: int) -> bool:
    """Insert the row of *blob* unless there is one; return whether there was none."""
    cursor = db.execute(
        "INSERT INTO blob (sha256, size, type, uploaded, expires) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (sha256) DO NOTHING",
        (key, blob.size, blob.type, blob.uploaded, expires),
    )
    return cursor.rowcount == 1


def drop(db: sqlite3.Connection, sha256: str, pubkey: str, *, token: str, expires: int, now: int) -> Dropped:
    """Take *pubkey* off the owners of a blob, once a *token*; the row goes with its last owner."""
    key = bytes.fromhex(sha256)
    blob = find(db, sha256)
    if blob is None or blob.expires <= now:
        return Dropped.MISSING
    db.execute("DELETE FROM spent WHERE expires < ?", (now,))
    mine = (bytes.fromhex(pubkey), key)
    row = db.execute("SELECT expires FROM owner WHERE pubkey = ? AND sha256 = ?", mine).fetchone()
    if row is None or row[0] <= now:
        return Dropped.FOREIGN
    use = (bytes.fromhex(token), key)
    if db.execute("SELECT 1 FROM spent WHERE token = ? AND sha256 = ?", use).fetchone():
        return Dropped.SPENT
    db.execute("INSERT INTO spent VALUES (?, ?, ?)", (*use, expires))
    db.execute("DELETE FROM owner WHERE pubkey = ? AND sha256 = ?", mine)
    (latest,) = db.execute("SELECT max(expires) FROM owner WHERE sha256 = ?", (key,)).fetchone()
    if latest is None or latest <= now:
        remove(db, key)
        return Dropped.GONE
    db.execute("UPDATE blob SET expires = ? WHERE sha256 = ?", (latest, key))
    return Dropped.SHARED


def remove(db: sqlite3.Connection, key: bytes) -> None:
    """Delete the row of a blob and those of its owners."""
    db.execute("DELETE FROM owner WHERE sha256 = ?", (key,))
    db.execute("DELETE FROM blob WHERE sha256 = ?", (key,))


class Standing(NamedTuple):
    """Whether a blob is there, whether a key owns it, and what that key owns in all."""

    there: bool
    owned: bool
    used: Usage


def standing(db: sqlite3.Connection, pubkey: str, sha256: str | None, now: int) -> Standing:
    """Return how *pubkey* stands to a blob, at once: every statement is a read transaction of its own."""
    there, owned, blobs, size = db.execute(
        "SELECT EXISTS (SELECT 1 FROM blob WHERE sha256 = ?2 AND expires > ?3), "
        "EXISTS (SELECT 1 FROM owner WHERE pubkey = ?1 AND sha256 = ?2 AND expires > ?3), blobs, bytes "
        "FROM (SELECT ?1 AS pubkey) LEFT JOIN usage USING (pubkey)",
        (bytes.fromhex(pubkey), None if sha256 is None else bytes.fromhex(sha256), now),
    ).fetchone()
    return Standing(bool(there), bool(owned), Usage(blobs or 0, size or 0))


def owned(
    db: sqlite3.Connection, pubkey: str, *, after: str | None, limit: int, now: int
) -> list[Blob] | None:
    """Return the blobs of *pubkey*, youngest first, past the blob *after*; None if that is not theirs."""
    owner, uploaded, last = bytes.fromhex(pubkey), NEVER, b""
    if after is not None:
        last = bytes.fromhex(after)
        row = db.execute(
            "SELECT uploaded FROM owner WHERE pubkey = ? AND sha256 = ?", (owner, last)
        ).fetchone()
        if row is None:
            return None
        uploaded = row[0]
    rows = db.execute(
        "SELECT b.sha256, b.size, b.type, o.uploaded, b.expires FROM owner o JOIN blob b USING (sha256) "
        "WHERE o.pubkey = ?1 AND (o.uploaded < ?2 OR (o.uploaded = ?2 AND o.sha256 > ?3)) "
        "AND o.expires > ?4 ORDER BY o.uploaded DESC, o.sha256 LIMIT ?5",
        (owner, uploaded, last, now, limit),
    ).fetchall()
    return [Blob(row[0].hex(), *row[1:]) for row in rows]


def resize(db: sqlite3.Connection, sha256: str, size: int) -> None:
    """Say anew how many bytes a blob has; its rows are made again, since sums count how they come and go."""
    key = bytes.fromhex(sha256)
    blob = db.execute("SELECT type, uploaded, expires FROM blob WHERE sha256 = ?", (key,)).fetchone()
    owners = db.execute(
        "SELECT pubkey, sha256, uploaded, wish, expires FROM owner WHERE sha256 = ?", (key,)
    ).fetchall()
    remove(db, key)
    db.execute(
        "INSERT INTO blob (sha256, size, type, uploaded, expires) VALUES (?, ?, ?, ?, ?)", (key, size, *blob)
    )
    db.executemany(
        "INSERT INTO owner (pubkey, sha256, uploaded, wish, expires) VALUES (?, ?, ?, ?, ?)", owners
    )


# --- the end of blobs ---


def over(db: sqlite3.Connection, now: int, after: tuple[int, str], most: int) -> list[Blob]:
    """Return up to *most* blobs whose time is over, in the order of (expires, sha256), past *after*."""
    rows = db.execute(
        "SELECT sha256, size, type, uploaded, expires FROM blob WHERE expires <= ?1 "
        "AND (expires, sha256) > (?2, ?3) ORDER BY expires, sha256 LIMIT ?4",
        (now, after[0], bytes.fromhex(after[1]), most),
    ).fetchall()
    return [Blob(row[0].hex(), *row[1:]) for row in rows]


def remove_over(db: sqlite3.Connection, sha256: str, now: int) -> bool:
    """Delete the rows of a blob if its time is over; return whether it was."""
    blob = find(db, sha256)
    if blob is None or blob.expires > now:
        return False
    remove(db, bytes.fromhex(sha256))
    return True


def remove_owners(db: sqlite3.Connection, now: int, most: int) -> int:
    """Take up to *most* owners off blobs that others keep longer; return how many."""
    return db.execute(
        "DELETE FROM owner WHERE (pubkey, sha256) IN "
        "(SELECT pubkey, sha256 FROM owner WHERE expires <= ? LIMIT ?)",
        (now, most),
    ).rowcount


def reschedule(db: sqlite3.Connection, retention: Retention) -> bool:
    """Let *retention* hold for what is kept already; return whether that changes anything."""
    rules = retention.to_json()
    if db.execute("SELECT rules FROM retention").fetchone() == (rules,):
        return False
    kinds = db.execute("SELECT DISTINCT o.pubkey, b.type FROM owner o JOIN blob b USING (sha256)").fetchall()
    for pubkey, media_type in kinds:
        db.execute(
            "UPDATE owner SET expires = min(wish, uploaded + ?) "
            "WHERE pubkey = ? AND (SELECT type FROM blob WHERE sha256 = owner.sha256) = ?",
            (retention.keep(media_type, pubkey.hex()), pubkey, media_type),
        )
    db.execute(
        "UPDATE blob SET expires = (SELECT max(expires) FROM owner WHERE sha256 = blob.sha256) "
        "WHERE EXISTS (SELECT 1 FROM owner WHERE sha256 = blob.sha256)"
    )
    db.execute("UPDATE retention SET rules = ?", (rules,))
    return bool(kinds)
