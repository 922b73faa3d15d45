"""What was sent to Kimai: each row is on the disk before the request it is about."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from powdo.adapters.database.engine import Database, opened
from powdo.adapters.database.tables import timesheet_blocked, timesheet_sent
from powdo.worktime.blocked import Blocked
from powdo.worktime.reconcile import SentTimesheet

_PENDING = ("intent", "updating", "deleting")
_RENAMED = {"worker": "worker_id", "begin": "begin_us", "end": "end_us", "user": "kimai_user"}
_FIELDS = {column: name for name, column in _RENAMED.items()}
_MANY = 400  # SQLite has a limit on the values of one statement


class Ledger:
    """The timesheets that are, were or are about to be in Kimai."""

    def __init__(self, database: str | Database) -> None:
        self._database = opened(database)

    def put_timesheets(self, rows: Sequence[SentTimesheet]) -> None:
        """Keep *rows*, each new or in place of what has its id, in one commit."""
        now = int(time.time())
        values = [_columns(row) | {"tags": json.dumps(list(row.tags)), "updated_at": now} for row in rows]
        with self._database.write() as connection:
            connection.execute(self._database.once(_put_sent), values)

    def sent_timesheets(self, worker: int, begin: int, end: int) -> list[SentTimesheet]:
        """Return what *worker* has between *begin* and *end*, except what was deleted."""
        table = timesheet_sent.c
        return self._select(
            table.worker_id == worker, table.state != "deleted", table.begin_us < end, table.end_us > begin
        )

    def sent_period(self, worker: int) -> tuple[int, int] | None:
        """Return when the first and the last timesheet of *worker* begin and end, or None without any."""
        table = timesheet_sent.c
        query = sa.select(sa.func.min(table.begin_us), sa.func.max(table.end_us))
        with self._database.read() as connection:
            begin, end = connection.execute(
                query.where(table.worker_id == worker, table.state != "deleted")
            ).one()
        return None if begin is None else (begin, end)

    def known_timesheets(
        self, worker: int, kimai_ids: Collection[int], markers: Collection[str]
    ) -> list[SentTimesheet]:
        """Return the rows of *worker*, deleted ones too, that have one of *kimai_ids* or of *markers*."""
        table = timesheet_sent.c
        found: dict[str, SentTimesheet] = {}
        for column, values in ((table.kimai_id, sorted(kimai_ids)), (table.marker, sorted(markers))):
            for at in range(0, len(values), _MANY):
                rows = self._select(table.worker_id == worker, column.in_(values[at : at + _MANY]))
                found.update((row.id, row) for row in rows)
        return list(found.values())

    def pending_timesheets(self, worker: int) -> list[SentTimesheet]:
        """Return the rows of *worker* whose request may or may not have arrived."""
        return self._select(timesheet_sent.c.worker_id == worker, timesheet_sent.c.state.in_(_PENDING))

    def _select(self, *where: sa.ColumnElement[bool]) -> list[SentTimesheet]:
        query = sa.select(timesheet_sent).where(*where)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(timesheet_sent.c.begin_us, timesheet_sent.c.id)).all()
        return [_sent(row) for row in rows]

    # --- what was refused ----------------------------------------------------------------------------

    def blocked(self, worker: int) -> list[Blocked]:
        """Return what Kimai refused of *worker*'s, in the order of time."""
        table = timesheet_blocked
        query = sa.select(table).where(table.c.worker_id == worker).order_by(table.c.begin_us, table.c.id)
        with self._database.read() as connection:
            return [Blocked(**_values(row)) for row in connection.execute(query)]

    def put_blocked(self, blocked: Blocked) -> None:
        """Keep *blocked*, new or in place of what has its id."""
        with self._database.write() as connection:
            connection.execute(self._database.once(_put_blocked), _columns(blocked))

    def drop_blocked(self, names: Iterable[str]) -> None:
        """Forget what was refused under the ids *names*."""
        with self._database.write() as connection:
            for name in names:
                connection.execute(timesheet_blocked.delete().where(timesheet_blocked.c.id == name))


def _put_sent(database: Database) -> Any:
    return _put(database, timesheet_sent)


def _put_blocked(database: Database) -> Any:
    return _put(database, timesheet_blocked)


def _put(database: Database, table: sa.Table) -> Any:
    insert = database.insert(table)
    changed = {column.name: insert.excluded[column.name] for column in table.c if column.name != "id"}
    return insert.on_conflict_do_update(index_elements=["id"], set_=changed)


def _columns(item: SentTimesheet | Blocked) -> dict[str, Any]:
    return {_RENAMED.get(field.name, field.name): getattr(item, field.name) for field in fields(item)}


def _values(row: sa.Row[Any]) -> dict[str, Any]:
    return {_FIELDS.get(column, column): value for column, value in row._mapping.items()}


def _sent(row: sa.Row[Any]) -> SentTimesheet:
    values = _values(row)
    del values["updated_at"]
    return SentTimesheet(**values | {"tags": tuple(json.loads(values["tags"]))})
