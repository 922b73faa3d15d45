"""What the DVM owes its workers: an answer to each bundle, until a relay has taken it.

Rules:
- a bundle or a refusal stays due until `publish` has the primary relay's OK for a gift wrap that answers it;
- until then that gift wrap is kept and given out again; once it is old it is made anew, of the same rumor;
- a key whose gift wrap the relay has is not written to again because the relay refuses another key's;
- who was removed, or has no access key, is nobody's work: their answers wait until that changes;
- a statement is signed once and kept: whoever asks again is shown the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from powdo.adapters.database.engine import Database, opened
from powdo.adapters.database.tables import bundle, receipt, rejection, worker, worker_key
from powdo.worktime.statement import Statement

#: A gift wrap is dated back by two days at most, and listeners ask for what may have waited a day.
STALE = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The rumor *id* by *author* (hex), which a worker sent, and what became of it.

    Of a stored one there is what the DVM states of it, and the event in which it already did; of a
    refused one the *reason*. *at* is when (unix), *blob* its hash, *access* are the keys that may be told,
    none once the worker is *removed*.
    """

    id: str
    author: str
    worker: int
    worker_name: str
    access: tuple[str, ...]
    removed: bool
    due: bool
    at: int
    blob: str | None = None
    stated: Statement | None = None
    statement: str | None = None
    reason: str | None = None


class Receipts:
    """The answers that are due, and the gift wraps that carry them."""

    def __init__(self, database: str | Database) -> None:
        self._database = opened(database)

    def requests_due(self) -> list[str]:
        """Return the ids of the rumors that wait for an answer and can be given one, the oldest first."""
        stored = sa.select(bundle.c.rumor, bundle.c.ingested_at.label("at")).where(
            bundle.c.receipt_due, bundle.c.worker_id.in_(_REACHABLE)
        )
        refused = sa.select(rejection.c.rumor, rejection.c.rejected_at.label("at")).where(
            rejection.c.receipt_due, rejection.c.rumor.is_not(None), rejection.c.worker_id.in_(_REACHABLE)
        )
        both = sa.union_all(stored, refused).subquery()
        with self._database.read() as connection:
            rows = connection.execute(sa.select(both.c.rumor).order_by(both.c.at, both.c.rumor)).scalars()
            return list(dict.fromkeys(rows))

    def unreachable(self) -> list[str]:
        """Return the names of the workers whose answers wait for an access key to go to."""
        waits = sa.or_(
            *(
                sa.exists().where(table.c.receipt_due, table.c.worker_id == worker.c.id)
                for table in (bundle, rejection)
            )
        )
        query = sa.select(worker.c.name).where(~worker.c.disabled, worker.c.id.not_in(_REACHABLE), waits)
        with self._database.read() as connection:
            return list(connection.scalars(query.order_by(worker.c.name)))

    def request(self, rumor: str) -> Request | None:
        """Return what became of *rumor*: what is stored beats what was refused; None for a stranger's."""
        with self._database.read() as connection:
            row = connection.execute(_STORED, {"rumor": rumor}).one_or_none()
            if row is None:
                row = connection.execute(_REFUSED, {"rumor": rumor}).one_or_none()
            if row is None:
                return None
            keys = sa.select(worker_key.c.pubkey).where(
                worker_key.c.worker_id == row.worker_id, worker_key.c.role == "access"
            )
            access = connection.execute(keys.order_by(worker_key.c.added_at, worker_key.c.pubkey)).scalars()
            return _request(row, () if row.disabled else tuple(access))

    def refused_rumor(self, wrap: str) -> str | None:
        """Return the id of the rumor that was refused in *wrap*; None for a stranger's."""
        query = sa.select(rejection.c.rumor).where(
            rejection.c.wrap == wrap, rejection.c.worker_id.is_not(None)
        )
        with self._database.read() as connection:
            found: str | None = connection.execute(query).scalar()
        return found

    def keep_statement(self, rumor: str, event: str) -> str:
        """Return the statement of the bundle that came as *rumor*: *event*, unless there is one already."""
        with self._database.write() as connection:
            connection.execute(
                bundle.update()
                .where(bundle.c.rumor == rumor, bundle.c.statement.is_(None))
                .values(statement=event)
            )
            kept: str = connection.execute(
                sa.select(bundle.c.statement).where(bundle.c.rumor == rumor)
            ).scalar_one()
        return kept

    def waiting_receipts(self, rumor: str, now: int) -> Mapping[str, str]:
        """Return by recipient the gift wraps (JSON) that answer *rumor* and no relay has, unless stale."""
        query = sa.select(receipt.c.recipient, receipt.c.event).where(
            receipt.c.request == rumor,
            receipt.c.event.is_not(None),
            receipt.c.made_at > now - STALE,
            receipt.c.made_at <= now + STALE,  # else it was made while the clock was wrong
        )
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(receipt.c.made_at, receipt.c.wrap)).all()
        return {row.recipient: row.event for row in rows}

    def answered(self, rumor: str) -> set[str]:
        """Return the recipients for whom a relay has the answer to *rumor*, since it was last due."""
        query = sa.select(receipt.c.recipient).where(
            receipt.c.request == rumor, receipt.c.published_at.is_not(None)
        )
        with self._database.read() as connection:
            return set(connection.scalars(query))

    def keep_receipts(self, request: Request, events: Sequence[tuple[str, str, str]], now: int) -> None:
        """Keep (wrap id, recipient, JSON) as the answers to *request*, instead of earlier ones to them."""
        with self._database.write() as connection:
            connection.execute(
                receipt.delete().where(
                    receipt.c.request == request.id, receipt.c.recipient.in_([to for _, to, _ in events])
                )
            )
            connection.execute(
                receipt.insert(),
                [
                    {
                        "wrap": wrap,
                        "request": request.id,
                        "worker_id": request.worker,
                        "recipient": recipient,
                        "event": event,
                        "made_at": now,
                    }
                    for wrap, recipient, event in events
                ],
            )

    def receipt_published(self, wrap: str, now: int) -> bool:
        """Note that the primary relay has *wrap*, and return whether that is a receipt.

        Once it has those to all access keys, nothing is due any more.
        """
        with self._database.write() as connection:
            query = sa.select(receipt.c.request).where(receipt.c.wrap == wrap)
            request = connection.execute(query).scalar()
            if request is None:
                return False
            connection.execute(
                receipt.update()
                .where(receipt.c.wrap == wrap, receipt.c.published_at.is_(None))
                .values(event=None, published_at=now)
            )
            waiting = sa.select(receipt.c.wrap).where(
                receipt.c.request == request, receipt.c.published_at.is_(None)
            )
            if connection.execute(waiting.limit(1)).scalar() is None:
                for table in (bundle, rejection):
                    connection.execute(
                        table.update()
                        .where(table.c.rumor == request, table.c.receipt_due)
                        .values(receipt_due=False)
                    )
        return True


