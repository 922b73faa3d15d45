"""Where Kimai and the computation differ and stay so: what a person decided, and what Kimai refuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from powdo.adapters.kimai.sync import Syncer
from powdo.adapters.kimai.telling import Person, as_block, record
from powdo.records import JsonObject, format_time
from powdo.records.operator import Timesheet
from powdo.worktime import reconcile
from powdo.worktime.blocked import Blocked
from powdo.worktime.book import MARGIN
from powdo.worktime.intervals import DAY, Interval, union
from powdo.worktime.reconcile import Listed, SentTimesheet, without_marker

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Rows that lie nearer than this share a listing.
_NEAR = 14 * DAY


def conflicts(
    syncer: Syncer, person: Person, rows: Sequence[SentTimesheet], refused: Sequence[Blocked]
) -> Iterator[Timesheet]:
    """Yield each of the ledger's *rows* that is kept, with what Kimai holds, and each that is *refused*."""
    kept = [row for row in rows if row.state == reconcile.KEPT]
    listing = _listing(syncer, person, kept)
    by_id = {row.id: row for row in rows}
    found = [_kept(syncer, person, row, listing) for row in kept]
    found += [_refused(syncer, person, item, by_id.get(item.id)) for item in refused]
    yield from sorted(found, key=lambda one: one.begin)


def _listing(syncer: Syncer, person: Person, rows: Sequence[SentTimesheet]) -> dict[int, Listed]:
    """Return what Kimai has where *rows* are; only what a person moved away is asked for by its id."""
    listing: dict[int, Listed] = {}
    for near in union((Interval(row.begin - MARGIN, row.end + MARGIN) for row in rows), _NEAR):
        listing |= syncer.kimai.listing(near, syncer.user(person))
    for row in rows:
        if row.kimai_id is not None and row.kimai_id not in listing:
            moved = syncer.kimai.get(row.kimai_id)
            if isinstance(moved, Listed):
                listing[row.kimai_id] = moved
    return listing


def _kept(syncer: Syncer, person: Person, row: SentTimesheet, listing: dict[int, Listed]) -> Timesheet:
    listed = None if row.kimai_id is None else listing.get(row.kimai_id)
    booking = syncer.catalogue.booking(row.project, row.activity)
    return replace(
        record(as_block(row, None, booking), person.name, booking),
        algorithm=row.algorithm,
        action="kept",
        kimai_id=row.kimai_id,
        reason="deleted" if listed is None else "edited",
        there=None if listed is None else _there(syncer, listed),
    )


def _there(syncer: Syncer, listed: Listed) -> JsonObject:
    booking = syncer.catalogue.booking(listed.project, listed.activity)
    return {
        "begin": _time(listed.begin),
        "end": None if listed.end is None else _time(listed.end),
        "customer": booking.customer_name,
        "project": booking.project_name,
        "activity": booking.activity_name,
        "tags": list(listed.tags),
        "description": without_marker(listed.description),
    }


def _time(microseconds: int) -> str:
    return format_time(_EPOCH + timedelta(microseconds=microseconds))


def _refused(syncer: Syncer, person: Person, item: Blocked, row: SentTimesheet | None) -> Timesheet:
    row = row or SentTimesheet(
        id=item.id,
        worker=item.worker,
        marker="",
        kimai_id=item.kimai_id,
        state=reconcile.INTENT,
        begin=item.begin,
        end=item.end,
        user=item.user,
        project=item.project,
        activity=item.activity,
        tags=(),
        description="",
        billable=None,
        fingerprint="",
    )
    booking = syncer.catalogue.booking(item.project, item.activity)
    return replace(
        record(as_block(row, None, booking), person.name, booking),
        action="blocked",
        kimai_id=item.kimai_id,
        reason=item.reason,
    )
