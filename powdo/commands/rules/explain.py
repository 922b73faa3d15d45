"""`powdo rules explain`: which rule took which minutes of a day, and why."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from powdo.commands.rules.group import rules
from powdo.options import Run, command, report_options

if TYPE_CHECKING:
    from powdo.adapters.database import Store, Worker
    from powdo.worktime.book import Book
    from powdo.worktime.explaining import Stretch
    from powdo.worktime.intervals import Interval

_WIDEST = 70


@command(
    "explain",
    parent=rules,
    epilog="powdo rules explain --day yesterday\n"
    "powdo rules explain --day 2026-11-16 --user ana --json | jq 'select(.rule == null)'",
    nothing="no active time was found on that day; `powdo report --by day` shows which days have some",
)
@click.option("--day", required=True, metavar="D", help="Which day: a date, or a word such as yesterday.")
@click.option("--user", metavar="NAME", help="Only the worker NAME.")
@report_options
def explain(run: Run, day: str, user: str | None, json: bool, headers: bool) -> None:
    """Tell which rule took which minutes of a day, by which of its patterns, and what became of them."""
    from powdo.adapters.database import Store

    store = Store(run.settings.database_url)
    rows: list[dict[str, Any]] = []
    try:
        for worker in store.named(user):
            book = run.settings.book((worker.timezone, *store.zones(worker.id)), worker.day_start)
            for item in _stretches(store, worker, book, _day(day, book)):
                row = _row(item, worker)
                if json:
                    run.emit(row)
                else:
                    rows.append(_cells(row, book, joined=_joined(item)))
    finally:
        store.close()
    run.table(rows, json=json, headers=headers)


def _day(word: str, book: Book) -> Interval:
    """Return the worker's day that *word* names. Raises: UsageError."""
    from powdo.errors import ConfigurationError, UsageError
    from powdo.settings.units import Calendar, parse_moment
    from powdo.worktime.intervals import Interval
    from powdo.worktime.manifest import micros

    now = datetime.now().astimezone()
    try:
        moment = parse_moment(word, now=now, zone=book.zone, day_start=book.day_start)
    except ConfigurationError as error:
        raise UsageError(f"--day: {error.message}") from None
    calendar = Calendar(moment, book.zone, book.day_start)
    first = calendar.today
    return Interval(micros(calendar.begin(first)), micros(calendar.begin(first + timedelta(days=1))))


def _stretches(store: Store, worker: Worker, book: Book, day: Interval) -> list[Stretch]:
    from powdo.worktime.book import MARGIN
    from powdo.worktime.explaining import stretches
    from powdo.worktime.rules import matcher
    from powdo.worktime.tally import clipped

    slices = book.slices(store.bucket_events(worker.id, day.begin - MARGIN, day.end + MARGIN))
    sheet = book.sheet(slices)
    find = matcher(book.rules, book.zone)
    return list(stretches(clipped(slices, day), find, sheet, book.limits.absorb))


def _row(item: Stretch, worker: Worker) -> dict[str, Any]:
    from powdo.lines import format_time
    from powdo.worktime.intervals import SECOND
    from powdo.worktime.manifest import from_micros
    from powdo.worktime.timesheets import Leftover

    fate, rule = item.fate, item.rule
    booked = None if fate is None or isinstance(fate, Leftover) else fate
    return {
        "begin": format_time(from_micros(item.begin)),
        "end": format_time(from_micros(item.end)),
        "seconds": round(item.active / SECOND),
        "user": worker.name,
        "rule": None if rule is None else rule.name,
        "project": None if rule is None else rule.project,
        "why": item.why,
        "timesheet": None if booked is None else format_time(from_micros(booked.begin)),
        "booked": None if booked is None else f"{booked.project} / {booked.activity}",
        "unassigned": fate.reason if isinstance(fate, Leftover) else None,
    }


def _joined(item: Stretch) -> bool:
    """Return whether *item* went into a timesheet of something else than its own rule books."""
    from powdo.worktime.timesheets import Block

    if not isinstance(item.fate, Block):
        return False
    booked = item.fate.customer, item.fate.project, item.fate.activity
    return item.rule is None or (item.rule.customer, item.rule.project, item.rule.activity) != booked


def _cells(row: dict[str, Any], book: Book, *, joined: bool) -> dict[str, Any]:
    """Return *row* for people; what is *joined* to other work is told to be."""
    from powdo.lines import parse_time

    begin, end = (parse_time(row[name]).astimezone(book.zone) for name in ("begin", "end"))
    became = f"({row['unassigned'] or 'cut off by rounding'})"
    if row["timesheet"] is not None:
        at = parse_time(row["timesheet"]).astimezone(book.zone)
        became = f"{at:%H:%M} {row['booked']}" + " (counted with the work around it)" * joined
    why = row["why"] if len(row["why"]) <= _WIDEST else f"{row['why'][: _WIDEST - 1]}…"
    return {
        "begin": f"{begin:%H:%M:%S}",
        "end": f"{end:%H:%M:%S}",
        "minutes": f"{row['seconds'] / 60:.1f}",
        "user": row["user"],
        "rule": row["rule"] or "-",
        "timesheet": became,
        "why": why,
    }
