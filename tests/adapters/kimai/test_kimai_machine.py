"""The syncer as a state machine: work, people, crashes and lost answers in any order."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from powdo.adapters.database import Store
from powdo.adapters.kimai.client import Client
from powdo.adapters.kimai.sync import Syncer, Wishes
from powdo.adapters.kimai.telling import Person
from powdo.errors import RetryLaterError
from powdo.records.operator import Timesheet
from powdo.worktime.book import Book
from powdo.worktime.intervals import Interval
from powdo.worktime.reconcile import SentTimesheet
from powdo.worktime.ruleset import parse_rules
from powdo.worktime.timesheets import Limits
from tests.kimai_double import Double, Fault
from tests.worked import RULES, START, add, at

_COUNTER = itertools.count(1)


class Killed(BaseException):
    """Stands for SIGKILL."""


class Mortal(Store):
    """A store whose process dies at a chosen write."""

    left = 0

    def put_timesheets(self, rows: Sequence[SentTimesheet]) -> None:
        """Write, or die."""
        self.left -= 1
        if self.left == 0:
            raise Killed
        super().put_timesheets(rows)


class Machine(RuleBasedStateMachine):
    """A worker, a database, a Kimai, and a person who works in it as well."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="powdo-test-"))
        self.double = Double()
        self.double.__enter__()
        kimai = self.double.kimai
        kimai.people()
        kimai.website()
        kimai.add_activity("Mail", 1)
        self.store = Mortal(f"sqlite:///{self.directory / 'dvm.sqlite'}")
        self.worker = self.store.enroll("ana", pubkeys=["11" * 32])
        self.book = Book(rules=parse_rules(RULES)[0], limits=Limits(), zone=UTC)
        self.theirs: dict[int, tuple[object, ...]] = {}
        self.forbidden: list[Interval] = []
        self.clean = True

    def teardown(self) -> None:
        """Free what was taken."""
        self.store.close()
        self.double.__exit__()
        shutil.rmtree(self.directory)

    def _run(self) -> list[Timesheet]:
        client = Client(self.double.url, "alice", timeout=2, warn=lambda *_: None)
        try:
            syncer = Syncer(
                client,
                self.store,
                Wishes(tag="powdo"),
                fresh=lambda: f"{next(_COUNTER):08x}".ljust(32, "0"),
                now=lambda: START / 1e6,
                fail=lambda error: (_ for _ in ()).throw(AssertionError(error.message)),
            )
            person = Person(id=self.worker.id, name="ana", kimai_user=None, book=self.book)
            return list(syncer.sync(person, Interval(START, at(24 * 60))))
        finally:
            client.close()

    # --- what happens ----------------------------------------------------------------------------

    @rule(
        begin=st.integers(0, 400), length=st.integers(1, 120), kind=st.sampled_from(["code", "mail", "web"])
    )
    def work(self, begin: int, length: int, kind: str) -> None:
        """Bring in more work, late or not."""
        add(self.store, self.worker, kind, (begin, begin + length), mark=False)
        self.clean = False

    @rule()
    def sync(self) -> None:
        """Let a run go through."""
        self._run()
        self.clean = True

    @rule(nth=st.integers(1, 6))
    def killed(self, nth: int) -> None:
        """Kill a run at a write of its ledger."""
        self.store.left = nth
        try:
            self._run()
            self.clean = True
        except Killed:
            self.clean = False
        self.store.left = 0

    @rule(
        kind=st.sampled_from(["lose", "fail after", "fail"]),
        method=st.sampled_from(["POST", "PATCH", "DELETE"]),
    )
    def trouble(self, kind: str, method: str) -> None:
        """Lose an answer of a run, before or after it counted."""
        self.double.faults = [Fault(kind, method, "/api/timesheets")]
        try:
            self._run()
            self.clean = True
        except RetryLaterError:
            self.clean = False
        self.double.faults = []

    def _ours(self) -> list[int]:
        return sorted(set(self.double.kimai.rows) - set(self.theirs))

    @precondition(lambda self: self.clean and self._ours())
    @rule(data=st.data(), minutes=st.integers(-30, 30).filter(bool))
    def edited(self, data: st.DataObject, minutes: int) -> None:
        """Change a timesheet as a person does."""
        number = data.draw(st.sampled_from(self._ours()))
        row = self.double.kimai.rows[number]
        assert row.end is not None
        self.forbidden.append(_interval(row.begin, row.end))
        end = max(row.end + timedelta(minutes=minutes), row.begin + timedelta(minutes=1))
        self.double.kimai.edit(number, description="mine", end=end)
        self.theirs[number] = ("mine", row.begin, end)
        self.forbidden.append(_interval(row.begin, end))
        self.clean = False

    @precondition(lambda self: self.clean and self._ours())
    @rule(data=st.data())
    def removed(self, data: st.DataObject) -> None:
        """Delete a timesheet as a person does."""
        row = self.double.kimai.rows.pop(data.draw(st.sampled_from(self._ours())))
        assert row.end is not None
        self.forbidden.append(_interval(row.begin, row.end))
        self.clean = False

    # --- what must hold --------------------------------------------------------------------------

    @invariant()
    def what_is_a_persons_stays(self) -> None:
        """No run touches what a person changed."""
        for number, (text, begin, end) in self.theirs.items():
            row = self.double.kimai.rows[number]
            assert (row.description, row.begin, row.end) == (text, begin, end)

    @invariant()
    def no_marker_twice(self) -> None:
        """No timesheet is there twice."""
        markers = [
            row.description for number, row in self.double.kimai.rows.items() if number not in self.theirs
        ]
        tails = [str(text).rpartition("[")[2] for text in markers]
        assert len(tails) == len(set(tails))

    @precondition(lambda self: self.clean)
    @invariant()
    def kimai_holds_what_was_computed(self) -> None:
        """After a run Kimai holds the blocks, clear of what is a person's; a run more does nothing."""
        slices = self.book.slices(self.store.bucket_events(self.worker.id, START, at(24 * 60)))
        blocks = self.book.sheet(slices, self.forbidden).blocks
        rows = [row for number, row in self.double.kimai.rows.items() if number not in self.theirs]
        held = sorted((_interval(row.begin, row.end or row.begin), row.activity) for row in rows)
        ids = {"Development": 1, "Mail": 2}
        assert held == sorted((Interval(block.begin, block.end), ids[block.activity]) for block in blocks)
        writes = sum(call.method not in {"GET", "HEAD"} for call in self.double.calls)
        assert {record.action for record in self._run()} <= {"unchanged", "kept"}
        assert sum(call.method not in {"GET", "HEAD"} for call in self.double.calls) == writes


def _interval(begin: object, end: object) -> Interval:
    from datetime import datetime

    assert isinstance(begin, datetime) and isinstance(end, datetime)
    return Interval(round(begin.timestamp() * 1e6), round(end.timestamp() * 1e6))


Machine.TestCase.settings = settings(
    max_examples=12, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck)
)
TestMachine = Machine.TestCase
