"""Bring Kimai to what was computed: one listing a window, one request a change, nothing twice.

Rules:
- every write is in the ledger, on the disk, before its request leaves; the next run takes up a dead one;
- a timesheet under way without an answer is looked for by its marker and posted again under the same one;
- a person's decision is seen in the listing before anything is computed, and its time is a wall;
- a *thorough* look tries again what was refused, and takes up what bears our marker and is in no ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from powdo.adapters.kimai.catalogue import Catalogue, NewCustomers
from powdo.adapters.kimai.client import Client, Refusal
from powdo.adapters.kimai.memory import Memory
from powdo.adapters.kimai.strangers import Stranger, adopted, strangers, unmarked
from powdo.adapters.kimai.telling import Journal, Person, Store
from powdo.adapters.kimai.timesheets import Timesheets
from powdo.adapters.kimai.writing import Target, Tools, Writer
from powdo.errors import RefusedError
from powdo.records.operator import Timesheet
from powdo.worktime import reconcile
from powdo.worktime.activity import Slice
from powdo.worktime.book import MARGIN
from powdo.worktime.intervals import Interval, union
from powdo.worktime.reconcile import Listed, Review, SentTimesheet, Wanted
from powdo.worktime.timesheets import Block


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the operator wants: the shared *tag*, whether to *create* what is missing, a *dry* run."""

    tag: str
    create: bool = False
    dry: bool = False
    customers: NewCustomers | None = None


@dataclass(frozen=True, slots=True)
class _Look:
    """One window here and in Kimai: what was done in it, what we sent, what is there."""

    scope: Interval
    slices: list[Slice]
    rows: list[SentTimesheet]
    review: Review
    strangers: list[Stranger]


