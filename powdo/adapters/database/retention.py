"""What is kept for how long, and what is erased: marks first, files by somebody else, rows last.

Rules:
- a row says that a file was removed before it is, so that no row ever promises what is not there;
- erasing can be stopped anywhere and asked for again: the worker's own row goes last;
- of who was erased a tombstone stays, which tells nobody who that was.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import sqlalchemy as sa

from powdo.adapters.database.engine import Database, opened
from powdo.adapters.database.tables import (
    bucket,
    bucket_event,
    bundle,
    metadata,
    screenshot,
    timesheet_sent,
    tombstone,
    worker,
    worker_key,
)
from powdo.adapters.database.workers import buried

What = Literal["blob", "screenshots"]

#: So many bundles lose a file in one transaction, and so many bucket events their row.
_BATCH, _EVENTS = 500, 20_000
#: A statement has a limit on its values, and one bundle may bring 2000 files.
_MANY = 5000


class Expired(NamedTuple):
    """One bundle whose blob, or whose screenshots, are kept no longer: the sha256 of these files."""

    id: int
    worker: str
    device: str
    sequence: int
    begin_us: int
    ingested_at: int
    files: tuple[str, ...]


class Traces(NamedTuple):
    """What is stored of one worker, in numbers."""

    bundles: int
    screenshots: int
    timesheets: int


class Retention:
    """Marks and rows of what goes."""

    def __init__(self, database: str | Database) -> None:
        self._database = opened(database)

    # --- by age ---

    def expired(self, what: What, before: int) -> Iterator[list[Expired]]:
        """Yield the bundles taken in before the unix time *before* that still have their *what*."""
        after = (-1, -1)
        while batch := self._expired(what, before, after):
            yield batch
            after = (batch[-1].ingested_at, batch[-1].id)

    def _expired(self, what: What, before: int, after: tuple[int, int]) -> list[Expired]:
        place = sa.tuple_(bundle.c.ingested_at, bundle.c.id)
        query = (
            sa.select(bundle, worker.c.name)
            .join_from(bundle, worker)
            .where(bundle.c[f"{what}_removed_at"].is_(None), bundle.c.ingested_at < before)
            .where(place > sa.tuple_(*map(sa.literal, after)))
            .order_by(bundle.c.ingested_at, bundle.c.id)
            .limit(_BATCH)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            files = _files(connection, what, [row.id for row in rows])
        return [
            Expired(
                row.id,
                row.name,
                row.device,
                row.sequence,
                row.begin_us,
                row.ingested_at,
                files.get(row.id, ()),
            )
            for row in rows
        ]

    def mark_removed(self, what: What, bundles: Collection[int]) -> None:
        """Note that the *what* of *bundles* is kept no longer."""
        with self._database.write() as connection:
            connection.execute(
                bundle.update()
                .where(bundle.c.id.in_(bundles))
                .values({f"{what}_removed_at": int(time.time())})
            )

    def needed(self, files: Collection[str]) -> set[str]:
        """Return those of *files* (sha256) that a row says are there."""
        names = list(files)
        with self._database.read() as connection:
            batches = [names[at : at + _MANY] for at in range(0, len(names), _MANY)]
            return {name for batch in batches for name in _needed(connection, batch)}

    # --- by wish ---

    def traces(self, number: int) -> Traces:
        """Return what is stored of the worker with that *number*."""
        with self._database.read() as connection:
            return Traces(
                *(
                    connection.execute(
                        sa.select(sa.func.count()).select_from(table).where(table.c.worker_id == number)
                    ).scalar_one()
                    for table in (bundle, screenshot, timesheet_sent)
                )
            )

    def begin_erasing(self, number: int) -> None:
        """Take nothing of the worker any more: neither now nor once somebody enrolls them again."""
        now = int(time.time())
        with self._database.write() as connection:
            connection.execute(worker.update().where(worker.c.id == number).values(disabled=True))
            keys = sa.select(worker_key.c.pubkey).where(
                worker_key.c.worker_id == number, worker_key.c.role == "identity"
            )
            for pubkey in connection.scalars(keys).all():
                insert = self._database.insert(tombstone).values(author=buried(pubkey), erased_at=now)
                connection.execute(
                    insert.on_conflict_do_update(index_elements=["author"], set_={"erased_at": now})
                )

    def doomed(self, number: int) -> Iterator[set[str]]:
        """Yield the files of the worker in batches; by then no row promises them."""
        after = -1
        while True:
            query = sa.select(bundle.c.id).where(bundle.c.worker_id == number, bundle.c.id > after)
            with self._database.read() as connection:
                rows = connection.scalars(query.order_by(bundle.c.id).limit(_BATCH)).all()
                files = [_files(connection, what, rows) for what in ("blob", "screenshots")]
            if not rows:
                return
            self.mark_removed("blob", rows)
            self.mark_removed("screenshots", rows)
            yield {name for found in files for names in found.values() for name in names}
            after = rows[-1]

    def finish_erasing(self, number: int) -> bool:
        """Delete every row of the worker, overwritten where that can be; false if there is news of them.

        A run that had begun to take something of theirs in may have ended since their files went.
        """
        with self._database.read() as connection:
            buckets = connection.scalars(sa.select(bucket.c.id).where(bucket.c.worker_id == number)).all()
        for each in buckets:
            while self._erase_events(each):
                pass
        with self._overwriting() as connection:
            connection.execute(sa.select(worker.c.id).where(worker.c.id == number).with_for_update())
            news = sa.select(bundle.c.id).where(
                bundle.c.worker_id == number, bundle.c.blob_removed_at.is_(None)
            )
            if connection.execute(news.limit(1)).first() is not None:
                return False
            numbers = sa.select(bucket.c.id).where(bucket.c.worker_id == number)
            connection.execute(bucket_event.delete().where(bucket_event.c.bucket_id.in_(numbers)))
            for table in reversed(metadata.sorted_tables):
                if "worker_id" in table.c:
                    connection.execute(table.delete().where(table.c.worker_id == number))
            connection.execute(worker.delete().where(worker.c.id == number))
        self._database.scrub()
        return True

    def _erase_events(self, number: int) -> bool:
        """Delete the first bucket events of a bucket; return whether there may be more."""
        own = bucket_event.c.bucket_id == number
        with self._overwriting() as connection:
            nth = sa.select(bucket_event.c.begin_us).where(own).order_by(bucket_event.c.begin_us)
            end = connection.execute(nth.offset(_EVENTS).limit(1)).scalar()
            if end is None:
                connection.execute(bucket_event.delete().where(own))
                return False
            done = connection.execute(bucket_event.delete().where(own, bucket_event.c.begin_us < end))
            if done.rowcount == 0:  # so many at one moment
                connection.execute(bucket_event.delete().where(own, bucket_event.c.begin_us == end))
        return True

    @contextmanager
    def _overwriting(self) -> Iterator[sa.Connection]:
        with self._database.write() as connection:
            if self._database.sqlite:
                connection.exec_driver_sql("PRAGMA secure_delete=ON")
            yield connection


def _needed(connection: sa.Connection, files: Collection[str]) -> Iterator[str]:
    """Yield those of *files*, not too many, that a row says are there."""
    yield from connection.scalars(
        sa.select(bundle.c.sha256).where(bundle.c.sha256.in_(files), bundle.c.blob_removed_at.is_(None))
    )
    yield from connection.scalars(
        sa.select(screenshot.c.sha256)
        .join_from(screenshot, bundle)
        .where(screenshot.c.sha256.in_(files), bundle.c.screenshots_removed_at.is_(None))
    )


def _files(connection: sa.Connection, what: What, bundles: Collection[int]) -> dict[int, tuple[str, ...]]:
    """Return the sha256 of the files that are the *what* of each of *bundles*."""
    if what == "blob":
        query = sa.select(bundle.c.id, bundle.c.sha256).where(bundle.c.id.in_(bundles))
    else:
        query = sa.select(screenshot.c.bundle_id, screenshot.c.sha256).where(
            screenshot.c.bundle_id.in_(bundles)
        )
    found: dict[int, tuple[str, ...]] = {}
    for number, name in connection.execute(query):
        found[number] = (*found.get(number, ()), name)
    return found
