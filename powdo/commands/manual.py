"""`powdo manual`: time away from the keyboard, stated by hand."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from powdo.options import Moment, Run, command, dry_run_option, report_options

if TYPE_CHECKING:
    from powdo.adapters.outbox.statements import Statement

#: What one record may cover: who works longer at a stretch states two.
_LONGEST = 24 * 3600
_LONGEST_TEXT = 500


@command(
    "manual",
    epilog="powdo manual --begin '2026-11-16 14:00' --end '2026-11-16 15:30' --project Shop "
    "--description 'call with the customer'\n"
    "powdo manual --list\n"
    "powdo manual --remove 1a2b3c4d",
)
@click.option("--begin", type=Moment(), metavar="T", help="When it began.")
@click.option("--end", type=Moment(), metavar="T", help="When it ended.")
@click.option("--project", metavar="NAME", help="What it was for.")
@click.option("--customer", metavar="NAME", help="Whose project it is.")
@click.option("--activity", metavar="NAME", help="What was done; without it the operator's rule says.")
@click.option("--description", metavar="TEXT", default="", help="What to read about it.")
@click.option("--list", "listing", is_flag=True, help="List what was stated, and the capture that took it.")
@click.option("--remove", metavar="ID", help="Take back what no capture took yet.")
@dry_run_option
@report_options
def manual(
    run: Run,
    begin: datetime | None,
    end: datetime | None,
    project: str | None,
    customer: str | None,
    activity: str | None,
    description: str,
    listing: bool,
    remove: str | None,
    dry_run: bool,
    json: bool,
    headers: bool,
) -> None:
    """State time away from the keyboard, which the next capture takes along.

    It is signed with the capture and marked as manual wherever it is shown. Where it covers measured time it
    goes before it.
    """
    from powdo.adapters.outbox import Outbox
    from powdo.errors import UsageError

    words = (begin, end, project, customer, activity, description or None)
    if listing + (remove is not None) + any(word is not None for word in words) != 1:
        raise UsageError(
            "give --begin, --end and --project, or --list, or --remove ID", hint="see 'powdo manual --help'"
        )
    statement = None
    if not listing and remove is None:
        statement = _statement(begin, end, project, customer, activity, description)
    if listing:
        run.nothing = "nothing was stated by hand"
    outbox = Outbox(run.settings.state_dir)
    try:
        if statement is not None and not dry_run:
            statement = outbox.state(statement.begin, statement.end, statement.manual)
        if remove is not None and not dry_run:
            outbox.retract(remove)
        rows = outbox.statements() if listing else []
    finally:
        outbox.close()
    if statement is not None and (json or dry_run):
        run.emit(_row(statement))
    elif json:
        run.table([_row(row) for row in rows], json=True)
    else:
        run.table([_cells(row) for row in rows], json=False, headers=headers)


def _statement(
    begin: datetime | None,
    end: datetime | None,
    project: str | None,
    customer: str | None,
    activity: str | None,
    description: str,
) -> Statement:
    """Return the record that the flags mean. Raises: UsageError."""
    from powdo.adapters.outbox.statements import Statement
    from powdo.errors import UsageError
    from powdo.worktime.manual import Manual

    if begin is None or end is None or project is None:
        raise UsageError("--begin, --end and --project belong together")
    first, last = int(begin.timestamp()), int(end.timestamp())
    if first >= last:
        raise UsageError("--begin is not before --end")
    if last - first > _LONGEST:
        raise UsageError("it is longer than a day", hint="state a record for each day")
    if last > time.time():
        raise UsageError("--end lies in the future", hint="state what was done once it is done")
    texts = {
        "project": project, "customer": customer, "activity": activity, "description": description,
    }  # fmt: skip
    for name, text in texts.items():
        if text is not None and (len(text) > _LONGEST_TEXT or any(not c.isprintable() for c in text)):
            raise UsageError(f"--{name} is longer than {_LONGEST_TEXT} characters, or not one line of text")
        if text is not None and not text.strip() and name != "description":
            raise UsageError(f"--{name} is empty")
    clean = {name: text.strip() for name, text in texts.items() if text is not None}
    return Statement("", first, last, Manual(**clean), None)


def _row(statement: Statement) -> dict[str, Any]:
    from powdo.lines import format_time
    from powdo.worktime.intervals import SECOND
    from powdo.worktime.manifest import from_micros

    begin, end = (format_time(from_micros(at * SECOND)) for at in (statement.begin, statement.end))
    said = statement.manual
    row: dict[str, Any] = {"id": statement.id or None, "begin": begin, "end": end}
    row |= {"seconds": statement.end - statement.begin, "customer": said.customer, "project": said.project}
    row |= {"activity": said.activity, "description": said.description}
    return row | {"capture": statement.capture}


def _cells(statement: Statement) -> dict[str, Any]:
    begin, end = (datetime.fromtimestamp(at) for at in (statement.begin, statement.end))
    said = statement.manual
    return {
        "id": statement.id,
        "begin": f"{begin:%Y-%m-%d %H:%M}",
        "end": f"{end:%H:%M}",
        "minutes": round((statement.end - statement.begin) / 60),
        "project": " / ".join(part for part in (said.customer, said.project, said.activity) if part),
        "description": said.description,
        "capture": statement.capture or "waits",
    }
