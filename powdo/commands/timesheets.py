"""`powdo timesheets`: the blocks of all workers, as they would go to Kimai."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from powdo.options import Run, command, report_options, since_until_options

if TYPE_CHECKING:
    from powdo.adapters.database import Store, Worker
    from powdo.worktime.book import Book
    from powdo.worktime.intervals import Interval
    from powdo.worktime.timesheets import Block, Leftover

_WIDEST = 60


@command(
    "timesheets",
    epilog="powdo timesheets --since monday\n"
    "powdo timesheets --since 2026-11-01 --until 2026-12-01 --json | jq .seconds\n"
    "powdo timesheets --since yesterday --unassigned",
)
@since_until_options
@click.option("--user", metavar="NAME", help="Only the worker NAME.")
@click.option("--unassigned", is_flag=True, help="List the time in no timesheet instead, and why.")
@report_options
def timesheets(
    run: Run,
    since: datetime | None,
    until: datetime | None,
    user: str | None,
    unassigned: bool,
    json: bool,
    headers: bool,
) -> None:
    """Show the timesheets that the rules make of what was ingested.

    Their seconds are those of whole blocks.
    """
    from powdo.adapters.database import Store
    from powdo.worktime.intervals import Interval

    store = Store(run.settings.database_url)
    try:
        rows: list[dict[str, Any]] = []
        for worker in store.named(user):
            begin, end = _span(store, worker, since, until)
            book = run.settings.book((worker.timezone, *store.zones(worker.id)), worker.day_start)
            for item in _items(store, worker, book, Interval(begin, end), unassigned):
                row = _row(item, worker)
                if json:
                    run.emit(row)
                else:
                    rows.append(_short(row, book))
        run.table(rows, json=json, headers=headers)
    finally:
        store.close()


def _span(store: Store, worker: Worker, since: datetime | None, until: datetime | None) -> tuple[int, int]:
    """Return the period asked for; where it is open, that of everything *worker* sent, rounding included."""
    from powdo.worktime.intervals import DAY
    from powdo.worktime.manifest import micros

    begin, end = (None if edge is None else micros(edge) for edge in (since, until))
    if begin is None or end is None:
        first, last = store.period(worker.id) or (0, 0)
        begin, end = first - DAY if begin is None else begin, last + DAY if end is None else end
    return begin, max(begin, end)


def _items(
    store: Store, worker: Worker, book: Book, window: Interval, unassigned: bool
) -> Iterator[Block | Leftover]:
    """Yield what begins in *window*, a week of bucket events in memory at a time."""
    from powdo.worktime.book import MARGIN, chunks

    for piece in chunks(window):
        low, high = piece.begin - MARGIN, piece.end + MARGIN
        slices = book.slices(store.bucket_events(worker.id, low, high, book.needed()))
        sheet = book.sheet(item for item in slices if item.begin < high and item.end > low)
        for item in sheet.leftovers if unassigned else sheet.blocks:
            if piece.begin <= item.begin < piece.end:
                yield item


def _short(row: dict[str, Any], book: Book) -> dict[str, Any]:
    """Return what a table has room for, in the worker's own time."""
    from powdo.lines import parse_time

    begin, end = (parse_time(row[name]).astimezone(book.zone) for name in ("begin", "end"))
    short: dict[str, Any] = {"begin": f"{begin:%Y-%m-%d %H:%M}", "end": f"{end:%H:%M}"}
    short |= {"minutes": round(row["seconds"] / 60), "user": row["user"]}
    if "project" in row:
        where = " / ".join(part for part in (row["customer"], row["project"], row["activity"]) if part)
        return short | {"project": where, "description": _cut(row["description"])}
    return short | {"app": row["app"], "title": _cut(row["title"]), "reason": row["reason"]}


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _row(item: Block | Leftover, worker: Worker) -> dict[str, Any]:
    from powdo.lines import format_time
    from powdo.worktime.intervals import SECOND
    from powdo.worktime.manifest import from_micros
    from powdo.worktime.timesheets import ALGORITHM, Block

    row: dict[str, Any] = {
        "begin": format_time(from_micros(item.begin)),
        "end": format_time(from_micros(item.end)),
    }
    if isinstance(item, Block):
        row |= {"seconds": (item.end - item.begin) // SECOND, "user": worker.name}
        row |= {"customer": item.customer, "project": item.project, "activity": item.activity}
        row |= {"tags": list(item.tags), "billable": item.billable, "description": item.description}
        row |= {"source": item.source, "algorithm": ALGORITHM, "manual": item.manual}
        return {"type": "timesheet", "v": 1, **row}
    row |= {"seconds": item.active // SECOND, "user": worker.name, "app": item.app, "title": item.title}
    return row | {"reason": item.reason}
