"""What there is, for the operator: `blossom list` and `blossom stat`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from powdo.servers.blossom.rows import Blob
from powdo.servers.blossom.tables import NEVER


class Kept(NamedTuple):
    """A blob, and the public keys of its owners."""

    blob: Blob
    owners: tuple[str, ...]


class Sum(NamedTuple):
    """So many blobs, of so many bytes in all; the oldest upload, and when the next one goes (or None)."""

    blobs: int
    bytes: int
    oldest: int | None
    expires: int | None


_SUM = f"count(*), coalesce(sum(b.size), 0), min(b.uploaded), min(nullif(b.expires, {NEVER}))"


def kept(db: sqlite3.Connection, pubkey: str | None) -> Iterator[Kept]:
    """Yield the blobs, or those of *pubkey*, in the order of their uploads."""
    rows = db.execute(
        "SELECT sha256, size, type, uploaded, expires, "
        "(SELECT group_concat(lower(hex(pubkey))) FROM owner WHERE sha256 = blob.sha256) FROM blob "
        "WHERE ?1 IS NULL OR sha256 IN (SELECT sha256 FROM owner WHERE pubkey = ?1) "
        "ORDER BY uploaded, sha256",
        (None if pubkey is None else bytes.fromhex(pubkey),),
    )
    for sha256, size, media_type, uploaded, expires, owners in rows:
        blob = Blob(sha256.hex(), size, media_type, uploaded, expires)
        yield Kept(blob, tuple(owners.split(",")) if owners else ())


def total(db: sqlite3.Connection) -> Sum:
    """Return the sum of all blobs."""
    return Sum(*db.execute(f"SELECT {_SUM} FROM blob b").fetchone())  # noqa: S608  # a text of ours


def by_type(db: sqlite3.Connection) -> list[tuple[str, Sum]]:
    """Return the sum of each type, the largest first."""
    rows = db.execute(f"SELECT type, {_SUM} FROM blob b GROUP BY type ORDER BY 3 DESC, 1")  # noqa: S608  # the same
    return [(row[0], Sum(*row[1:])) for row in rows]


def by_owner(db: sqlite3.Connection) -> list[tuple[str, Sum]]:
    """Return the sum of each owner, the largest first; what several own counts for each."""
    rows = db.execute(
        f"SELECT lower(hex(pubkey)), {_SUM} FROM owner JOIN blob b USING (sha256) "  # noqa: S608  # the same
        "GROUP BY pubkey ORDER BY 3 DESC, 1"
    )
    return [(row[0], Sum(*row[1:])) for row in rows]
