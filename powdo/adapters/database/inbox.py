"""The durable queue of gift wraps between `listen` and `ingest`.

Rules:
- only a wrap whose id and signature were checked may come in: a forged one would take the place of the real;
- a wrap is claimed with a lease; the lease of a process that died on this machine ends at once;
- a wrap that is done keeps its id, so that it is known when a relay sends it again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from powdo.adapters.database.engine import Database, opened
from powdo.adapters.database.tables import inbox, relay_sync

#: How long a claimed wrap stays ours, should this machine go down.
LEASE = 900
#: Nothing waits longer for its next try, nor is claimed for longer.
LONGEST_WAIT = 43_200
#: How many wraps of strangers are remembered.
STRANGERS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One gift wrap that waits to be ingested."""

    wrap: str
    event: Mapping[str, Any]
    received_at: int
    attempts: int


class Inbox:
    """The gift wraps that came in, and how far each relay was read."""

    def __init__(self, database: str | Database) -> None:
        self._database = opened(database)
        self._me = _own_name()
        self.free_the_dead()

    def close(self) -> None:
        """Give the database connections back."""
        self._database.close()

    def add(self, event: Mapping[str, Any], relay: str, now: int | None = None) -> bool:
        """Return whether the checked gift wrap *event* is new; it is on the disk by then."""
        with self._database.write() as connection:
            return self._add(connection, event, relay, int(time.time()) if now is None else now)

    def _add(self, connection: sa.Connection, event: Mapping[str, Any], relay: str, now: int) -> bool:
        insert = self._database.once(_insert)
        return connection.execute(insert, _waiting(event, relay, now)).scalar() is not None

    def knows(self, wrap: str) -> bool:
        """Return whether the gift wrap with the id *wrap* was ever added."""
        with self._database.read() as connection:
            return (
                connection.execute(sa.select(inbox.c.wrap).where(inbox.c.wrap == wrap)).scalar() is not None
            )

    def outcome(self, wrap: str) -> str | None:
        """Return what became of *wrap*, or None while it waits or is not known."""
        with self._database.read() as connection:
            found: str | None = connection.execute(
                sa.select(inbox.c.outcome).where(inbox.c.wrap == wrap)
            ).scalar()
        return found

    def synced(self, relay: str) -> int | None:
        """Return when *relay* was last read to its end, in unix time."""
        with self._database.read() as connection:
            found: int | None = connection.execute(
                sa.select(relay_sync.c.synced_at).where(relay_sync.c.relay == relay)
            ).scalar()
        return found

    def set_synced(self, relay: str, at: int) -> None:
        """Remember that *relay* was read to its end at the unix time *at*."""
        insert = self._database.insert(relay_sync).values(relay=relay, synced_at=at)
        insert = insert.on_conflict_do_update(index_elements=["relay"], set_={"synced_at": at})
        with self._database.write() as connection:
            connection.execute(insert)

    def claim(self, now: int, *, lease: int = LEASE, limit: int = 1) -> list[Item]:
        """Return up to *limit* wraps that are due, which no other run gets for *lease* seconds.

        What lies further ahead than any wait was noted while the clock was wrong, and is due too.
        """
        new = inbox.c.attempts == 0
        due = (
            sa.select(inbox)
            .where(inbox.c.state == "waiting")
            .where(sa.or_(new, inbox.c.next_at <= now, inbox.c.next_at > now + LONGEST_WAIT))
            .where(sa.or_(inbox.c.lease_until <= now, inbox.c.lease_until > now + LONGEST_WAIT))
            .order_by(inbox.c.next_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        with self._database.write() as connection:
            return self._take(connection, due, now + lease)

    def accept(self, event: Mapping[str, Any], now: int, *, lease: int = LEASE) -> Item | None:
        """Return the checked gift wrap *event*, added if it is new, and claimed, due or not.

        None when another run holds it or it is done.
        """
        return next(iter(self.accept_all([event], now, lease=lease)), None)

    def accept_all(self, events: Iterable[Mapping[str, Any]], now: int, *, lease: int = LEASE) -> list[Item]:
        """Return those of *events* that `accept` would return, with one commit for them all."""
        insert, items = self._database.once(_insert_or_claim), []
        with self._database.write() as connection:
            # In the order of the key: two runs with the same wraps wait for each other, but not in a circle.
            for event in sorted(events, key=itemgetter("id")):
                values = _waiting(event, "", now) | {"lease_until": now + lease, "lease_by": self._me}
                row = connection.execute(insert, values).one_or_none()
                if row is not None:
                    items.append(
                        Item(
                            wrap=event["id"], event=event, received_at=row.received_at, attempts=row.attempts
                        )
                    )
        return items

    def _take(self, connection: sa.Connection, query: sa.Select[Any], until: int) -> list[Item]:
        rows = connection.execute(query).all()
        if rows:
            connection.execute(
                inbox.update()
                .where(inbox.c.wrap.in_([row.wrap for row in rows]))
                .values(lease_until=until, lease_by=self._me)
            )
        return [
            Item(
                wrap=row.wrap,
                event=json.loads(row.event),
                received_at=row.received_at,
                attempts=row.attempts,
            )
            for row in rows
        ]

    def done(self, wrap: str, outcome: str) -> None:
        """End the wait of *wrap*, whose *outcome* is ingested, duplicate, rejected, stranger or skipped."""
        with self._database.write() as connection:
            finish(connection, wrap, outcome)

    def reopen(self, event: Mapping[str, Any], now: int) -> None:
        """Let the gift wrap *event* wait again, whose author was a stranger when it came."""
        values = {"event": json.dumps(event, separators=(",", ":")), "state": "waiting", "outcome": None}
        with self._database.write() as connection:
            connection.execute(
                inbox.update()
                .where(inbox.c.wrap == event["id"], inbox.c.outcome == "stranger")
                .values(attempts=0, next_at=now, lease_until=0, lease_by=None, **values)
            )

    def defer(self, wrap: str, error: str, retry_at: int) -> None:
        """Leave *wrap* waiting until *retry_at*, because of *error*."""
        values = {"error": storable(error)[:1000], "next_at": retry_at, "lease_until": 0, "lease_by": None}
        with self._database.write() as connection:
            connection.execute(
                inbox.update()
                .where(inbox.c.wrap == wrap, inbox.c.state == "waiting")
                .values(attempts=inbox.c.attempts + 1, **values)
            )

    def release(self, wrap: str) -> None:
        """Give a claimed *wrap* back as it was."""
        with self._database.write() as connection:
            connection.execute(
                inbox.update()
                .where(inbox.c.wrap == wrap, inbox.c.lease_by == self._me)
                .values(lease_until=0, lease_by=None)
            )

    def next_retry(self) -> int | None:
        """Return the unix time at which the queue is worth another look, or None when nothing waits."""
        later = sa.case((inbox.c.next_at > inbox.c.lease_until, inbox.c.next_at), else_=inbox.c.lease_until)
        with self._database.read() as connection:
            found: int | None = connection.execute(
                sa.select(sa.func.min(later)).where(inbox.c.state == "waiting")
            ).scalar()
        return found

    def free_the_dead(self) -> None:
        """End the leases of processes of this machine that are gone."""
        here = self._me.rsplit("/", 2)[0] + "/"
        holders = (
            sa.select(inbox.c.lease_by)
            .distinct()
            .where(inbox.c.state == "waiting", inbox.c.lease_by.startswith(here, autoescape=True))
        )
        with self._database.read() as connection:
            dead = [name for (name,) in connection.execute(holders) if not _alive(name)]
        if dead:
            with self._database.write() as connection:
                connection.execute(
                    inbox.update().where(inbox.c.lease_by.in_(dead)).values(lease_until=0, lease_by=None)
                )


def storable(text: str) -> str:
    """Return *text* without what a database cannot keep: it may quote a peer."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "backslashreplace").decode("utf-8")


def _waiting(event: Mapping[str, Any], relay: str, now: int) -> dict[str, Any]:
    return {
        "wrap": event["id"],
        "event": json.dumps(event, separators=(",", ":")),
        "relay": relay,
        "received_at": now,
        "state": "waiting",
        "attempts": 0,
        "next_at": now,
        "lease_until": 0,
        "lease_by": None,
    }


def _insert(database: Database) -> Any:
    return database.insert(inbox).on_conflict_do_nothing().returning(inbox.c.wrap)


def _insert_or_claim(database: Database) -> Any:
    """Return what adds a wrap with a lease on it, or takes the lease on one that waits and is free."""
    insert = database.insert(inbox)
    lease = {name: insert.excluded[name] for name in ("lease_until", "lease_by")}
    free = sa.or_(inbox.c.lease_until <= insert.excluded.received_at, inbox.c.lease_by == lease["lease_by"])
    insert = insert.on_conflict_do_update(
        index_elements=["wrap"], set_=lease, where=(inbox.c.state == "waiting") & free
    )
    return insert.returning(inbox.c.received_at, inbox.c.attempts)


_FINISH = (
    inbox.update()
    .where(inbox.c.wrap == sa.bindparam("done"))
    .values(state="done", lease_until=0, lease_by=None, event=None, error=None)
)


def finish(connection: sa.Connection, wrap: str, outcome: str) -> None:
    """Mark *wrap* as done on *connection*; of strangers only the last are remembered."""
    connection.execute(_FINISH, {"done": wrap, "outcome": outcome})
    if outcome != "stranger":
        return
    strangers = sa.select(inbox.c.wrap).where(inbox.c.outcome == "stranger")
    if (
        connection.execute(sa.select(sa.func.count()).select_from(strangers.subquery())).scalar() or 0
    ) > STRANGERS:
        oldest = strangers.order_by(inbox.c.received_at).limit(STRANGERS // 10)
        connection.execute(inbox.delete().where(inbox.c.wrap.in_(oldest)))


def _started(pid: str) -> str | None:
    """Return when the process *pid* started, so that a number used again is not taken for the old process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]


def _own_name() -> str:
    """Return a name for this process that nothing else bears: boot / process namespace / number / start."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        boot, space = "unknown", "unknown"
    return f"{boot}/{space}/{os.getpid()}/{_started(str(os.getpid()))}"


def _alive(name: str) -> bool:
    _, _, pid, started = name.split("/")
    return _started(pid) == started
