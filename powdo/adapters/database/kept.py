"""The bundles that are kept, each with the evidence that the database has of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from powdo.adapters.database.engine import Database, opened
from powdo.adapters.database.tables import bundle, worker
from powdo.errors import BadRecordError, UsageError
from powdo.worktime.manifest import parse_manifest

#: What may be the start of a sha256.
_START = re.compile(r"[0-9a-f]{1,64}", re.ASCII)
_HEX64 = 64
_SHOWN = 5


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


def _capture(item: Kept) -> str | None:
    try:
        return parse_manifest(item.manifest.encode()).id
    except BadRecordError:  # what is stored was sound once
        return None
