"""The books of the proof-of-work service: paid before the work, in one transaction, and squared afterwards.

Rules:
- a fee is taken and its job noted together, only where the account covers it;
- a job is ended once: what ends it also gives back what is not charged;
- a job that is open when its service starts is one that a crash cut off: all of its fee goes back;
- what a finished job gave is kept with it for a while: whoever lost the connection does not pay twice;
- a job that is over may be forgotten with its entries, in the transaction that adds what it was charged to
  its account's folded sum: so accounts say what they said before. Credits are never forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from powdo.adapters.database.engine import Database, Schema
from powdo.adapters.database.pow_tables import NOTED, account, entry, job
from powdo.errors import UsageError

SCHEMA = Schema(Path(__file__).parent / "pow_migrations", "0002", NOTED)
#: All bitcoin there will ever be, in msat; twice that still fits the column.
MOST = 21_000_000 * 100_000_000 * 1000


class Account(NamedTuple):
    """One account in msat: what is on it, what was put there, what was charged for how many jobs."""

    pubkey: str
    msat: int
    credited: int
    charged: int
    jobs: int


class Past(NamedTuple):
    """A job that is over: `done` or `cancelled`; amounts in msat, times in Unix seconds."""

    id: str
    pubkey: str
    begun_at: int
    ended_at: int
    state: str
    fee: int
    charged: int


_PAST = [job.c[name] for name in Past._fields]


class Books:
    """The accounts and jobs in the database at *url*; every call is one transaction."""

    def __init__(self, url: str, *, create: bool = True) -> None:
        self._database = Database(url, create=create, schema=SCHEMA)

    def close(self) -> None:
        """Give the connections back."""
        self._database.close()

    def credit(self, pubkey: str, msat: int, note: str | None = None) -> int:
        """Put *msat*, at least 1, on the account of *pubkey* and return its balance.

        Raises: UsageError when it would be more than there is, with nothing put there.
        """
        insert = self._database.insert(account).values(pubkey=pubkey, msat=msat)
        insert = insert.on_conflict_do_update(
            index_elements=["pubkey"], set_={"msat": account.c.msat + insert.excluded.msat}
        )
        with self._database.write() as connection:
            if _balance(connection, pubkey) + msat > MOST:
                raise UsageError("an account holds no more than all bitcoin there is")
            connection.execute(insert)
            _enter(connection, pubkey, msat, "credit", None, note)
            return _balance(connection, pubkey)

    def begin(self, job_id: str, service: str, pubkey: str, fee: int, request: str) -> int | None:
        """Take *fee* from *pubkey* and note its job; return None, or the balance that does not cover it."""
        with self._database.write() as connection:
            if fee:
                paid = connection.execute(
                    sa.update(account)
                    .where(account.c.pubkey == pubkey, account.c.msat >= fee)
                    .values(msat=account.c.msat - fee)
                )
                if paid.rowcount != 1:
                    return _balance(connection, pubkey)
                _enter(connection, pubkey, -fee, "fee", job_id)
            connection.execute(
                sa.insert(job).values(
                    id=job_id,
                    service=service,
                    pubkey=pubkey,
                    request=request,
                    fee=fee,
                    state="open",
                    begun_at=int(time.time()),
                )
            )
        return None

    def end(self, job_id: str, charged: int | None = None, result: str | None = None) -> bool:
        """End a job, *charged* at most its fee (None: all of it), and give the rest back.

        Returns False, and changes nothing, where it has been ended before.
        """
        with self._database.write() as connection:
            return _end(connection, job_id, charged, result)

    def recover(self, service: str) -> int:
        """End the jobs that *service* has left open, charge nothing, and return how many there were."""
        with self._database.write() as connection:
            left = sa.select(job.c.id).where(job.c.state == "open", job.c.service == service)
            found = connection.execute(left).scalars().all()
            for job_id in found:
                _end(connection, job_id, 0, None)
        return len(found)

    def result(self, pubkey: str, request: str, since: int) -> str | None:
        """Return what a job of *pubkey* for the same *request* gave, ended at *since* or later."""
        query = (
            sa.select(job.c.result)
            .where(job.c.request == request, job.c.pubkey == pubkey)
            .where(job.c.result.is_not(None), job.c.ended_at >= since)
            .order_by(job.c.ended_at.desc())
        )
        with self._database.read() as connection:
            found: str | None = connection.execute(query).scalars().first()
        return found

    def forget_results(self, before: int) -> None:
        """Forget what jobs gave that ended before that."""
        with self._database.write() as connection:
            old = (job.c.result.is_not(None), job.c.ended_at < before)
            connection.execute(sa.update(job).where(*old).values(result=None))

    def past(self, before: int) -> list[Past]:
        """Return the jobs that ended before that, the oldest first."""
        with self._database.read() as connection:
            return [Past(*row) for row in connection.execute(_past(before, *_PAST))]

    def forget(self, before: int, most: int = 1000) -> list[Past]:
        """Forget the oldest *most* jobs that ended before that, and return them; accounts say what they said.

        Several may do so at once: each job is returned to one of them.
        """
        chosen = _past(before, job.c.id).limit(most)
        going = sa.delete(job).where(job.c.id.in_(chosen)).returning(*_PAST)
        with self._database.write() as connection:
            gone = [Past(*row) for row in connection.execute(going)]
            connection.execute(sa.delete(entry).where(entry.c.job.in_([item.id for item in gone])))
            # in one order: two that forget at once must not block each other
            for pubkey in sorted({item.pubkey for item in gone}):
                own = [item for item in gone if item.pubkey == pubkey]
                _fold(connection, pubkey, own)
        return sorted(gone, key=lambda item: (item.ended_at, item.id))

    def accounts(self) -> list[Account]:
        """Return all accounts, the richest first."""
        credited = sa.select(sa.func.coalesce(sa.func.sum(entry.c.msat), 0)).where(
            entry.c.pubkey == account.c.pubkey, entry.c.kind == "credit"
        )
        charged = sa.select(sa.func.coalesce(sa.func.sum(job.c.charged), 0)).where(
            job.c.pubkey == account.c.pubkey
        )
        jobs = sa.select(sa.func.count()).where(job.c.pubkey == account.c.pubkey, job.c.state == "done")
        query = sa.select(
            account.c.pubkey,
            account.c.msat,
            credited.scalar_subquery(),
            charged.scalar_subquery() + account.c.folded_msat,
            jobs.scalar_subquery() + account.c.folded_jobs,
        ).order_by(account.c.msat.desc(), account.c.pubkey)
        with self._database.read() as connection:
            return [
                Account(pubkey, int(msat), int(put), int(taken), int(count))
                for pubkey, msat, put, taken, count in connection.execute(query)
            ]

    def audit(self) -> list[str]:
        """Return what does not add up; nothing where the books are right."""
        with self._database.read() as connection:
            return [*_wrong_accounts(connection), *_wrong_jobs(connection)]


def _balance(connection: sa.Connection, pubkey: str) -> int:
    found = connection.execute(sa.select(account.c.msat).where(account.c.pubkey == pubkey)).scalar()
    return int(found or 0)


def _enter(
    connection: sa.Connection, pubkey: str, msat: int, kind: str, job_id: str | None, note: str | None = None
) -> None:
    values = {"pubkey": pubkey, "msat": msat, "kind": kind, "job": job_id, "note": note}
    connection.execute(sa.insert(entry).values(**values, at=int(time.time())))


def _end(connection: sa.Connection, job_id: str, charged: int | None, result: str | None) -> bool:
    found = connection.execute(
        sa.select(job.c.pubkey, job.c.fee).where(job.c.id == job_id, job.c.state == "open").with_for_update()
    ).first()
    if found is None:
        return False
    pubkey, fee = found
    charged = fee if charged is None else min(charged, fee)
    connection.execute(
        sa.update(job)
        .where(job.c.id == job_id)
        .values(
            state="done" if result is not None else "cancelled",
            charged=charged,
            ended_at=int(time.time()),
            result=result,
        )
    )
    if charged < fee:
        back = fee - charged
        connection.execute(
            sa.update(account).where(account.c.pubkey == pubkey).values(msat=account.c.msat + back)
        )
        _enter(connection, pubkey, back, "refund", job_id)
    return True


def _past(before: int, *columns: sa.Column[Any]) -> sa.Select[Any]:
    over = (job.c.state != "open", job.c.ended_at < before)
    return sa.select(*columns).where(*over).order_by(job.c.ended_at, job.c.id)


def _fold(connection: sa.Connection, pubkey: str, jobs: Sequence[Past]) -> None:
    """Let the account of *pubkey* keep the sum of *jobs*; who never paid may have none."""
    connection.execute(
        sa.update(account)
        .where(account.c.pubkey == pubkey)
        .values(
            folded_msat=account.c.folded_msat + sum(item.charged for item in jobs),
            folded_jobs=account.c.folded_jobs + sum(item.state == "done" for item in jobs),
        )
    )


def _wrong_accounts(connection: sa.Connection) -> list[str]:
    total = sa.func.coalesce(sa.func.sum(entry.c.msat), 0) - account.c.folded_msat
    query = (
        sa.select(account.c.pubkey, account.c.msat, total)
        .outerjoin(entry, entry.c.pubkey == account.c.pubkey)
        .group_by(account.c.pubkey, account.c.msat, account.c.folded_msat)
        .having(account.c.msat != total)
    )
    return [
        f"account {pubkey} has {msat} msat, its entries add up to {entries}"
        for pubkey, msat, entries in connection.execute(query)
    ]


def _wrong_jobs(connection: sa.Connection) -> list[str]:
    paid = sa.select(sa.func.coalesce(-sa.func.sum(entry.c.msat), 0)).where(entry.c.job == job.c.id)
    owed = sa.case((job.c.state == "open", job.c.fee), else_=job.c.charged)
    query = sa.select(job.c.id, paid.scalar_subquery(), owed).where(paid.scalar_subquery() != owed)
    return [
        f"job {job_id} was paid {msat} msat, and {wanted} were due"
        for job_id, msat, wanted in connection.execute(query)
    ]
