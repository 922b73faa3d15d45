"""`powdo report`: active time, counted from what was ingested."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import click

from powdo.options import Run, command, report_options, since_until_options

if TYPE_CHECKING:
    from powdo.adapters.database import Store, Worker
    from powdo.worktime.activity import Slice
    from powdo.worktime.book import Book
    from powdo.worktime.flood import Needed
    from powdo.worktime.intervals import Interval
    from powdo.worktime.tally import Key, Keys

#: What the rules say of time.
_BY_RULE = ("project", "activity")


@command(
    "report",
    epilog="powdo report --by project --since monday\n"
    "powdo report --by app --since 2026-11-01 --until 2026-12-01 --json | jq .seconds",
)
@click.option(
    "--by",
    required=True,
    type=click.Choice(["app", "project", "day", "activity", "worker"]),
    help="What time is counted by.",
)
@since_until_options
@click.option("--user", metavar="NAME", help="Only the worker NAME.")
@report_options
def report(
    run: Run,
    by: str,
    since: datetime | None,
    until: datetime | None,
    user: str | None,
    json: bool,
    headers: bool,
) -> None:
    """Count active seconds by app, project, day, activity or worker."""
    from powdo.adapters.database import Store
    from powdo.worktime import tally

    store = Store(run.settings.database_url)
    counted: dict[Key, int] = {}
    try:
        for worker in store.named(user):
            window = _window(store, worker, since, until)
            if window is None:
                continue
            book = run.settings.book((worker.timezone, *store.zones(worker.id)))
            needed = book.needed(booked=by in _BY_RULE)
            keys = _keys(by, book, worker)
            tally.count(keys(_slices(store, worker, book, window, needed)), counted)
    finally:
        store.close()
    rows = tally.ranked(counted, by_name=by == "day")
    unassigned = None if json else "(unassigned)"
    run.table(
        [{"key": unassigned if key is None else key, "seconds": seconds} for key, seconds in rows],
        json=json,
        headers=headers,
    )


def _window(store: Store, worker: Worker, since: datetime | None, until: datetime | None) -> Interval | None:
    """Return the period to count in: what was asked for, as far as there are bundles."""
    from powdo.worktime.intervals import Interval
    from powdo.worktime.manifest import micros

    period = store.period(worker.id)
    if period is None:
        return None
    begin = period[0] if since is None else max(period[0], micros(since))
    end = period[1] if until is None else min(period[1], micros(until))
    return Interval(begin, end) if begin < end else None


def _slices(store: Store, worker: Worker, book: Book, window: Interval, needed: Needed) -> Iterator[Slice]:
    """Yield the active time in *window*, a week of bucket events in memory at a time."""
    from powdo.worktime.book import chunks
    from powdo.worktime.intervals import MINUTE
    from powdo.worktime.tally import clipped

    margin = 60 * MINUTE  # more than any gap that is closed, so that the edges of a week do not show
    for piece in chunks(window):
        buckets = store.bucket_events(worker.id, piece.begin - margin, piece.end + margin, needed)
        yield from clipped(book.slices(buckets), piece)


def _keys(by: str, book: Book, worker: Worker) -> Keys:
    from powdo.worktime import tally
    from powdo.worktime.rules import matcher

    if by == "app":
        return tally.by_app
    if by == "day":
        return tally.by_day(book.zone, book.day_start)
    if by == "worker":
        return lambda slices: ((worker.name, item.end - item.begin) for item in slices)
    return tally.by_booking(matcher(book.rules, book.zone), by)
