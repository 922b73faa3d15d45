"""The relay's file read by another process, while the relay runs or not."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from powdo.errors import ConfigurationError, InputMissingError, OutputError
from powdo.nips.kinds import GIFT_WRAP
from powdo.servers.relay.tables import ALL, VERSION, strangers

_BUSY = 10.0

#: Each is read from an index alone.
_WRAPS = "SELECT recipient, count(*) FROM event WHERE recipient IS NOT NULL GROUP BY recipient"
_OTHERS = "SELECT kind, count(*) FROM event WHERE recipient IS NULL GROUP BY kind"
_NUMBERS = (
    "SELECT count(*) FROM event WHERE expires IS NOT NULL",
    "SELECT max(received_at) FROM (SELECT received_at FROM event ORDER BY seq LIMIT 1)",
    "SELECT max(received_at) FROM (SELECT received_at FROM event ORDER BY seq DESC LIMIT 1)",
    "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size",
)


@contextmanager
def opened(file: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """Yield a connection to the events in *file*; *mode* is that of SQLite's addresses.

    Raises: InputMissingError, ConfigurationError, OutputError.
    """
    if not file.is_file():
        raise InputMissingError(
            f"no events in '{file.parent}'", hint="name the relay's folder with --data, or in [relay]"
        )
    try:
        db = sqlite3.connect(
            f"{file.absolute().as_uri()}?{mode}",
            uri=True,
            timeout=_BUSY,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            _check_version(db, file)
            yield db
        finally:
            db.close()
    except sqlite3.Error as error:
        raise OutputError(f"cannot read '{file}': {error}") from None


def _check_version(db: sqlite3.Connection, file: Path) -> None:
    ((version,),) = db.execute("PRAGMA user_version")
    if version > VERSION:
        raise ConfigurationError("the events were kept by a newer powdo", hint="use that one")
    if version < VERSION:
        raise ConfigurationError(
            f"'{file}' is that of an older powdo", hint="start the relay once, which brings it up to date"
        )


def wal(file: Path) -> Path:
    """Return the path of the write-ahead log; it is there while *file* is open, and after a crash."""
    return file.with_name(f"{file.name}-wal")


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is stored; times are unix seconds, sizes bytes. *top* are those with the most gift wraps (hex)."""

    kinds: tuple[tuple[int, int], ...]
    recipients: int
    top: tuple[tuple[str, int], ...]
    by_work: int
    expiring: int
    oldest: int | None
    newest: int | None
    database: int
    log: int
    free: int


def read_statistics(file: Path, most: int) -> Statistics:
    """Return what is in *file* at this moment, with *most* of its recipients.

    Nothing is written: without a log nobody has the file open, and it is read as it lies there. Otherwise
    the log and its index are there already. The relay goes on writing meanwhile.

    Raises: as `opened`.
    """
    log = wal(file)
    with opened(file, "mode=ro" if log.exists() else "immutable=1") as db:
        db.execute("BEGIN")
        wraps = dict(db.execute(_WRAPS))
        kinds = Counter(dict(db.execute(_OTHERS)))
        kinds[GIFT_WRAP] += sum(wraps.values())
        top = sorted(wraps.items(), key=lambda item: (-item[1], item[0]))[:most]
        expiring, oldest, newest, free = (db.execute(sql).fetchone()[0] for sql in _NUMBERS)
        return Statistics(
            kinds=tuple(sorted((+kinds).items())),
            recipients=len(wraps),
            top=tuple((recipient.hex(), count) for recipient, count in top),
            by_work=strangers(db, ALL)[1],
            expiring=expiring,
            oldest=oldest,
            newest=newest,
            database=file.stat().st_size,
            log=log.stat().st_size if log.exists() else 0,
            free=free,
        )
