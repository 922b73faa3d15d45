"""Bring Kimai to what was computed: one listing a window, one POST a new timesheet, nothing twice.

Rules:
- every write is in the ledger, on the disk, before its request leaves; the next run takes up a dead one;
- a timesheet under way without an answer is looked for by its marker and posted again under the same one;
- deletions go first, then changes, then what is new, since a Kimai may forbid overlaps;
- what one timesheet is refused for does not hold up the others; what nobody answers ends the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from powdo.adapters.kimai.catalogue import Booking, Catalogue
from powdo.adapters.kimai.client import Client
from powdo.adapters.kimai.telling import Person, Store, as_block, record
from powdo.adapters.kimai.timesheets import Timesheets
from powdo.errors import PowdoError, RefusedError
from powdo.records.operator import Timesheet
from powdo.worktime import reconcile
from powdo.worktime.book import MARGIN
from powdo.worktime.intervals import Interval
from powdo.worktime.reconcile import Listed, SentTimesheet, Wanted
from powdo.worktime.timesheets import Block

_Target = tuple[Block, Booking]


class Syncer:
    """Takes windows of a worker's time to Kimai; *fail* is told what one timesheet is refused for."""

    def __init__(
        self,
        client: Client,
        store: Store,
        *,
        tag: str,
        create: bool,
        dry: bool,
        fresh: Callable[[], str],
        fail: Callable[[PowdoError], None],
    ) -> None:
        self._client = client
        self._kimai = Timesheets(client)
        self._create_missing = create and not dry
        self._catalogue = Catalogue(client, create=self._create_missing)
        self._store = store
        self._tag = tag
        self._dry = dry
        self._fresh = fresh
        self._fail = fail
        self._stored: dict[str, SentTimesheet] = {}
        self._told: set[str] = set()
        self._done: set[tuple[int, str]] = set()
        self.complete = True

    def begin(self) -> None:
        """Start a batch; what was refused in the one before is looked at anew."""
        if not self.complete:
            self._catalogue = Catalogue(self._client, create=self._create_missing)
        self.complete = True

    # --- one window ------------------------------------------------------------------------------

    def sync(self, person: Person, window: Interval) -> Iterator[Timesheet]:
        """Yield what was done, or in a dry run would be done, about the timesheets of *window*."""
        self._take_up(person)
        low, high = window.begin - MARGIN, window.end + MARGIN
        events = self._store.bucket_events(person.id, low, high, person.book.needed())
        slices = [item for item in person.book.slices(events) if item.begin < high and item.end > low]
        rows = self._store.sent_timesheets(person.id, low, high)
        self._stored.update((row.id, row) for row in rows)
        spans = [Interval(item.begin, item.end) for item in slices]
        spans += [Interval(row.begin, row.end) for row in rows]
        limits = person.book.limits
        scope = reconcile.scope(window, spans, limits.merge_gap + limits.rounding)
        rows = [row for row in rows if row.begin < scope.end and row.end > scope.begin]
        review = reconcile.review(rows, self._listing(person, scope, rows))
        yield from self._settle(person, review)
        near = [item for item in slices if item.begin < scope.end and item.end > scope.begin]
        sheet = person.book.sheet(near, review.walls)
        yield from self._write(person, sheet.blocks, (*review.ours, *_unsent(rows)))

    def _user(self, person: Person) -> int:
        return self._client.account.id if person.kimai_user is None else person.kimai_user

    def _take_up(self, person: Person) -> None:
        """Look for the timesheets whose answer was lost."""
        for row in self._store.pending_timesheets(person.id):
            if row.kimai_id is not None:
                continue  # an update or a deletion shows in the listing
            found = self._kimai.find(row.marker, row.user)
            if found is not None:
                self._put(
                    replace(row, kimai_id=found.id, state=reconcile.SENT, fingerprint=found.fingerprint)
                )

    def _listing(self, person: Person, scope: Interval, rows: Sequence[SentTimesheet]) -> dict[int, Listed]:
        """Return what Kimai has around *scope*; only what a person moved away is asked for by its id."""
        window = Interval(scope.begin - MARGIN, scope.end + MARGIN)
        listing = self._kimai.listing(window, self._user(person))
        for row in rows:
            number = row.kimai_id
            if (
                number is not None
                and number not in listing
                and row.state not in {reconcile.KEPT, reconcile.DELETING}
            ):
                moved = self._kimai.get(number)
                if moved is not None:
                    listing[number] = moved
        return listing

    def _settle(self, person: Person, review: reconcile.Review) -> Iterator[Timesheet]:
        """Write down what a person decided, and tell of it."""
        for row in review.gone:
            self._put(row)
        for kept in review.kept:
            if kept.reason == "exported":
                self._tell(f"timesheet {kept.row.kimai_id} is exported in kimai and left alone")
            else:
                self._put(kept.row)
            yield from self._once(person, kept.row, "kept", kept.listed)

    # --- writing ---------------------------------------------------------------------------------

    def _write(
        self, person: Person, blocks: Sequence[Block], rows: Sequence[SentTimesheet]
    ) -> Iterator[Timesheet]:
        targets: dict[Wanted, _Target] = {}
        unresolved = False
        for block in blocks:
            try:
                booking = self._catalogue.resolve(block.customer, block.project, block.activity)
            except RefusedError as error:
                unresolved = True
                self._refused(error)
                continue
            targets[self._wanted(person, block, booking)] = (block, booking)
        plan = reconcile.plan(tuple(targets), rows)
        for row in () if unresolved else plan.delete:  # what no longer resolves may still be in Kimai
            yield from self._attempt(self._delete(person, row))
        for row, want in sorted(
            plan.update, key=lambda pair: pair[1].end - pair[1].begin - pair[0].end + pair[0].begin
        ):
            step = self._create if row.kimai_id is None else self._update
            yield from self._attempt(step(person, want, targets[want], row))
        for want in plan.create:
            yield from self._attempt(self._create(person, want, targets[want], None))
        for row, want in plan.unchanged:
            self._put(row)
            yield from self._once(person, row, "unchanged", None, targets[want])

    def _wanted(self, person: Person, block: Block, booking: Booking) -> Wanted:
        return Wanted(
            begin=block.begin,
            end=block.end,
            user=self._user(person),
            project=booking.project,
            activity=booking.activity,
            tags=tuple(sorted({*block.tags, *([self._tag] if self._tag else [])})),
            description=block.description,
            billable=block.billable,
        )

    def _attempt(self, step: Iterator[Timesheet]) -> Iterator[Timesheet]:
        """Yield what *step* yields; tell a refusal and go on."""
        try:
            yield from step
        except RefusedError as error:
            self._refused(error)

    def _refused(self, error: RefusedError) -> None:
        self.complete = False
        if error.message not in self._told:
            self._told.add(error.message)
            self._fail(error)

    def _create(
        self, person: Person, want: Wanted, target: _Target, row: SentTimesheet | None
    ) -> Iterator[Timesheet]:
        name = self._fresh()
        sent = SentTimesheet(
            id=row.id if row else name,
            worker=person.id,
            marker=row.marker if row else f"powdo-{name[:8]}",
            kimai_id=None,
            state=reconcile.INTENT,
            begin=want.begin,
            end=want.end,
            user=want.user,
            project=want.project,
            activity=want.activity,
            tags=want.tags,
            description=want.description,
            billable=want.billable,
            fingerprint="",
        )
        if not self._dry:
            tags = self._catalogue.ensure_tags(want.tags)
            self._put(sent)
            try:
                listed = self._kimai.create(want, sent.marker, tags)
            except RefusedError:
                self._put(replace(sent, state=reconcile.DELETED))
                raise
            sent = replace(sent, state=reconcile.SENT, kimai_id=listed.id, fingerprint=listed.fingerprint)
            self._put(sent)
        yield from self._once(person, sent, "created", None, target)

    def _update(
        self, person: Person, want: Wanted, target: _Target, row: SentTimesheet
    ) -> Iterator[Timesheet]:
        assert row.kimai_id is not None
        values = {name: getattr(want, name) for name in ("begin", "end", "tags", "description", "billable")}
        action = "updated"
        if not self._dry:
            tags = self._catalogue.ensure_tags(want.tags)
            self._put(replace(row, state=reconcile.UPDATING, **values))
            try:
                answer = self._kimai.update(row.kimai_id, want, row.marker, tags)
            except RefusedError:
                self._put(row)
                raise
            if isinstance(answer, Listed):
                row = replace(row, state=reconcile.SENT, fingerprint=answer.fingerprint, **values)
                self._put(row)
            else:
                action = self._hands_off(row, answer)
        yield from self._once(person, row, action, None, target)

    def _delete(self, person: Person, row: SentTimesheet) -> Iterator[Timesheet]:
        if row.kimai_id is None:  # never arrived, and no longer wanted
            self._put(replace(row, state=reconcile.DELETED))
            return
        action = "deleted"
        if not self._dry:
            self._put(replace(row, state=reconcile.DELETING))
            answer = self._kimai.delete(row.kimai_id)
            if answer == "locked":
                action = self._hands_off(row, answer)
            else:
                self._put(replace(row, state=reconcile.DELETED))
        yield from self._once(person, row, action)

    def _hands_off(self, row: SentTimesheet, why: str) -> str:
        """Leave alone what Kimai does not let us touch; what is gone will be seen as deleted next time."""
        self._put(row)
        if why == "locked":
            self._tell(f"timesheet {row.kimai_id} is locked in kimai and left alone")
        return "kept"

    # --- telling ---------------------------------------------------------------------------------

    def _put(self, row: SentTimesheet) -> None:
        if not self._dry and self._stored.get(row.id) != row:
            self._store.put_timesheet(row)
            self._stored[row.id] = row

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._client.warn(text, None)

    def _once(
        self,
        person: Person,
        row: SentTimesheet,
        action: str,
        listed: Listed | None = None,
        target: _Target | None = None,
    ) -> Iterator[Timesheet]:
        """Yield the record of *row*; that nothing was done about it is said once a run."""
        if action in {"unchanged", "kept"} and (person.id, row.id) in self._done:
            return
        self._done.add((person.id, row.id))
        if target is None:
            booking = self._catalogue.booking(row.project, row.activity)
            block = as_block(row, listed, booking)
        else:
            block, booking = target
        yield replace(record(block, person.name, booking), action=action, kimai_id=row.kimai_id)


def _unsent(rows: Sequence[SentTimesheet]) -> list[SentTimesheet]:
    """Return the rows that never got an answer and were not found."""
    return [row for row in rows if row.kimai_id is None and row.state == reconcile.INTENT]
