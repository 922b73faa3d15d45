"""What was sent to Kimai: each row is on the disk before the request it is about."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from powdo.adapters.database.engine import Database, opened
from powdo.adapters.database.tables import timesheet_sent
from powdo.worktime.reconcile import SentTimesheet

_PENDING = ("intent", "updating", "deleting")
_RENAMED = {"worker": "worker_id", "begin": "begin_us", "end": "end_us", "user": "kimai_user"}


class Ledger:
    """The timesheets that are, were or are about to be in Kimai."""

    def __init__(self, database: str | Database) -> None:
        self._database = opened(database)

    def put_timesheet(self, sent: SentTimesheet) -> None:
        """Keep *sent*, new or in place of what has its id."""
        values = {_RENAMED.get(name, name): value for name, value in asdict(sent).items()}
        values |= {"tags": json.dumps(list(sent.tags)), "updated_at": int(time.time())}
        insert = self._database.insert(timesheet_sent).values(values)
        insert = insert.on_conflict_do_update(
            index_elements=["id"], set_={name: value for name, value in values.items() if name != "id"}
        )
        with self._database.write() as connection:
            connection.execute(insert)

    def sent_timesheets(self, worker: int, begin: int, end: int) -> list[SentTimesheet]:
        """Return what *worker* has between *begin* and *end*, except what was deleted."""
        table = timesheet_sent.c
        return self._select(
            table.worker_id == worker, table.state != "deleted", table.begin_us < end, table.end_us > begin
        )

    def pending_timesheets(self, worker: int) -> list[SentTimesheet]:
        """Return the rows of *worker* whose request may or may not have arrived."""
        return self._select(timesheet_sent.c.worker_id == worker, timesheet_sent.c.state.in_(_PENDING))

    def _select(self, *where: sa.ColumnElement[bool]) -> list[SentTimesheet]:
        query = sa.select(timesheet_sent).where(*where)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(timesheet_sent.c.begin_us, timesheet_sent.c.id)).all()
        return [_sent(row) for row in rows]


def _sent(row: sa.Row[Any]) -> SentTimesheet:
    values = dict(row._mapping)
    del values["updated_at"]
    values["tags"] = tuple(json.loads(values["tags"]))
    back = {column: name for name, column in _RENAMED.items()}
    return SentTimesheet(**{back.get(column, column): value for column, value in values.items()})
