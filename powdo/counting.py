"""The active time of a worker in a period, as it is counted: shared by `report` and `rules suggest`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from powdo.adapters.database import Store, Worker
    from powdo.settings import Settings
    from powdo.settings.periods import Period
    from powdo.worktime.activity import Slice
    from powdo.worktime.book import Book
    from powdo.worktime.flood import Needed
    from powdo.worktime.intervals import Interval


def asked_for(
    settings: Settings, store: Store, user: str | None, period: Period
) -> Iterator[tuple[Worker, Book, Interval]]:
    """Yield the workers who are asked for and sent something, with the period to count in."""
    for worker in store.named(user):
        book = settings.book((worker.timezone, *store.zones(worker.id)), worker.day_start)
        window = _window(store, worker, book, period)
        if window is not None:
            yield worker, book, window


def _window(store: Store, worker: Worker, book: Book, period: Period) -> Interval | None:
    """Return the period to count in: what was asked for, as far as there are bundles."""
    from powdo.worktime.intervals import Interval
    from powdo.worktime.manifest import micros

    sent = store.period(worker.id)
    if sent is None:
        return None
    since, until = period.within(book.zone, book.day_start)
    begin = sent[0] if since is None else max(sent[0], micros(since))
    end = sent[1] if until is None else min(sent[1], micros(until))
    return Interval(begin, end) if begin < end else None


def active_time(
    store: Store, worker: Worker, book: Book, window: Interval, needed: Needed | None = None
) -> Iterator[Slice]:
    """Yield the active time in *window*, a week of bucket events in memory at a time."""
    from powdo.worktime.book import chunks
    from powdo.worktime.intervals import MINUTE
    from powdo.worktime.tally import clipped

    margin = 60 * MINUTE  # more than any gap that is closed, so that the edges of a week do not show
    for piece in chunks(window):
        buckets = store.bucket_events(worker.id, piece.begin - margin, piece.end + margin, needed)
        yield from clipped(book.slices(buckets), piece)
