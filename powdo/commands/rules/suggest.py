"""`powdo rules suggest`: the largest unassigned time, as rules to paste."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from powdo import stdio
from powdo.commands.rules.group import rules
from powdo.counting import active_time, asked_for
from powdo.options import Run, command, period_options

if TYPE_CHECKING:
    from powdo.settings.periods import Period
    from powdo.worktime.activity import Slice
    from powdo.worktime.book import Book


@command(
    "suggest",
    parent=rules,
    epilog="powdo rules suggest --last 2w\n"
    "powdo rules suggest --user ana --limit 3 --project Shop --activity Development >> powdo.toml",
    nothing="no unassigned time was found, so there is no rule to suggest",
)
@period_options
@click.option("--user", metavar="NAME", help="Only the worker NAME.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    metavar="N",
    help="At most N rules.",
)
@click.option("--project", metavar="NAME", help="Fill in NAME; without it the rules book nothing yet.")
@click.option("--activity", metavar="NAME", help="Fill in NAME, with --project.")
@click.option("--json", is_flag=True, help="Write JSON lines instead of TOML.")
def suggest(
    run: Run,
    period: Period,
    user: str | None,
    limit: int,
    project: str | None,
    activity: str | None,
    json: bool,
) -> None:
    """Write rules for the largest time that no rule books: by editor project, domain, title or app.

    They are TOML to paste behind the others.
    """
    from itertools import islice

    from powdo.adapters.database import Store
    from powdo.errors import UsageError
    from powdo.worktime.intervals import SECOND
    from powdo.worktime.suggesting import as_toml, suggestions

    if (project is None) != (activity is None):
        raise UsageError("--project and --activity belong together")
    store = Store(run.settings.database_url)
    try:
        slices: list[Slice] = []
        for worker, book, window in asked_for(run.settings, store, user, period):
            slices += _unassigned(book, active_time(store, worker, book, window))
    finally:
        store.close()
    for number, item in enumerate(islice(suggestions(slices), limit)):
        if json:
            row = {"field": item.field, "value": item.value, "pattern": item.pattern}
            run.emit(row | {"seconds": item.active // SECOND, "sample": item.sample})
        else:
            text = as_toml(item, project, activity)
            stdio.write_bytes(("\n" * bool(number) + text).encode())


def _unassigned(book: Book, slices: Iterable[Slice]) -> Iterator[Slice]:
    """Yield what no rule books."""
    from powdo.worktime.rules import matcher

    find = matcher(book.rules, book.zone)
    return (item for item in slices if item.focus.manual is None and find(item) is None)
