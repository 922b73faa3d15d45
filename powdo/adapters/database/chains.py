"""The chain of links that each device of a worker has told, and what is wrong with it.

Rules:
- a place that neither a bundle nor a withheld link fills is missing, from number 1 to the last that came;
- a place that two links fill is forked; a withheld link alone is the worker's decision, and nothing is wrong;
- a device is a UUID: another one is another chain, with a beginning of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import sqlalchemy as sa

from powdo.adapters.database.engine import Database, opened
from powdo.adapters.database.tables import bundle, fork, withheld


class Chain(NamedTuple):
    """What is known of the links of one *device*; *begin_us* is the first one's, of those that came."""

    device: str
    first: int
    last: int
    bundles: int
    withheld: int
    begin_us: int
    missing: tuple[tuple[int, int], ...]
    forked: tuple[int, ...]


class Chains:
    """The chains of all workers."""

    def __init__(self, database: str | Database) -> None:
        self._database = opened(database)

    def chains(self, worker: int) -> list[Chain]:
        """Return the chain of each device of *worker*, the one that began first before the others."""
        with self._database.read() as connection:
            devices = connection.scalars(
                sa.select(bundle.c.device).where(bundle.c.worker_id == worker).distinct()
            ).all()
            found = [_chain(connection, worker, device) for device in devices]
        return sorted(found, key=lambda chain: (chain.begin_us, chain.device))

    def chain(self, worker: int, device: str) -> Chain:
        """Return the chain of *device*, of which *worker* has sent a bundle."""
        with self._database.read() as connection:
            return _chain(connection, worker, device)


def _chain(connection: sa.Connection, worker: int, device: str) -> Chain:
    counts = [_count(connection, table, worker, device) for table in (bundle, withheld)]
    sent, told = counts
    last = max(count.last for count in counts)
    missing: tuple[tuple[int, int], ...] = ()
    if sent.places + told.places != last or told.links != told.places:
        missing = tuple(_holes(_places(connection, worker, device)))
    first = min(count.first for count in counts if count.places)
    return Chain(
        device=device,
        first=first,
        last=last,
        bundles=sent.places,
        withheld=told.places,
        begin_us=_begin(connection, worker, device, first),
        missing=missing,
        forked=_forked(connection, worker, device),
    )


def _count(connection: sa.Connection, table: sa.Table, worker: int, device: str) -> Any:
    """Return how many links and places *table* has of a device, its first and last; from an index alone."""
    number = table.c.sequence
    query = sa.select(
        sa.func.count().label("links"),
        sa.func.count(number.distinct()).label("places"),
        sa.func.coalesce(sa.func.min(number), 0).label("first"),
        sa.func.coalesce(sa.func.max(number), 0).label("last"),
    )
    return connection.execute(query.where(*_of(table, worker, device))).one()


def _begin(connection: sa.Connection, worker: int, device: str, first: int) -> int:
    """Return when the link with the number *first* begins."""
    found = sa.union_all(
        *(
            sa.select(table.c.begin_us).where(*_of(table, worker, device), table.c.sequence == first)
            for table in (bundle, withheld)
        )
    )
    return int(min(connection.execute(found).scalars()))


def _of(table: sa.Table, worker: int, device: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (table.c.worker_id == worker, table.c.device == device)


def _places(connection: sa.Connection, worker: int, device: str) -> Iterable[int]:
    """Yield the numbers that are filled, in order."""
    filled = sa.union(
        *(sa.select(table.c.sequence).where(*_of(table, worker, device)) for table in (bundle, withheld))
    ).subquery()
    return connection.execute(sa.select(filled.c.sequence).order_by(filled.c.sequence)).scalars()


def _holes(places: Iterable[int]) -> Iterable[tuple[int, int]]:
    """Yield (first, last) of each run of numbers from 1 on that is not among the sorted *places*."""
    for before, after in pairwise([0, *places]):
        if after - before > 1:
            yield before + 1, after - 1


def _forked(connection: sa.Connection, worker: int, device: str) -> tuple[int, ...]:
    refused = sa.select(fork.c.sequence).where(*_of(fork, worker, device))
    twice = (
        sa.select(withheld.c.sequence)
        .where(*_of(withheld, worker, device))
        .group_by(withheld.c.sequence)
        .having(sa.func.count() > 1)
    )
    both = sa.select(bundle.c.sequence).where(
        *_of(bundle, worker, device),
        bundle.c.sequence.in_(sa.select(withheld.c.sequence).where(*_of(withheld, worker, device))),
    )
    return tuple(sorted(connection.execute(sa.union(refused, twice, both)).scalars()))
