"""What the syncer is given, a worker and their ledger, and what it tells, `timesheet` records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from powdo.adapters.kimai.catalogue import Booking
from powdo.records.operator import Timesheet
from powdo.worktime.activity import Bucket
from powdo.worktime.book import Book
from powdo.worktime.flood import Needed
from powdo.worktime.intervals import SECOND
from powdo.worktime.reconcile import Listed, SentTimesheet, without_marker
from powdo.worktime.timesheets import ALGORITHM, Block

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Store(Protocol):
    """What the syncer needs of the database."""

    def bucket_events(self, worker: int, begin: int, end: int, needed: Needed | None = None) -> list[Bucket]:
        """Return the buckets of *worker* with what they hold in a period."""

    def put_timesheet(self, sent: SentTimesheet) -> None:
        """Keep *sent* durably."""

    def sent_timesheets(self, worker: int, begin: int, end: int) -> list[SentTimesheet]:
        """Return the ledger of *worker* in a period, without what was deleted."""

    def pending_timesheets(self, worker: int) -> list[SentTimesheet]:
        """Return the rows whose request may or may not have arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A worker, as far as the syncer needs to know them; *kimai_user* None means the token's owner."""

    id: int
    name: str
    kimai_user: int | None
    book: Book


def record(block: Block, user: str, booking: Booking | None = None) -> Timesheet:
    """Return *block* as a record, without an action."""
    return Timesheet(
        begin=_EPOCH + timedelta(microseconds=block.begin),
        end=_EPOCH + timedelta(microseconds=block.end),
        seconds=(block.end - block.begin) // SECOND,
        user=user,
        project=booking.project_name if booking else block.project,
        activity=booking.activity_name if booking else block.activity,
        customer=booking.customer_name if booking else block.customer,
        tags=block.tags,
        billable=block.billable,
        description=block.description,
        source=block.source,
        algorithm=ALGORITHM,
    )


def as_block(row: SentTimesheet, listed: Listed | None, booking: Booking) -> Block:
    """Return *row* as a block: what is in Kimai if *listed* says so, else what was sent."""
    end = row.end if listed is None or listed.end is None else listed.end
    return Block(
        begin=listed.begin if listed else row.begin,
        end=max(end, listed.begin) if listed else end,
        active=0,
        customer=booking.customer_name,
        project=booking.project_name,
        activity=booking.activity_name,
        tags=listed.tags if listed else row.tags,
        billable=row.billable,
        description=without_marker(listed.description) if listed else row.description,
        source="",
    )