def answer_anew(connection: sa.Connection, rumor: str) -> None:
    """Let the answer to *rumor* be due to all access keys: those that were given count no longer."""
    connection.execute(
        receipt.delete().where(receipt.c.request == rumor, receipt.c.published_at.is_not(None))
    )


_REACHABLE = (
    sa.select(worker_key.c.worker_id)
    .join_from(worker_key, worker)
    .where(worker_key.c.role == "access", ~worker.c.disabled)
)
_STORED = (
    sa.select(bundle, worker.c.name, worker.c.disabled)
    .join_from(bundle, worker)
    .where(bundle.c.rumor == sa.bindparam("rumor"))
)
_REFUSED = (
    sa.select(rejection, worker.c.name, worker.c.disabled)
    .join_from(rejection, worker)
    .where(rejection.c.rumor == sa.bindparam("rumor"))
    .order_by(rejection.c.rejected_at.desc(), rejection.c.wrap)
    .limit(1)
)


def _request(row: sa.Row[Any], access: tuple[str, ...]) -> Request:
    values: dict[str, Any] = {
        "id": row.rumor,
        "author": row.pubkey,
        "worker": row.worker_id,
        "worker_name": row.name,
        "access": access,
        "removed": row.disabled,
        "due": row.receipt_due,
        "blob": row.sha256,
    }
    if "reason" in row._mapping:
        return Request(**values, at=row.rejected_at, reason=row.reason)
    stated = Statement(
        blob=row.sha256,
        device=row.device,
        sequence=row.sequence,
        root=row.root,
        received=row.ingested_at,
    )
    return Request(**values, at=row.ingested_at, stated=stated, statement=row.statement)
