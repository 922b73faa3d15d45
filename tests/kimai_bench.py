"""A bench for the syncer: a worker with a real database, a Kimai double, and what a run said."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from powdo.adapters.database import Store, Worker
from powdo.adapters.kimai.catalogue import NewCustomers
from powdo.adapters.kimai.client import Client
from powdo.adapters.kimai.sync import Syncer, Wishes
from powdo.adapters.kimai.telling import Person
from powdo.errors import PowdoError
from powdo.records.operator import Timesheet
from powdo.worktime.book import Book
from powdo.worktime.intervals import Interval
from powdo.worktime.ruleset import parse_rules
from powdo.worktime.timesheets import Limits
from tests.kimai_double import Double
from tests.worked import RULES, START, add, at

_COUNTER = itertools.count(1)


class Bench:
    """A worker, a database, a Kimai, and what a run said."""

    def __init__(self, directory: Path, double: Double) -> None:
        self.double = double
        self.kimai = double.kimai
        self.store = Store(f"sqlite:///{directory / 'dvm.sqlite'}")
        self.worker: Worker = self.store.enroll("ana", pubkeys=["11" * 32])
        self.rules = RULES
        self.errors: list[PowdoError] = []
        self.warnings: list[str] = []
        self.token = "alice"
        self.kimai_user: int | None = None
        self.now = START / 1e6 + 86_400
        self.customers: NewCustomers | None = None

    def add(self, kind: str, *worked: tuple[int, int]) -> None:
        """Store work."""
        add(self.store, self.worker, kind, *worked)

    def sync(
        self, *, dry: bool = False, store: object = None, create: bool = False, thorough: bool = False
    ) -> list[Timesheet]:
        """Return what one run did about the first day."""
        self.errors.clear()
        self.warnings.clear()
        rules, problems = parse_rules(self.rules)
        assert not problems
        client = Client(
            self.double.url, self.token, timeout=2, warn=lambda text, _: self.warnings.append(text)
        )
        try:
            syncer = Syncer(
                client,
                store or self.store,  # type: ignore[arg-type]  # a store that dies on purpose
                Wishes(tag="powdo", create=create, dry=dry, customers=self.customers),
                fresh=lambda: f"{next(_COUNTER):08x}".ljust(32, "0"),
                now=lambda: self.now,
                fail=self.errors.append,
            )
            book = Book(rules=rules, limits=Limits(), zone=UTC)
            person = Person(id=self.worker.id, name="ana", kimai_user=self.kimai_user, book=book)
            window = Interval(START, at(24 * 60))
            return list(syncer.sync(person, window, thorough=thorough))
        finally:
            client.close()

    def held(self) -> list[tuple[float, float]]:
        """Return what Kimai holds, as minutes since the start."""
        spans = [(row.begin, row.end) for row in sorted(self.kimai.rows.values(), key=lambda row: row.begin)]
        zero = datetime.fromtimestamp(START / 1e6, UTC)
        return [
            ((a - zero) / timedelta(minutes=1), ((b or a) - zero) / timedelta(minutes=1)) for a, b in spans
        ]


@contextmanager
def benches(directory: Path) -> Iterator[Bench]:
    """Give a bench whose Kimai knows the customer, the project and the activities of the rules."""
    with Double() as double:
        double.kimai.people()
        double.kimai.website()
        double.kimai.add_activity("Mail", 1)
        made = Bench(directory, double)
        yield made
        made.store.close()


def actions(records: list[Timesheet]) -> list[str | None]:
    """Return what was done."""
    return [record.action for record in records]
