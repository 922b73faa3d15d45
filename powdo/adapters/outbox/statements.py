"""Manual records in the outbox: they wait for the next capture, which takes them along, and stay listed."""

from __future__ import annotations

import json
import sqlite3
import uuid
from typing import NamedTuple

from powdo.adapters.outbox.base import Store
from powdo.errors import BadRecordError, UsageError
from powdo.worktime.manual import Manual, parse


class Statement(NamedTuple):
    """One manual record: unix seconds [begin, end), what it says, and the capture that took it, or None."""

    id: str
    begin: int
    end: int
    manual: Manual
    capture: str | None


class Statements(Store):
    """What the worker states by hand."""

    def state(self, begin: int, end: int, manual: Manual) -> Statement:
        """Keep a manual record of the unix seconds [begin, end). Raises: UsageError if one is there."""
        name = uuid.uuid4().hex[:8]
        with self._transaction() as db:
            found = db.execute("SELECT id FROM manual WHERE begin < ? AND end > ?", (end, begin)).fetchone()
            if found is not None:
                raise UsageError(
                    f"it overlaps the manual record '{found['id']}'",
                    hint=f"`powdo manual --remove {found['id']}` takes that one back",
                )
            data = json.dumps(manual.data())
            db.execute("INSERT INTO manual VALUES (?, ?, ?, ?, NULL)", (name, begin, end, data))
        return Statement(name, begin, end, manual, None)

    def statements(self, *, waiting: bool = False) -> list[Statement]:
        """Return the manual records by time; with *waiting* only those that no capture took yet."""
        if waiting:
            rows = self._query("SELECT * FROM manual WHERE capture IS NULL ORDER BY begin")
        else:
            rows = self._query("SELECT * FROM manual ORDER BY begin")
        return [_statement(row) for row in rows]

    def retract(self, name: str) -> None:
        """Destroy the manual record *name*. Raises: BadRecordError if a capture took it, or there is none."""
        with self._transaction() as db:
            row = db.execute("SELECT capture FROM manual WHERE id = ?", (name,)).fetchone()
            if row is None:
                raise BadRecordError(f"no manual record is called '{name}'")
            if row["capture"] is not None:
                raise BadRecordError(
                    f"the manual record '{name}' is in the capture '{row['capture']}' already",
                    hint=f"until it is sent, `powdo outbox drop {row['capture']}` destroys both",
                )
            db.execute("DELETE FROM manual WHERE id = ?", (name,))


def _statement(row: sqlite3.Row) -> Statement:
    manual = parse(json.loads(row["data"]))
    assert manual is not None  # as it was written
    return Statement(row["id"], row["begin"], row["end"], manual, row["capture"])
