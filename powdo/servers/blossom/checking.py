"""`blossom fsck`: whether rows and files are what they should be, and what to do where they are not.

Rules:
- a server may run meanwhile: what looks wrong is looked at again while its note is held, and what somebody
  else is changing is left alone;
- nothing that may be somebody's blob is deleted: damaged files, and files that no row knows, are put aside.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from powdo.errors import BusyError
from powdo.servers.blossom import rows, tables
from powdo.servers.blossom.alone import alone
from powdo.servers.blossom.rows import Blob
from powdo.servers.blossom.storage import Folder, Storage

_CHUNK = 1 << 20
_PAGE = 1000

Advance = Callable[[int], None]


class Finding(NamedTuple):
    """One thing that is wrong.

    *problem* is `database`, `missing`, `damaged`, `size`, `unreadable` (a row's file), `unknown` (a file
    without a row) or `stray` (what an upload that was cut off has left).
    """

    problem: str
    sha256: str | None
    detail: str
    repaired: bool = False


def check(db: sqlite3.Connection, folder: Folder, advance: Advance) -> Iterator[Finding]:
    """Yield what is wrong; *advance* counts the bytes that were read. Raises: OSError, sqlite3.Error."""
    yield from _database(db)
    for blob in _all(db):
        if _look(folder, blob, advance) is not None and (found := _confirmed(db, folder, blob.sha256)):
            yield found
    for sha256 in folder.names():
        if rows.find(db, sha256) is None and (found := _confirmed(db, folder, sha256)):
            yield found
    yield from _strays(folder)


def repair(db: sqlite3.Connection, folder: Folder, finding: Finding) -> Finding:
    """Return *finding*, put right if it can be. Raises: OSError, sqlite3.Error."""
    if finding.problem == "stray":
        with suppress(BusyError), alone(folder.directory):
            (folder.directory / finding.detail).unlink(missing_ok=True)
            return finding._replace(repaired=True)
    if finding.sha256 is not None:
        with suppress(BusyError), folder.changing(finding.sha256):
            return finding._replace(repaired=_mend(db, folder, finding.sha256))
    return finding


def _mend(db: sqlite3.Connection, storage: Storage, sha256: str) -> bool:
    """Put right what is wrong with a blob that nobody else changes; return whether nothing is now."""
    found = _seen(db, storage, sha256)
    problem = None if found is None else found.problem
    if problem == "unreadable":
        return False
    if problem == "size":
        with tables.transaction(db):
            rows.resize(db, sha256, storage.size(sha256) or 0)
    elif problem in ("missing", "damaged"):
        with tables.transaction(db):
            rows.remove(db, bytes.fromhex(sha256))
    if problem in ("damaged", "unknown"):
        storage.set_aside(sha256)
    return True


def _database(db: sqlite3.Connection) -> Iterator[Finding]:
    for (text,) in db.execute("PRAGMA integrity_check"):
        if text != "ok":
            yield Finding("database", None, text)
    for table, *_ in db.execute("PRAGMA foreign_key_check"):
        yield Finding("database", None, f"a row of '{table}' is of no blob")


def _all(db: sqlite3.Connection) -> Iterator[Blob]:
    """Yield all rows in pages, so that no long read keeps the log of a busy server from shrinking."""
    last = b""
    while page := db.execute(
        "SELECT sha256, size, type, uploaded, expires FROM blob WHERE sha256 > ? ORDER BY sha256 LIMIT ?",
        (last, _PAGE),
    ).fetchall():
        for row in page:
            yield Blob(row[0].hex(), *row[1:])
        last = page[-1][0]


def _look(storage: Storage, blob: Blob, advance: Advance) -> Finding | None:
    """Return what is wrong with the file of a row, or None."""
    try:
        file = storage.open(blob.sha256)
        if file is None:
            return Finding("missing", blob.sha256, "the row has no file")
        digest, size = hashlib.sha256(), 0
        with file:
            while data := file.read(_CHUNK):
                digest.update(data)
                size += len(data)
                advance(len(data))
    except OSError as error:
        return Finding("unreadable", blob.sha256, str(error.strerror))
    if digest.hexdigest() != blob.sha256:
        return Finding("damaged", blob.sha256, f"{size} bytes have the sha256 {digest.hexdigest()}")
    if size != blob.size:
        return Finding("size", blob.sha256, f"{size} bytes, where the row says {blob.size}")
    return None


def _confirmed(db: sqlite3.Connection, storage: Storage, sha256: str) -> Finding | None:
    """Return what is wrong with a blob that looked wrong, unless somebody changes it."""
    with suppress(BusyError), storage.changing(sha256):
        return _seen(db, storage, sha256)
    return None


def _seen(db: sqlite3.Connection, storage: Storage, sha256: str) -> Finding | None:
    blob = rows.find(db, sha256)
    if blob is not None:
        return _look(storage, blob, lambda _: None)
    size = storage.size(sha256)
    return None if size is None else Finding("unknown", sha256, f"{size} bytes have no row")


def _strays(folder: Folder) -> Iterator[Finding]:
    """Yield what is in `incoming/`; while a server runs, uploads are, and nothing is yielded."""
    found: list[Finding] = []
    with suppress(BusyError), alone(folder.directory):
        found = [Finding("stray", None, str(path.relative_to(folder.directory))) for path in folder.cut_off()]
    yield from found
