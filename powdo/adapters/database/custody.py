"""The keystore in the DVM's database: a row for each user record, its fields by their names.

Several hosts that share the database share the keys; each change is one transaction. Whoever adds or changes
keys takes turns, so that no second master key gets in beside a rotation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from powdo.adapters.database.engine import Database, opened
from powdo.adapters.database.tables import custody
from powdo.custody import PARTS, Change, Custody, Guard, UserRecord, name_taken
from powdo.errors import KeyRejectedError

_NOSTR = ("npub", *PARTS, "created_at")
_TURN = 0x706F77646B  # any number all of us agree on


class KeyTable(Custody):
    """The keystore in *database* (or at that URL)."""

    def __init__(self, database: str | Database) -> None:
        self._database = opened(database)

    def close(self) -> None:
        """Give the database connections back."""
        self._database.close()

    def records(self) -> list[UserRecord]:
        """Return all records in the order in which they were made."""
        with self._database.read() as connection:
            return _select(connection, sa.true())

    def find(self, username: str) -> UserRecord | None:
        """Return the record of *username*, or None."""
        with self._database.read() as connection:
            return next(iter(_select(connection, custody.c.username == username)), None)

    def insert(self, records: Sequence[UserRecord], guard: Guard) -> None:
        """Add *records*, all or none."""
        with self._database.write() as connection:
            self._take_turn(connection)
            living = sa.select(custody).where(custody.c.deleted_at.is_(None)).order_by(custody.c.number)
            first = connection.execute(living.limit(1)).one_or_none()
            for record in records:
                _refuse_twin(connection, record)
                connection.execute(custody.insert().values(_row(record)))
            if first is not None:
                guard(_record(first))

    def change(self, username: str | None, make: Change) -> list[UserRecord]:
        """Put what *make* returns of each record, or of that of *username*, in its place; all or none."""
        with self._database.write() as connection:
            self._take_turn(connection)
            before = _select(connection, sa.true() if username is None else custody.c.username == username)
            after = [make(record) for record in before]
            changed = [_row(new) for old, new in zip(before, after, strict=True) if new != old]
            if changed:
                update = custody.update().where(custody.c.id == sa.bindparam("which"))
                connection.execute(update, [{"which": row.pop("id"), **row} for row in changed])
        if changed:
            self._database.scrub(custody)
        return after

    def _take_turn(self, connection: sa.Connection) -> None:
        if self._database.sqlite:  # the write lock is the turn
            connection.exec_driver_sql("PRAGMA secure_delete=ON")  # what is deleted leaves no old page
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_TURN)))


def _select(connection: sa.Connection, where: sa.ColumnElement[bool]) -> list[UserRecord]:
    rows = connection.execute(sa.select(custody).where(where).order_by(custody.c.number))
    return [_record(row) for row in rows]


def _record(row: sa.Row[Any]) -> UserRecord:
    values = row._mapping
    nostr = {name: values[name] for name in _NOSTR}
    if values["deleted_at"] is not None:
        nostr["deleted_at"] = values["deleted_at"]
    return {"id": values["id"], "username": values["username"], "nostr": nostr}


def _row(record: UserRecord) -> dict[str, Any]:
    nostr = record["nostr"]
    values = {name: nostr[name] for name in _NOSTR}
    return values | {
        "id": record["id"],
        "username": record["username"],
        "deleted_at": nostr.get("deleted_at"),
    }


def _refuse_twin(connection: sa.Connection, record: UserRecord) -> None:
    name, npub = record["username"], record["nostr"]["npub"]
    same = sa.or_(custody.c.username == name, custody.c.npub == npub)
    for found in connection.execute(sa.select(custody.c.username).where(same)):
        if found.username == name:
            raise name_taken(name)
        raise KeyRejectedError(f"'{npub}' is in custody already, as that of '{found.username}'")
