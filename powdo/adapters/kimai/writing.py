"""The writes that a plan asks for, each in the ledger before its request leaves.

Rules:
- deletions go first, then changes, what shrinks before what grows, then what is new, since a Kimai may
  forbid overlaps;
- what one timesheet is refused for does not hold up the others: it is told, remembered, and not asked again
  before that could have changed;
- what a name in a rule may still stand for is not deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from powdo.adapters.kimai import reasons
from powdo.adapters.kimai.catalogue import Booking, Catalogue
from powdo.adapters.kimai.client import Account, Refusal
from powdo.adapters.kimai.memory import Memory
from powdo.adapters.kimai.telling import Journal, Person, values
from powdo.adapters.kimai.timesheets import Timesheets, span
from powdo.errors import PowdoError, RefusedError
from powdo.records.operator import Timesheet
from powdo.worktime import reconcile
from powdo.worktime.reconcile import Plan, SentTimesheet, Wanted
from powdo.worktime.timesheets import ALGORITHM, Block

Target = tuple[Block, Booking]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a write needs; *fresh* gives 32 hex digits that nobody had before, *now* the unix time."""

    kimai: Timesheets
    catalogue: Catalogue
    account: Account
    journal: Journal
    memory: Memory
    fresh: Callable[[], str]
    now: Callable[[], float]
    dry: bool


