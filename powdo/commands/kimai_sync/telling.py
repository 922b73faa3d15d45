"""What `kimai-sync` writes as it goes: records for a program, lines of a table for a person.

A line is written at once, so its columns have a width that is known before; what has any length comes last.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo

from powdo import stdio
from powdo.commands.kimai_sync.session import Session
from powdo.console import escape
from powdo.records.operator import Timesheet

_ACTION = len("unchanged")
_BEGIN, _END = len("2026-11-16 09:00"), len("10:30")
_NUMBER = len("kimai_id")


def teller(session: Session, *, json: bool, headers: bool) -> Callable[[Timesheet], None]:
    """Return what writes one timesheet: as a record, or for a person, unless *json*, as a line."""
    if json or not stdio.on_terminal():
        return session.run.emit
    return _Lines(session, headers=headers).write


class _Lines:
    """A table that grows by a line a timesheet, in the workers' own times."""

    def __init__(self, session: Session, *, headers: bool) -> None:
        self._session = session
        self._headers = headers
        self._zones: dict[str, tzinfo | None] = {}
        names = ["user", *(worker.name for worker in session.store.workers())]
        self._widths = (_ACTION, _BEGIN, _END, max(map(len, names)), _NUMBER)

    def write(self, sheet: Timesheet) -> None:
        """Write *sheet* as a line, the first below the head."""
        if self._headers:
            self._headers = False
            self._line("action", "begin", "end", "user", "kimai_id", "timesheet")
            self._line(*("-" * width for width in (*self._widths, len("timesheet"))))
        zone = self._zone(sheet.user)
        self._line(
            sheet.action or "",
            f"{sheet.begin.astimezone(zone):%Y-%m-%d %H:%M}",
            f"{sheet.end.astimezone(zone):%H:%M}",
            sheet.user,
            "" if sheet.kimai_id is None else str(sheet.kimai_id),
            _text(sheet),
        )

    def _zone(self, user: str) -> tzinfo | None:
        """Return the zone of *user*, looked up once."""
        if user not in self._zones:
            worker = self._session.store.worker(user)
            self._zones[user] = None if worker is None else self._session.person(worker).book.zone
        return self._zones[user]

    def _line(self, *cells: str) -> None:
        padded = (cell.ljust(width) for cell, width in zip(cells, (*self._widths, 0), strict=True))
        line = escape("  ".join(padded).rstrip())
        stdio.write_bytes(f"{line}\n".encode("utf-8", "backslashreplace"))


def _text(sheet: Timesheet) -> str:
    """Return what *sheet* is booked on and says, and why it is not as computed."""
    text = f"{sheet.project} / {sheet.activity}"
    if sheet.description:
        text += f": {sheet.description}"
    return f"{text} ({sheet.reason})" if sheet.reason else text
