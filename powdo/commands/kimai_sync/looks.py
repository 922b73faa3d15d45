"""`kimai-sync --check` and `--conflicts`: reports that change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from powdo.adapters.database import Worker
from powdo.adapters.kimai.check import Finding
from powdo.adapters.kimai.conflicts import conflicts
from powdo.commands.kimai_sync.session import Session
from powdo.errors import RefusedError, UsageError
from powdo.records.operator import Timesheet
from powdo.worktime.hours import FOREVER
from powdo.worktime.intervals import Interval
from powdo.worktime.manifest import micros

_WIDEST = 60


# --- what people changed, and what Kimai refuses -----------------------------------------------------


def look_at_conflicts(
    session: Session,
    since: datetime | None,
    until: datetime | None,
    user: str | None,
    *,
    json: bool,
    headers: bool,
) -> None:
    """Write what is kept as a person's and what is refused, of the workers, between *since* and *until*."""
    rows: list[dict[str, Any]] = []
    for worker in session.store.named(user):
        for record in _conflicts(session, worker, since, until):
            if json:
                session.run.emit(record)
            else:
                rows.append(_short(record, session.person(worker).book.zone))
    session.run.table(rows, json=json, headers=headers)


def _conflicts(
    session: Session, worker: Worker, since: datetime | None, until: datetime | None
) -> Iterator[Timesheet]:
    begin = 0 if since is None else micros(since)
    end = FOREVER if until is None else micros(until)
    if begin >= end:
        raise UsageError("--since is not before --until")
    window = Interval(begin, end)
    kept = session.store.sent_timesheets(worker.id, window.begin, window.end)
    refused = [
        item
        for item in session.store.blocked(worker.id)
        if item.begin < window.end and item.end > window.begin
    ]
    if any(row.state == "kept" for row in kept) or refused:
        yield from conflicts(session.syncer(worker.name), session.person(worker), kept, refused)


def _short(record: Timesheet, zone: Any) -> dict[str, Any]:
    begin, end = record.begin.astimezone(zone), record.end.astimezone(zone)
    there = record.there
    held = ""
    if there is not None:
        first, last = (
            datetime.fromisoformat(str(there[name])).astimezone(zone) if there[name] else None
            for name in ("begin", "end")
        )
        held = f"{first:%Y-%m-%d %H:%M}" + (f"-{last:%H:%M}" if last else "-")
        held += f" {there['project']} / {there['activity']}: {there['description']}"
    return {
        "begin": f"{begin:%Y-%m-%d %H:%M}",
        "end": f"{end:%H:%M}",
        "user": record.user,
        "project": f"{record.project} / {record.activity}",
        "kimai_id": record.kimai_id,
        "reason": _cut(record.reason or ""),
        "in kimai": _cut(held),
    }


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


# --- how Kimai is set up -----------------------------------------------------------------------------


def look_at_kimai(session: Session, user: str | None, *, json: bool, headers: bool) -> None:
    """Write what is found about Kimai, for each token; what stands in the way ends in status 69."""
    rows: list[dict[str, Any]] = []
    for item in session.check([worker for worker in session.store.named(user) if not worker.disabled]):
        rows.append(item._asdict())
        if item.state == "error":
            session.run.fail(_error(item))
    session.run.table(rows, json=json, headers=headers)


def _error(item: Finding) -> RefusedError:
    return RefusedError(f"{item.what}: {item.value}", hint=item.hint or None)
