"""Bucket events, read back for a period, and the marks of what has changed since timesheets were made.

A bucket remembers its longest bucket event, so a period is read with one range of the primary key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from powdo.adapters.database.engine import Database, opened
from powdo.adapters.database.tables import bucket, bucket_event, bundle, dirty
from powdo.worktime.flood import Bucket, BucketEvent, Needed, bucket_event_of


class Activity:
    """The bucket events of all workers."""

    def __init__(self, database: str | Database) -> None:
        self._database = opened(database)

    def bucket_events(self, worker: int, begin: int, end: int, needed: Needed | None = None) -> list[Bucket]:
        """Return the buckets of *worker* with what they hold between *begin* and *end*, in microseconds.

        Only those of the kinds that are *needed*, if that is given.
        """
        with self._database.read() as connection:
            buckets = connection.execute(
                sa.select(bucket).where(bucket.c.worker_id == worker).order_by(bucket.c.id)
            ).all()
            kinds = [row.type for row in buckets]
            wanted = kinds if needed is None else needed(kinds)
            return [
                Bucket(
                    id=row.bucket,
                    type=row.type,
                    client=row.client,
                    hostname=row.hostname,
                    events=_events(connection, row, begin, end),
                    device=row.device_id,
                )
                for row in buckets
                if row.type in wanted
            ]

    def period(self, worker: int) -> tuple[int, int] | None:
        """Return when the first and the last bundle of *worker* begin and end, or None without any."""
        # Each by itself is one step in an index; asked for together, both databases read all bundles.
        ends = (sa.func.min(bundle.c.begin_us), sa.func.max(bundle.c.end_us))
        query = sa.select(
            *(sa.select(end).where(bundle.c.worker_id == worker).scalar_subquery() for end in ends)
        )
        with self._database.read() as connection:
            begin, end = connection.execute(query).one()
        return None if begin is None else (begin, end)

    def zones(self, worker: int) -> list[str]:
        """Return the time zones named by the bundles of *worker*, the latest first; only those that exist."""
        # From one to the next: a few steps in an index, of which GROUP BY would read a row for each bundle.
        own = bundle.c.worker_id == worker
        latest: dict[str, int] = {}
        with self._database.read() as connection:

            def next_zone(after: str) -> str | None:
                query = sa.select(sa.func.min(bundle.c.timezone)).where(own, bundle.c.timezone > after)
                found: str | None = connection.execute(query).scalar()
                return found

            name = next_zone("")
            while name is not None:
                newest = sa.select(sa.func.max(bundle.c.begin_us)).where(own, bundle.c.timezone == name)
                latest[name] = connection.execute(newest).scalar_one()
                name = next_zone(name)
        return [name for name in sorted(latest, key=latest.__getitem__, reverse=True) if _is_zone(name)]

    def dirty(self, worker: int) -> list[tuple[int, int, int]]:
        """Return the periods of *worker* in which something is new, as (begin, end, row)."""
        query = sa.select(dirty).where(dirty.c.worker_id == worker).order_by(dirty.c.begin_us)
        with self._database.read() as connection:
            return [(row.begin_us, row.end_us, row.id) for row in connection.execute(query)]

    def clean(self, rows: Iterable[int]) -> None:
        """Forget the marks *rows* of `dirty`; what came in since keeps its own."""
        numbers = sorted(rows)
        with self._database.write() as connection:
            for at in range(0, len(numbers), 500):  # SQLite has a limit on the values of one statement
                connection.execute(dirty.delete().where(dirty.c.id.in_(numbers[at : at + 500])))


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return False
    return True


def _events(connection: sa.Connection, row: sa.Row[Any], begin: int, end: int) -> tuple[BucketEvent, ...]:
    events = bucket_event.c
    query = (
        sa.select(events.begin_us, events.end_us, events.data)
        .where(events.bucket_id == row.id, events.begin_us >= begin - row.longest_us)
        .where(events.begin_us < end, events.end_us >= begin)
        .order_by(events.begin_us)
    )
    rows = connection.execute(query).all()
    if not rows:
        return ()
    begins, ends, texts = zip(*rows, strict=True)
    # Windows come back with the same title again and again; and one long text is read faster than many.
    known = dict.fromkeys(texts)
    known = dict(zip(known, json.loads(f"[{','.join(known)}]"), strict=True))
    return tuple(map(bucket_event_of, zip(begins, ends, map(known.__getitem__, texts), strict=True)))