class Writer:
    """Carries out plans; in a dry run it only tells what it would do."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._hopeless: RefusedError | None = None

    def write(
        self, person: Person, plan: Plan, targets: Mapping[Wanted, Target], *, delete: bool
    ) -> Iterator[Timesheet]:
        """Yield what was done for each timesheet of *plan*; without *delete* nothing is deleted."""
        for row in plan.delete if delete else ():
            yield from self._delete(person, row)
        new: list[tuple[Wanted, SentTimesheet | None]] = []
        for row, want in sorted(plan.update, key=_growth):
            if row.kimai_id is None:
                new.append((want, row))
            else:
                yield from self._update(person, want, targets[want], row)
        new += [(want, None) for want in plan.create]
        yield from self._create(person, new, targets)
        for row, want in plan.unchanged:
            self._tools.journal.put(row)
            yield from self._tools.journal.once(person, row, "unchanged", target=targets[want])

    def _refused(self, refusal: Refusal, what: str, want: Wanted) -> RefusedError:
        today = datetime.fromtimestamp(self._tools.now(), UTC).date().isoformat()
        return reasons.refused(refusal, what, want, self._tools.catalogue, self._tools.account, today)

    # --- new ---------------------------------------------------------------------------------------

    def _create(
        self,
        person: Person,
        new: Sequence[tuple[Wanted, SentTimesheet | None]],
        targets: Mapping[Wanted, Target],
    ) -> Iterator[Timesheet]:
        """Yield what became of each of *new*.

        An answer goes into the ledger with the intent of the request that follows: one commit a timesheet.
        Its record waits for that commit.
        """
        journal = self._tools.journal
        answered: list[SentTimesheet] = []
        records: list[Timesheet] = []
        for want, row in new:
            sent = _intent(person, want, row, self._tools.fresh())
            standing = self._tools.memory.of_want(person.id, want)
            if standing is None and self._hopeless is None and not self._tools.dry:
                try:
                    tags = self._tools.catalogue.ensure_tags(want.tags)
                except PowdoError:
                    journal.put(*answered)
                    yield from records
                    raise
                journal.put(*answered, sent)
                answered.clear()
                yield from records
                records.clear()
                sent, error = self._post(want, sent, tags)
                answered.append(sent)
            else:
                error = None if standing is not None else self._hopeless
            if error is not None:
                self._tools.memory.refuse_want(person.id, sent.id, want, error.message)
                journal.refuse(error)
            if error is not None or standing is not None:
                reason = error.message if error is not None else standing.reason if standing else None
                row = sent if standing is None else replace(sent, id=standing.id)
                records += journal.once(person, row, "blocked", target=targets[want], reason=reason)
            else:
                if not self._tools.dry:
                    self._tools.memory.accept_want(person.id, want)
                records += journal.once(person, sent, "created", target=targets[want])
        journal.put(*answered)
        yield from records

    def _post(
        self, want: Wanted, sent: SentTimesheet, tags: tuple[str, ...]
    ) -> tuple[SentTimesheet, RefusedError | None]:
        """Return the row of what Kimai made of *want*, and if it made nothing, why."""
        tools = self._tools
        answer = tools.kimai.create(want, sent.marker, tags)
        if isinstance(answer, Refusal):
            error = self._refused(answer, f"a timesheet of {span(want)}", want)
            if reasons.is_hopeless(answer, tools.account):
                error = RefusedError(f"kimai refuses new timesheets: {answer.text}", hint=error.hint)
                self._hopeless = error
            return replace(sent, state=reconcile.DELETED), error
        made = replace(sent, state=reconcile.SENT, kimai_id=answer.id, fingerprint=answer.fingerprint)
        return made, None

    # --- changed -------------------------------------------------------------------------------------

    def _update(
        self, person: Person, want: Wanted, target: Target, row: SentTimesheet
    ) -> Iterator[Timesheet]:
        tools = self._tools
        assert row.kimai_id is not None
        standing = tools.memory.of_row(person.id, row)
        if standing is not None:
            yield from tools.journal.once(person, row, "kept", target=target, reason=standing.reason)
            return
        before = row
        if not tools.dry:
            tags = tools.catalogue.ensure_tags(want.tags)
            changed = replace(
                row,
                begin=want.begin,
                end=want.end,
                tags=want.tags,
                description=want.description,
                billable=want.billable,
                algorithm=ALGORITHM,
            )
            tools.journal.put(replace(changed, state=reconcile.UPDATING))
            answer = tools.kimai.update(row.kimai_id, want, row.marker, tags)
            if isinstance(answer, Refusal):
                tools.journal.put(row)
                yield from self._hands_off(person, row, answer, want)
                return
            row = replace(changed, state=reconcile.SENT, fingerprint=answer.fingerprint)
            tools.journal.put(row)
            tools.memory.accept_row(person.id, row)
        yield from tools.journal.once(person, row, "updated", target=target, was=values(before))

    def _delete(self, person: Person, row: SentTimesheet) -> Iterator[Timesheet]:
        tools = self._tools
        if row.kimai_id is None:  # never arrived, and no longer wanted
            tools.journal.put(replace(row, state=reconcile.DELETED))
            return
        standing = tools.memory.of_row(person.id, row)
        if standing is not None:
            yield from tools.journal.once(person, row, "kept", reason=standing.reason)
            return
        if not tools.dry:
            tools.journal.put(replace(row, state=reconcile.DELETING))
            answer = tools.kimai.delete(row.kimai_id)
            if answer is not None and answer.status != 404:
                tools.journal.put(row)
                yield from self._hands_off(person, row, answer, None)
                return
            tools.journal.put(replace(row, state=reconcile.DELETED))
            tools.memory.accept_row(person.id, row)
        yield from tools.journal.once(person, row, "deleted")

    def _hands_off(
        self, person: Person, row: SentTimesheet, refusal: Refusal, want: Wanted | None
    ) -> Iterator[Timesheet]:
        """Leave alone what Kimai does not let us touch; what is gone will be seen as deleted next time."""
        tools = self._tools
        if refusal.status == 404:
            yield from tools.journal.once(person, row, "kept", reason="deleted")
            return
        reason = "locked"
        if refusal.status == 403:
            tools.journal.tell(f"timesheet {row.kimai_id} is locked in kimai and left alone")
        else:
            what = f"a change of timesheet {row.kimai_id}"
            error = (
                RefusedError(f"kimai refuses {what}: {refusal.text}")
                if want is None
                else self._refused(refusal, what, want)
            )
            tools.journal.refuse(error)
            reason = error.message
        tools.memory.refuse_row(person.id, row, reason)
        yield from tools.journal.once(person, row, "kept", reason=reason)


def _growth(pair: tuple[SentTimesheet, Wanted]) -> int:
    row, want = pair
    return want.end - want.begin - row.end + row.begin


def _intent(person: Person, want: Wanted, row: SentTimesheet | None, name: str) -> SentTimesheet:
    """Return the row of a request to come; *row* is that of an earlier one which never arrived."""
    return SentTimesheet(
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
        algorithm=ALGORITHM,
    )
