"""`powdo timesheets`: the blocks of all workers, as they would go to Kimai."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from powdo.options import Run, command, period_options, report_options

if TYPE_CHECKING:
    from powdo.adapters.database import Store, Worker
    from powdo.settings.periods import Period
    from powdo.worktime.book import Book
    from powdo.worktime.intervals import Interval
    from powdo.worktime.timesheets import Block, Leftover, Sheet

_WIDEST = 60


_FORMATS = ("table", "csv", "json", "timeclock", "ics")


@command(
    "timesheets",
    epilog="powdo timesheets --since monday\n"
    "powdo timesheets --since 2026-11-01 --until 2026-12-01 --json | jq .seconds\n"
    "powdo timesheets --last month --format timeclock | hledger -f timeclock:- balance\n"
    "powdo timesheets --since yesterday --unassigned",
    nothing="no timesheets were found; another --since may have some, and --unassigned what no rule books",
)
@period_options
@click.option("--user", metavar="NAME", help="Only the worker NAME.")
@click.option("--unassigned", is_flag=True, help="List the time in no timesheet instead, and why.")
@click.option("--format", "kind", type=click.Choice(_FORMATS), help="How to write them; a table by default.")
@report_options
def timesheets(
    run: Run,
    period: Period,
    user: str | None,
    unassigned: bool,
    kind: str | None,
    json: bool,
    headers: bool,
) -> None:
    """Show the timesheets that the rules make of what was ingested.

    Their seconds are those of whole blocks.
    """
    from powdo.adapters.database import Store

    if unassigned:
        run.nothing = "no unassigned time was found"
    kind = _kind(kind, json=json, unassigned=unassigned)
    store = Store(run.settings.database_url)
    try:
        workers = store.named(user)
        found = (
            (_row(item, worker), book)
            for worker in workers
            for book in [run.settings.book((worker.timezone, *store.zones(worker.id)), worker.day_start)]
            for item in _items(store, worker, book, _span(store, worker, book, period), unassigned)
        )
        if kind == "json":
            for row, _ in found:
                run.emit(row)
        else:
            _write(run, kind, list(found), headers=headers)
    finally:
        store.close()


def _kind(kind: str | None, *, json: bool, unassigned: bool) -> str:
    """Return the format that the flags ask for. Raises: UsageError."""
    from powdo.errors import UsageError

    if json and kind not in {None, "json"}:
        raise UsageError(f"--json and --format {kind} are two formats", hint="use one of them")
    kind = "json" if json else kind or "table"
    if unassigned and kind in {"timeclock", "ics"}:
        raise UsageError(f"unassigned time is no timesheet for --format {kind}", hint="use csv or json")
    return kind


def _write(run: Run, kind: str, rows: list[tuple[dict[str, Any], Book]], *, headers: bool) -> None:
    """Write *rows* in the format *kind*; nothing where there are none."""
    from powdo import stdio

    if kind == "csv":
        run.csv([_flat(row) for row, _ in rows])
    elif kind == "timeclock":
        from powdo.worktime.timeclock import lines

        several = len({row["user"] for row, _ in rows}) > 1
        text = "".join(
            f"{line}\n" for line in lines(((row, book.zone) for row, book in rows), worker=several)
        )
        stdio.write_bytes(text.encode("utf-8", "replace"))
    elif kind == "ics":
        from powdo.adapters.calendar import calendar

        if rows:
            stdio.write_bytes(calendar(row for row, _ in rows))
    else:
        run.table([_short(row, book) for row, book in rows], json=False, headers=headers)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Return *row* for a spreadsheet: no record's keys, and hours to add up."""
    flat = {key: value for key, value in row.items() if key not in {"type", "v", "algorithm"}}
    if "tags" in flat:
        flat["tags"] = ",".join(flat["tags"])
    place = list(flat).index("seconds") + 1
    items = list(flat.items())
    return dict([*items[:place], ("hours", f"{row['seconds'] / 3600:.4f}"), *items[place:]])


def _span(store: Store, worker: Worker, book: Book, period: Period) -> Interval:
    """Return the period asked for; where it is open, that of everything *worker* sent, rounding included."""
    from powdo.worktime.intervals import DAY, Interval
    from powdo.worktime.manifest import micros

    since, until = period.within(book.zone, book.day_start)
    begin, end = (None if edge is None else micros(edge) for edge in (since, until))
    if begin is None or end is None:
        first, last = store.period(worker.id) or (0, 0)
        begin, end = first - DAY if begin is None else begin, last + DAY if end is None else end
    return Interval(begin, max(begin, end))


def _items(
    store: Store, worker: Worker, book: Book, window: Interval, unassigned: bool
) -> Iterator[Block | Leftover]:
    """Yield what begins in *window*, a week of bucket events in memory at a time."""
    from powdo.worktime.book import chunks

    for piece in chunks(window):
        sheet = _sheet(store, worker, book, piece)
        for item in sheet.leftovers if unassigned else sheet.blocks:
            if piece.begin <= item.begin < piece.end:
                yield item


def _sheet(store: Store, worker: Worker, book: Book, piece: Interval) -> Sheet:
    """Return the sheet of *piece* and what is around it; all else of it is free before the next is read."""
    from powdo.worktime.book import MARGIN

    low, high = piece.begin - MARGIN, piece.end + MARGIN
    slices = book.slices(store.bucket_events(worker.id, low, high, book.needed()))
    return book.sheet(item for item in slices if item.begin < high and item.end > low)


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
