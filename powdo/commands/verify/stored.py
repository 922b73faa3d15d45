"""All that is stored of some workers, looked at in the order of their chains."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from powdo.adapters.database import Kept, Picture, Store, StoredLink, Worker
from powdo.commands.verify.bundles import Examiner
from powdo.commands.verify.chains import Device, Told, devices
from powdo.records.operator import Chain, Verified
from powdo.worktime.manifest import micros

if TYPE_CHECKING:
    from powdo.options import Run
    from powdo.settings.periods import Period


class Visitor(Protocol):
    """Is shown what was looked at."""

    def bundle(self, kept: Kept) -> None:
        """Take one bundle."""

    def links(self, links: Iterable[StoredLink]) -> None:
        """Take the links of one worker, from the first to the last of the bundles that were looked at."""


Batch = Sequence[
    tuple[Kept, list[Picture]]
]  #: Hashing and the curve let other threads run; more of them than this find nothing left to do.
_THREADS = 8


class Selection:
    """The bundles of *workers* in a period, each worker's own days."""

    def __init__(self, run: Run, store: Store, period: Period, user: str | None) -> None:
        self._store = store
        self.workers = [(worker, *_days(run, store, worker, period)) for worker in store.named(user)]

    def count(self) -> int:
        """Return how many bundles there are."""
        return sum(self._store.count_kept(worker.id, begin, end) for worker, begin, end in self.workers)

    def batches(self, worker: Worker, begin: int | None, end: int | None) -> Iterator[Batch]:
        """Yield the bundles of *worker*."""
        return self._store.kept(worker.id, begin, end)


def _days(run: Run, store: Store, worker: Worker, period: Period) -> tuple[int | None, int | None]:
    book = run.settings.book((worker.timezone, *store.zones(worker.id)))
    since, until = period.within(book.zone, book.day_start)
    return (None if since is None else micros(since)), (None if until is None else micros(until))


def looked_at(
    selection: Selection, store: Store, examiner: Examiner, visitor: Visitor | None = None
) -> Iterator[Verified | Chain]:
    """Yield what is found of each bundle, and after a worker's bundles of the chain of each device."""
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        for worker, begin, end in selection.workers:
            links = store.links(worker.id)
            told = [Told(link.link, link.event, link.withheld) for link in links]
            chains = devices(told, worker.pubkeys)
            withheld = frozenset(link.link for link in told if link.withheld)
            seen: dict[str, list[int]] = {}

            def examine(item: tuple[Kept, list[Picture]]) -> Verified:
                kept, pictures = item
                device = chains.get(kept.device)  # noqa: B023 - the pool is done with a worker before the next
                place = () if device is None else device.at(kept.sequence)
                return examiner.examine(kept, pictures, worker.pubkeys, withheld, place)  # noqa: B023 - as above

            for batch in selection.batches(worker, begin, end):
                for kept, _ in batch:
                    seen.setdefault(kept.device, []).append(kept.sequence)
                yield from pool.map(examine, batch)
                if visitor is not None:
                    for kept, _ in batch:
                        visitor.bundle(kept)
            if visitor is not None:
                visitor.links(_within(links, seen, whole=begin is None and end is None))
            yield from _chains(worker, chains, seen, whole=begin is None and end is None)


def _within(links: Iterable[StoredLink], seen: dict[str, list[int]], *, whole: bool) -> Iterator[StoredLink]:
    """Yield those of *links* that lie among the bundles that were looked at."""
    ends = {device: (min(numbers), max(numbers)) for device, numbers in seen.items()}
    for link in links:
        first, last = ends.get(link.device, (1, 0))
        if whole or first <= link.sequence <= last:
            yield link


def _chains(
    worker: Worker, chains: dict[str, Device], seen: dict[str, list[int]], *, whole: bool
) -> Iterator[Chain]:
    """Yield the chains as far as they were asked for."""
    for name, device in sorted(chains.items()):
        if whole:
            numbers = [link.sequence for link in device.links]
            yield device.record(min(1, *numbers), max(numbers), worker=worker.name)
        elif name in seen:
            yield device.record(min(seen[name]), max(seen[name]), worker=worker.name)
