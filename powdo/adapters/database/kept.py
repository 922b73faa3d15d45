"""The bundles that are kept, each with the evidence that the database has of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from powdo.adapters.database.engine import Database, opened
from powdo.adapters.database.tables import bundle, fork, screenshot, withheld, worker
from powdo.errors import BadRecordError, UsageError
from powdo.worktime.manifest import parse_manifest

#: What may be the start of a sha256.
_START = re.compile(r"[0-9a-f]{1,64}", re.ASCII)
_HEX64 = 64
_SHOWN = 5
#: So many rows are in memory at once, each with its events and its manifest.
_BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One row of the bundles; events, link and manifest are the texts that came in."""

    id: int
    worker_id: int
    worker: str
    wrap: str
    rumor: str
    pubkey: str
    device: str
    sequence: int
    begin_us: int
    end_us: int
    timezone: str
    sha256: str
    ox: str
    size: int
    root: str
    previous: str | None
    link: str
    link_event: str | None
    manifest: str
    screenshots: int
    bucket_events: int
    wrap_event: str
    seal_event: str
    rumor_event: str
    ingested_at: int
    statement: str | None
    blob_removed_at: int | None
    screenshots_removed_at: int | None


class Picture(NamedTuple):
    """One row of the screenshots."""

    file: str
    time_us: int
    monitor: int
    width: int
    height: int
    sha256: str
    size: int


class StoredLink(NamedTuple):
    """A link as it was told: of a bundle, or *withheld*, which has none here."""

    device: str
    sequence: int
    link: str
    event: str | None
    withheld: bool


class Keeping:
    """The bundles, to be looked at one by one."""

    def __init__(self, database: str | Database) -> None:
        self._database = opened(database)

    def bundle(self, name: str) -> Kept:
        """Return the bundle of the capture *name*, of that rumor or wrap, or whose sha256 begins with it.

        Raises: UsageError when there is none, or more than one.
        """
        with self._database.read() as connection:
            found = _by_id(connection, name) or _by_start(connection, name)
        if not found:
            raise UsageError(
                f"no bundle is called '{name}'",
                hint="give the id of its capture, rumor or wrap, or the start of its sha256",
            )
        if len(found) > 1:
            which = " ".join(item.sha256 for item in found[:_SHOWN])
            raise UsageError(f"'{name}' means more than one bundle: {which}", hint="give more of a sha256")
        return found[0]

    def kept(
        self, worker: int, begin: int | None = None, end: int | None = None
    ) -> Iterator[list[tuple[Kept, list[Picture]]]]:
        """Yield the bundles of *worker* between *begin* and *end* in batches, by device and sequence."""
        after: tuple[str, int] = ("", -1)
        while True:
            with self._database.read() as connection:
                place = sa.tuple_(bundle.c.device, bundle.c.sequence) > sa.tuple_(*map(sa.literal, after))
                query = _KEPT.where(*_period(worker, begin, end), place)
                query = query.order_by(bundle.c.device, bundle.c.sequence).limit(_BATCH)
                rows = [_kept(row) for row in connection.execute(query)]
                pictures = _pictures(connection, [row.id for row in rows])
            if not rows:
                return
            yield [(row, pictures.get(row.id, [])) for row in rows]
            after = (rows[-1].device, rows[-1].sequence)

    def count_kept(self, worker: int, begin: int | None = None, end: int | None = None) -> int:
        """Return how many bundles `kept` yields."""
        query = sa.select(sa.func.count()).select_from(bundle).where(*_period(worker, begin, end))
        with self._database.read() as connection:
            return connection.execute(query).scalar_one()

    def links(self, worker: int) -> list[StoredLink]:
        """Return all links of *worker*, by device and sequence.

        Those of withheld captures are among them, and those that were refused because their place was taken.
        """
        with self._database.read() as connection:
            found = [
                StoredLink(*row, withheld=table is not bundle)
                for table in (bundle, withheld, fork)
                for row in connection.execute(
                    sa.select(table.c.device, table.c.sequence, table.c.link, table.c.link_event).where(
                        table.c.worker_id == worker
                    )
                )
            ]
        return sorted(found, key=lambda link: link[:3])


_KEPT: sa.Select[Any] = sa.select(
    *(bundle.c[name] for name in Kept.__slots__ if name != "worker"), worker.c.name.label("worker")
).join_from(bundle, worker)


def _by_id(connection: sa.Connection, name: str) -> list[Kept]:
    if len(name) == _HEX64:
        return _rows(connection, (bundle.c.rumor == name) | (bundle.c.wrap == name))
    # Buckets have ids too; what a manifest's own is shows when it is read.
    like = connection.execute(_KEPT.where(bundle.c.manifest.contains(f'"id":"{name}"', autoescape=True)))
    return [item for item in map(_kept, like) if _capture(item) == name]


def _by_start(connection: sa.Connection, name: str) -> list[Kept]:
    if _START.fullmatch(name) is None:
        return []
    return _rows(connection, (bundle.c.sha256 >= name) & (bundle.c.sha256 < f"{name}~"))


def _rows(connection: sa.Connection, where: sa.ColumnElement[bool]) -> list[Kept]:
    rows = connection.execute(_KEPT.where(where).order_by(bundle.c.id).limit(_SHOWN + 1))
    return [_kept(row) for row in rows]


def _kept(row: sa.Row[Any]) -> Kept:
    return Kept(**row._mapping)


def _period(worker_id: int, begin: int | None, end: int | None) -> list[sa.ColumnElement[bool]]:
    where = [bundle.c.worker_id == worker_id]
    if begin is not None:
        where.append(bundle.c.end_us >= begin)
    if end is not None:
        where.append(bundle.c.begin_us < end)
    return where


def _pictures(connection: sa.Connection, numbers: list[int]) -> dict[int, list[Picture]]:
    query = sa.select(screenshot.c.bundle_id, *(screenshot.c[name] for name in Picture._fields))
    found: dict[int, list[Picture]] = {}
    for row in connection.execute(query.where(screenshot.c.bundle_id.in_(numbers))):
        found.setdefault(row[0], []).append(Picture(*row[1:]))
    return found


def _capture(item: Kept) -> str | None:
    try:
        return parse_manifest(item.manifest.encode()).id
    except BadRecordError:  # what is stored was sound once
        return None


class Named(NamedTuple):
    """How one bundle can be called: its blob's sha256, whose it is, and when it begins (microseconds)."""

    sha256: str
    worker: str
    begin_us: int


def youngest(database: str | Database, count: int) -> list[Named]:
    """Return the names of the *count* bundles that were stored last, the latest first."""
    query = sa.select(bundle.c.sha256, worker.c.name, bundle.c.begin_us).join_from(bundle, worker)
    with opened(database).read() as connection:
        return [Named(*row) for row in connection.execute(query.order_by(bundle.c.id.desc()).limit(count))]
