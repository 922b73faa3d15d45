"""Who is enrolled: workers, their identities, and the access keys their machines use."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from powdo.adapters.database.engine import Database, opened
from powdo.adapters.database.tables import tombstone, worker, worker_key
from powdo.errors import UsageError
from powdo.nips.bech32 import encode_npub


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One enrolled worker; keys are hex pubkeys, in the order they were added."""

    id: int
    name: str
    pubkeys: tuple[str, ...]
    access_pubkeys: tuple[str, ...]
    kimai_user: int | None
    timezone: str | None
    disabled: bool
    day_start: int | None = None


class Author(NamedTuple):
    """The worker who signed something, and when all was erased that this identity had sent, if it was."""

    id: int
    name: str
    erased_at: int | None = None


class Workers:
    """The enrolled workers."""

    def __init__(self, database: str | Database) -> None:
        self._database = opened(database)

    def enroll(
        self,
        name: str,
        *,
        pubkeys: Iterable[str] = (),
        access: Iterable[str] = (),
        kimai_user: int | None = None,
        timezone: str | None = None,
        day_start: int | None = None,
        dry: bool = False,
    ) -> Worker:
        """Return the worker *name*, made or changed so that these keys and values are theirs.

        With *dry* as they would be, and nothing is kept.
        Raises: UsageError when a key is another worker's, or an identity is to be an access key too.
        """
        changes = {"kimai_user": kimai_user, "timezone": timezone, "day_start": day_start}
        with self._database.write() as connection:
            insert = self._database.insert(worker).values(
                name=name, disabled=False, added_at=int(time.time())
            )
            connection.execute(insert.on_conflict_do_nothing())
            number: int = connection.execute(sa.select(worker.c.id).where(worker.c.name == name)).scalar_one()
            values = {key: value for key, value in changes.items() if value is not None}
            connection.execute(worker.update().where(worker.c.id == number).values(disabled=False, **values))
            for role, keys in (("identity", pubkeys), ("access", access)):
                for pubkey in keys:
                    self._add_key(connection, number, pubkey, role)
            found = _load(connection, worker.c.id == number)[0]
            if dry:
                connection.rollback()
            return found

    def _add_key(self, connection: sa.Connection, number: int, pubkey: str, role: str) -> None:
        insert = self._database.insert(worker_key).values(
            pubkey=pubkey, worker_id=number, role=role, added_at=int(time.time())
        )
        connection.execute(insert.on_conflict_do_nothing())
        found = connection.execute(
            sa.select(worker.c.name, worker_key.c.worker_id, worker_key.c.role)
            .join_from(worker_key, worker)
            .where(worker_key.c.pubkey == pubkey)
        ).one()
        if found.worker_id != number:
            raise UsageError(f"'{encode_npub(pubkey)}' belongs to the worker '{found.name}'")
        if found.role != role:
            raise UsageError(
                f"'{encode_npub(pubkey)}' is {_ROLES[found.role]} of '{found.name}' already",
                hint="identity and access key must differ, or the public side learns the identity",
            )

    def remove(self, name: str) -> Worker | None:
        """Return the worker *name*, whose wraps are refused from now on; what they sent is kept."""
        with self._database.write() as connection:
            connection.execute(worker.update().where(worker.c.name == name).values(disabled=True))
            return next(iter(_load(connection, worker.c.name == name)), None)

    def workers(self, *, disabled: bool = True) -> list[Worker]:
        """Return the workers by name; without those that were removed if not *disabled*."""
        with self._database.read() as connection:
            found = _load(connection, sa.true())
        return [one for one in found if disabled or not one.disabled]

    def worker(self, name: str) -> Worker | None:
        """Return the worker *name*."""
        with self._database.read() as connection:
            return next(iter(_load(connection, worker.c.name == name)), None)

    def named(self, name: str | None) -> list[Worker]:
        """Return the worker *name*, or all of them for None. Raises: UsageError when there is none."""
        if name is None:
            return self.workers()
        found = self.worker(name)
        if found is None:
            raise UsageError(f"no worker is called '{name}'", hint="`powdo users list` shows them")
        return [found]

    def author(self, pubkey: str) -> Author | None:
        """Return the worker whose identity *pubkey* is, unless they were removed."""
        with self._database.read() as connection:
            row = connection.execute(_AUTHOR, {"pubkey": pubkey, "author": buried(pubkey)}).one_or_none()
        return None if row is None else Author(*row)


def buried(pubkey: str) -> str:
    """Return by what a tombstone knows *pubkey*."""
    return hashlib.sha256(pubkey.encode()).hexdigest()


_ERASED = (
    sa.select(tombstone.c.erased_at).where(tombstone.c.author == sa.bindparam("author")).scalar_subquery()
)
_AUTHOR = (
    sa.select(worker.c.id, worker.c.name, _ERASED)
    .join_from(worker_key, worker)
    .where(worker_key.c.pubkey == sa.bindparam("pubkey"), worker_key.c.role == "identity", ~worker.c.disabled)
)

_ROLES = {"identity": "an identity", "access": "an access key"}


def _load(connection: sa.Connection, where: sa.ColumnElement[bool]) -> list[Worker]:
    rows = connection.execute(sa.select(worker).where(where).order_by(worker.c.name)).all()
    keys: dict[int, dict[str, list[str]]] = {}
    query = sa.select(worker_key).where(worker_key.c.worker_id.in_([row.id for row in rows]))
    for key in connection.execute(query.order_by(worker_key.c.added_at, worker_key.c.pubkey)):
        keys.setdefault(key.worker_id, {}).setdefault(key.role, []).append(key.pubkey)
    return [_worker(row, keys.get(row.id, {})) for row in rows]


def _worker(row: sa.Row[Any], keys: dict[str, list[str]]) -> Worker:
    return Worker(
        id=row.id,
        name=row.name,
        pubkeys=tuple(keys.get("identity", ())),
        access_pubkeys=tuple(keys.get("access", ())),
        kimai_user=row.kimai_user,
        timezone=row.timezone,
        disabled=row.disabled,
        day_start=row.day_start,
    )
