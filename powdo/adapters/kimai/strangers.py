"""Timesheets in Kimai that bear a marker of ours, or stand where one of ours should, and are in no ledger.

They come from a database that was restored from an older copy, from an answer lost longer than anybody
waited for it, or from a marker that a person deleted. None of them is made a second time:

- what is exactly what should be there is taken into the ledger;
- everything else may be a person's edit, and is kept as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from powdo.adapters.kimai.telling import Person, Store
from powdo.worktime import reconcile
from powdo.worktime.intervals import Interval
from powdo.worktime.reconcile import Listed, SentTimesheet, Wanted, marker_of, without_marker
from powdo.worktime.timesheets import ALGORITHM


class Stranger(NamedTuple):
    """A timesheet that nobody here knows of, and the row that was to become it, if there is one."""

    listed: Listed
    row: SentTimesheet | None


def strangers(
    store: Store, worker: int, scope: Interval, listing: Iterable[Listed], rows: Iterable[SentTimesheet]
) -> list[Stranger]:
    """Return what of *listing* lies in *scope*, bears a marker, and is not in the ledger nor a copy of it.

    A person who copies a timesheet copies its marker; the copy is theirs.
    """
    known = {row.kimai_id for row in rows}
    odd: dict[str, Listed] = {}
    for item in sorted(listing, key=lambda item: item.id):
        marker = marker_of(item.description)
        near = item.end is not None and item.begin < scope.end and item.end > scope.begin
        if near and marker is not None and item.id not in known:
            odd.setdefault(marker, item)
    if not odd:
        return []
    told = store.known_timesheets(worker, [item.id for item in odd.values()], odd)
    numbers = {row.kimai_id for row in told}
    of_marker = {row.marker: row for row in told}
    return [
        Stranger(item, of_marker.get(marker))
        for marker, item in odd.items()
        if item.id not in numbers and not _is_alive(of_marker.get(marker))
    ]


def _is_alive(row: SentTimesheet | None) -> bool:
    return row is not None and row.kimai_id is not None and row.state != reconcile.DELETED


def unmarked(
    store: Store, worker: int, listing: Iterable[Listed], rows: Sequence[SentTimesheet]
) -> list[SentTimesheet]:
    """Return the rows without an answer whose timesheet is there, its marker deleted, as a person's."""
    pending = [row for row in rows if row.kimai_id is None and row.state == reconcile.INTENT]
    free = [item for item in listing if marker_of(item.description) is None] if pending else []
    if not free:
        return []
    taken = {row.kimai_id for row in store.known_timesheets(worker, [item.id for item in free], ())}
    found: list[SentTimesheet] = []
    for row in pending:
        for item in free:
            alike = (item.user, item.project, item.activity) == (row.user, row.project, row.activity)
            if item.id not in taken and alike and abs(item.begin - row.begin) <= reconcile.ROUNDING:
                taken.add(item.id)
                found.append(replace(row, kimai_id=item.id, state=reconcile.KEPT))
                break
    return found


def adopted(person: Person, found: Sequence[Stranger], wanted: Iterable[Wanted]) -> list[SentTimesheet]:
    """Return a row for each of *found*: ours if it is one of *wanted*, else kept as a person's."""
    left = list(wanted)
    rows: list[SentTimesheet] = []
    for item, row in found:
        same = next((want for want in left if _is(item, want)), None)
        if same is not None:
            left.remove(same)
        rows.append(_row(person, item, same, row))
    return rows


def _is(item: Listed, want: Wanted) -> bool:
    text = without_marker(reconcile.mark(want.description, str(marker_of(item.description))))
    return (
        item.end is not None
        and (item.user, item.project, item.activity) == (want.user, want.project, want.activity)
        and without_marker(item.description) == text
        and abs(item.begin - want.begin) <= reconcile.ROUNDING
        and abs(item.end - want.end) <= reconcile.ROUNDING
    )


def _row(person: Person, item: Listed, want: Wanted | None, row: SentTimesheet | None) -> SentTimesheet:
    marker = str(marker_of(item.description))
    return SentTimesheet(
        id=row.id if row else f"{marker}-{item.id}",
        worker=person.id,
        marker=marker,
        kimai_id=item.id,
        state=reconcile.SENT if want else reconcile.KEPT,
        begin=want.begin if want else item.begin,
        end=want.end if want else item.end or item.begin,
        user=item.user,
        project=item.project,
        activity=item.activity,
        tags=want.tags if want else item.tags,
        description=want.description if want else without_marker(item.description),
        billable=want.billable if want else None,
        fingerprint=item.fingerprint,
        algorithm=ALGORITHM,
    )
