"""What the syncer is given, a worker and their ledger, and what it writes down and tells of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from powdo.adapters.kimai.catalogue import Booking, Catalogue
from powdo.errors import RefusedError
from powdo.records import JsonObject, format_time
from powdo.records.operator import Timesheet
from powdo.worktime.activity import Bucket
from powdo.worktime.blocked import Blocked
from powdo.worktime.book import Book
from powdo.worktime.flood import Needed
from powdo.worktime.intervals import SECOND
from powdo.worktime.manual import TAG, marked
from powdo.worktime.reconcile import Listed, SentTimesheet, without_marker
from powdo.worktime.timesheets import ALGORITHM, Block

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Store(Protocol):
    """What the syncer needs of the database."""

    def bucket_events(self, worker: int, begin: int, end: int, needed: Needed | None = None) -> list[Bucket]:
        """Return the buckets of *worker* with what they hold in a period."""

    def put_timesheets(self, rows: Sequence[SentTimesheet]) -> None:
        """Keep *rows* durably, in one commit."""

    def sent_timesheets(self, worker: int, begin: int, end: int) -> list[SentTimesheet]:
        """Return the ledger of *worker* in a period, without what was deleted."""

    def pending_timesheets(self, worker: int) -> list[SentTimesheet]:
        """Return the rows whose request may or may not have arrived."""

    def known_timesheets(
        self, worker: int, kimai_ids: Collection[int], markers: Collection[str]
    ) -> list[SentTimesheet]:
        """Return the rows, deleted ones too, that have one of *kimai_ids* or of *markers*."""

    def blocked(self, worker: int) -> list[Blocked]:
        """Return what Kimai refused."""

    def put_blocked(self, blocked: Blocked) -> None:
        """Keep *blocked* durably."""

    def drop_blocked(self, names: Iterable[str]) -> None:
        """Forget what was refused under the ids *names*."""


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
        manual=block.manual or None,
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
        manual=TAG in row.tags and row.description.endswith(marked("")),
    )


def values(row: SentTimesheet) -> JsonObject:
    """Return what *row* was before it changed, for people to compare."""
    return {
        "begin": format_time(_EPOCH + timedelta(microseconds=row.begin)),
        "end": format_time(_EPOCH + timedelta(microseconds=row.end)),
        "seconds": (row.end - row.begin) // SECOND,
        "tags": list(row.tags),
        "description": row.description,
        "algorithm": row.algorithm,
    }


class Journal:
    """What one run writes into the ledger and tells, each row once and each word once."""

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        *,
        warn: Callable[[str, str | None], None],
        fail: Callable[[RefusedError], None],
        dry: bool,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._warn = warn
        self._fail = fail
        self._dry = dry
        self._stored: dict[str, SentTimesheet] = {}
        self._told: set[str] = set()
        self._done: set[tuple[int, str]] = set()

    def seen(self, rows: Iterable[SentTimesheet]) -> None:
        """Note that *rows* are in the ledger as they are."""
        self._stored.update((row.id, row) for row in rows)

    def put(self, *rows: SentTimesheet) -> None:
        """Write *rows* into the ledger in one commit, if they change anything and this is no dry run."""
        changed = [row for row in rows if self._stored.get(row.id) != row]
        if changed and not self._dry:
            self._store.put_timesheets(changed)
            self._stored.update((row.id, row) for row in changed)

    def tell(self, text: str, hint: str | None = None) -> None:
        """Say *text* once."""
        if text not in self._told:
            self._told.add(text)
            self._warn(text, hint)

    def refuse(self, error: RefusedError) -> None:
        """Report *error* once."""
        if error.message not in self._told:
            self._told.add(error.message)
            self._fail(error)

    def once(
        self,
        person: Person,
        row: SentTimesheet,
        action: str,
        *,
        listed: Listed | None = None,
        target: tuple[Block, Booking] | None = None,
        reason: str | None = None,
        was: JsonObject | None = None,
    ) -> Iterator[Timesheet]:
        """Yield the record of *row*; that nothing was done about it is said once a run."""
        if action in {"unchanged", "kept", "blocked"} and (person.id, row.id) in self._done:
            return
        self._done.add((person.id, row.id))
        if target is None:
            booking = self._catalogue.booking(row.project, row.activity)
            block = as_block(row, listed, booking)
            algorithm = row.algorithm or ALGORITHM
        else:
            (block, booking), algorithm = target, ALGORITHM
        yield replace(
            record(block, person.name, booking),
            algorithm=algorithm,
            action=action,
            kimai_id=row.kimai_id,
            reason=reason,
            was=was,
        )
