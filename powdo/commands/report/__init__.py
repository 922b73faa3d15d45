"""`powdo report`: active time, counted from what was ingested."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from powdo.counting import active_time, asked_for
from powdo.options import Run, command, period_options, report_options

if TYPE_CHECKING:
    from powdo.adapters.database import Store, Worker
    from powdo.settings.periods import Period
    from powdo.worktime.book import Book
    from powdo.worktime.intervals import Interval
    from powdo.worktime.tally import Key, Keys

#: What the rules say of time.
_BY_RULE = ("project", "activity")


@command(
    "report",
    epilog="powdo report --by project --last week\n"
    "powdo report --by day --last 2w --csv > days.csv\n"
    "powdo report --by app --since 2026-11-01 --until 2026-12-01 --json | jq .seconds\n"
    "powdo verify --last month --json | powdo report --html month.html --last month --verified -",
    nothing="no active time was found; another --since or --user may have some",
)
@click.option(
    "--by",
    type=click.Choice(["app", "project", "day", "activity", "worker"]),
    help="What time is counted by.",
)
@click.option(
    "--html",
    metavar="FILE",
    help="Write a page into FILE instead: days, projects, screenshots, evidence.",
)
@click.option("--verified", metavar="FILE", help="Show what `verify --json` wrote into FILE; - is stdin.")
@click.option("--full", is_flag=True, help="Put the screenshots in full into a folder beside FILE.")
@period_options
@click.option("--user", metavar="NAME", help="Only the worker NAME.")
@click.option("--csv", is_flag=True, help="Write comma-separated values for a spreadsheet.")
@report_options
def report(
    run: Run,
    by: str | None,
    html: str | None,
    verified: str | None,
    full: bool,
    period: Period,
    user: str | None,
    csv: bool,
    json: bool,
    headers: bool,
) -> None:
    """Count active seconds by app, project, day, activity or worker, or show all on a page."""
    from powdo.adapters.database import Store
    from powdo.commands.report import lost

    _check(by, html=html, whole=full or verified is not None, csv=csv, json=json)
    store = Store(run.settings.database_url)
    try:
        asked = list(asked_for(run.settings, store, user, period))
        if html is not None:
            from pathlib import Path

            from powdo.commands.report.gathering import Gathered
            from powdo.commands.report.page import write

            gathered = [Gathered(store, *of) for of in asked]
            run.nothing = None
            write(run, gathered, Path(html), full=full, verified=verified)
            return
        assert by is not None  # or _check would have told
        for worker, _, window in asked:
            lost.tell(run, store, worker, window)
        rows = _counted(by, store, asked)
    finally:
        store.close()
    if json:
        run.table([{"key": key, "seconds": seconds} for key, seconds in rows], json=True)
    elif csv:
        run.csv([{by: _named(key), "seconds": time, "hours": f"{time / 3600:.4f}"} for key, time in rows])
    else:
        run.table(_shown(by, rows, total=headers), json=False, headers=headers)


def _check(by: str | None, *, html: str | None, whole: bool, csv: bool, json: bool) -> None:
    """Refuse flags that contradict each other. Raises: UsageError."""
    from powdo.errors import UsageError

    if csv and json:
        raise UsageError("--csv and --json are two formats", hint="use one of them")
    if html is None:
        if by is None:
            raise UsageError("time is counted by nothing", hint="use --by project, or --html FILE for a page")
        if whole:
            raise UsageError(
                "--full and --verified make no sense without --html", hint="name a file with --html FILE"
            )
    elif by is not None or csv or json:
        raise UsageError(
            "--html has a format and figures of its own", hint="leave --by, --csv and --json out"
        )


def _counted(by: str, store: Store, asked: list[tuple[Worker, Book, Interval]]) -> list[tuple[Key, int]]:
    """Return the seconds of those who are *asked* for by key, as they are listed."""
    from powdo.worktime import tally

    counted: dict[Key, int] = {}
    for worker, book, window in asked:
        needed = book.needed(booked=by in _BY_RULE)
        keys = _keys(by, book, worker)
        tally.count(keys(active_time(store, worker, book, window, needed)), counted)
    return tally.ranked(counted, by_name=by == "day")


def _named(key: Key) -> str:
    return "(unassigned)" if key is None else key


def _shown(by: str, rows: list[tuple[Key, int]], *, total: bool) -> list[dict[str, Any]]:
    """Return *rows* for people: hours, minutes and seconds, and each one's share of all; last the *total*."""
    from powdo.worktime.tally import clock

    whole = sum(seconds for _, seconds in rows)
    named = [(_named(key), seconds) for key, seconds in rows] + [("total", whole)] * (total and bool(rows))
    return [
        {by: name, "time": clock(seconds), "share": f"{100 * seconds / max(1, whole):.0f} %"}
        for name, seconds in named
    ]


def _keys(by: str, book: Book, worker: Worker) -> Keys:
    from powdo.worktime import tally
    from powdo.worktime.rules import matcher

    if by == "app":
        return tally.by_app
    if by == "day":
        keys: Keys = tally.by_day(book.zone, book.day_start)
    elif by == "worker":
        keys = lambda slices: ((worker.name, item.end - item.begin) for item in slices)  # noqa: E731  # as short as it is
    else:
        keys = tally.by_booking(matcher(book.rules, book.zone), by)
    return tally.parted(keys)