class Syncer:
    """Takes windows of a worker's time to Kimai; *fail* is told what one timesheet is refused for."""

    def __init__(
        self,
        client: Client,
        store: Store,
        wishes: Wishes,
        *,
        fresh: Callable[[], str],
        now: Callable[[], float],
        fail: Callable[[RefusedError], None],
    ) -> None:
        self.client = client
        self.kimai = Timesheets(client)
        self.catalogue = Catalogue(
            client, create=wishes.create and not wishes.dry, customers=wishes.customers
        )
        self._store = store
        self._tag = wishes.tag
        self._journal = Journal(store, self.catalogue, warn=client.warn, fail=fail, dry=wishes.dry)
        self.memory = Memory(store, self.catalogue, client.account, now, dry=wishes.dry)
        self._writer = Writer(
            Tools(
                kimai=self.kimai,
                catalogue=self.catalogue,
                account=client.account,
                journal=self._journal,
                memory=self.memory,
                fresh=fresh,
                now=now,
                dry=wishes.dry,
            )
        )
        self.complete = True

    def begin(self) -> None:
        """Start a batch; what no name stood for in the one before is looked up anew."""
        if not self.complete:
            self.catalogue.forget()
        self.complete = True

    # --- one window ------------------------------------------------------------------------------

    def sync(self, person: Person, window: Interval, *, thorough: bool = False) -> Iterator[Timesheet]:
        """Yield what was done, or in a dry run would be done, about the timesheets of *window*."""
        self.memory.insist = thorough
        look = self._look(person, window)
        yield from self._settle(person, look.review)
        walls = list(look.review.walls)
        ours = [*look.review.ours, *_unsent(look.rows)]
        if look.strangers and thorough:
            wanted, _ = self._targets(person, self._blocks(person, look, walls))
            rows = adopted(person, look.strangers, wanted)
            yield from self._adopt(person, rows)
            walls += [Interval(row.begin, row.end) for row in rows if row.state == reconcile.KEPT]
            ours += [row for row in rows if row.state == reconcile.SENT]
        elif look.strangers:
            walls += [Interval(item.begin, item.end or item.begin) for item, _ in look.strangers]
            self._journal.tell(
                f"{len(look.strangers)} timesheets in kimai bear a marker that this database does not know",
                "`powdo kimai-sync --reconcile` takes them up",
            )
        targets, whole = self._targets(person, self._blocks(person, look, walls), tell=True)
        plan = reconcile.plan(tuple(targets), ours)
        yield from self._writer.write(person, plan, targets, delete=whole)
        self._remember_exported(person, look)
        if whole:
            self.memory.sweep(person.id, look.scope)

    def _look(self, person: Person, window: Interval) -> _Look:
        taken = self._take_up(person)
        low, high = window.begin - MARGIN, window.end + MARGIN
        events = self._store.bucket_events(person.id, low, high, person.book.needed())
        slices = [item for item in person.book.slices(events) if item.begin < high and item.end > low]
        rows = [taken.get(row.id, row) for row in self._store.sent_timesheets(person.id, low, high)]
        self._journal.seen(rows)
        spans = [Interval(item.begin, item.end) for item in slices]
        spans += [Interval(row.begin, row.end) for row in rows]
        limits = person.book.limits
        scope = reconcile.scope(window, spans, limits.merge_gap + limits.rounding)
        within = [row for row in rows if row.begin < scope.end and row.end > scope.begin]
        listing, hidden = self._listing(person, scope, within)
        for row in unmarked(self._store, person.id, listing.values(), within):
            within = [row if one.id == row.id else one for one in within]
        return _Look(
            scope,
            [item for item in slices if item.begin < scope.end and item.end > scope.begin],
            within,
            reconcile.review(within, listing, hidden),
            strangers(self._store, person.id, scope, listing.values(), rows),
        )

    def user(self, person: Person) -> int:
        """Return for whom the timesheets of *person* are."""
        return self.client.account.id if person.kimai_user is None else person.kimai_user

    def _take_up(self, person: Person) -> dict[str, SentTimesheet]:
        """Return the rows whose answer was lost and whose timesheet is there after all."""
        taken: dict[str, SentTimesheet] = {}
        for row in self._store.pending_timesheets(person.id):
            if row.kimai_id is not None:
                continue  # an update or a deletion shows in the listing
            found = self.kimai.find(row.marker, row.user)
            if found is not None:
                taken[row.id] = replace(
                    row, kimai_id=found.id, state=reconcile.SENT, fingerprint=found.fingerprint
                )
                self._journal.put(taken[row.id])
        return taken

    def _listing(
        self, person: Person, scope: Interval, rows: Sequence[SentTimesheet]
    ) -> tuple[dict[int, Listed], set[int]]:
        """Return what Kimai has around *scope*, and which rows it hides.

        Only what a person moved away is asked for by its id.
        """
        window = Interval(scope.begin - MARGIN, scope.end + MARGIN)
        listing = self.kimai.listing(window, self.user(person))
        hidden: set[int] = set()
        for row in rows:
            number = row.kimai_id
            if number is None or number in listing or row.state in {reconcile.KEPT, reconcile.DELETING}:
                continue
            moved = self.kimai.get(number)
            if isinstance(moved, Refusal):
                hidden.add(number)
            elif moved is not None:
                listing[number] = moved
        return listing, hidden

    def _settle(self, person: Person, review: Review) -> Iterator[Timesheet]:
        """Write down what a person decided, and tell of it."""
        for row in review.gone:
            self._journal.put(row)
        for kept in review.kept:
            if kept.reason in {"exported", "hidden"}:
                told = "exported" if kept.reason == "exported" else "out of the token's sight"
                self._journal.tell(f"timesheet {kept.row.kimai_id} is {told} in kimai and left alone")
            else:
                self._journal.put(kept.row)
            yield from self._journal.once(person, kept.row, "kept", listed=kept.listed, reason=kept.reason)

    def _adopt(self, person: Person, rows: Sequence[SentTimesheet]) -> Iterator[Timesheet]:
        for row in rows:
            self._journal.put(row)
            if row.state == reconcile.KEPT:
                yield from self._journal.once(person, row, "kept", reason="edited")

    # --- from blocks to what Kimai knows -----------------------------------------------------------

    def _blocks(self, person: Person, look: _Look, walls: Sequence[Interval]) -> Sequence[Block]:
        return person.book.sheet(look.slices, union(walls)).blocks

    def _targets(
        self, person: Person, blocks: Sequence[Block], *, tell: bool = False
    ) -> tuple[dict[Wanted, Target], bool]:
        """Return what Kimai should hold for *blocks*, and whether every name in them stands for something."""
        targets: dict[Wanted, Target] = {}
        for block in blocks:
            try:
                booking = self.catalogue.resolve(block.customer, block.project, block.activity)
            except RefusedError as error:
                if tell:
                    self.complete = False
                    self._journal.refuse(error)
                continue
            want = Wanted(
                begin=block.begin,
                end=block.end,
                user=self.user(person),
                project=booking.project,
                activity=booking.activity,
                tags=tuple(sorted({*block.tags, *([self._tag] if self._tag else [])})),
                description=block.description,
                billable=block.billable,
            )
            targets[want] = (block, booking)
        return targets, len(targets) == len(blocks)

    def _remember_exported(self, person: Person, look: _Look) -> None:
        """Remember which exported timesheets would have to change, to look at them again."""
        exported = [kept.row for kept in look.review.kept if kept.reason == "exported"]
        if not exported:
            return
        walls = [wall for kept in look.review.kept if kept.reason != "exported" for wall in kept.walls]
        targets, _ = self._targets(person, self._blocks(person, look, walls))
        plan = reconcile.plan(tuple(targets), exported)
        for row in (*(row for row, _ in plan.update), *plan.delete):
            self.memory.refuse_row(person.id, row, "exported")


def _unsent(rows: Sequence[SentTimesheet]) -> list[SentTimesheet]:
    """Return the rows that never got an answer and were not found."""
    return [row for row in rows if row.kimai_id is None and row.state == reconcile.INTENT]
