"""The books of the proof-of-work service, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from powdo.adapters.database import Database
from powdo.adapters.database.pow_books import MOST, SCHEMA, Books
from powdo.adapters.database.pow_tables import NOTED, account, entry, metadata
from powdo.errors import InputMissingError, UsageError

ANA, BOB = "a" * 64, "b" * 64


@pytest.fixture
def books(database_url: str) -> Iterator[Books]:
    """Return empty books."""
    made = Books(database_url)
    yield made
    assert made.audit() == []
    made.close()


def balance(books: Books, pubkey: str = ANA) -> int:
    """Return what is on an account."""
    return next(item.msat for item in books.accounts() if item.pubkey == pubkey)


def test_migrations_make_the_tables(books: Books) -> None:
    """The migrations lead from nothing to exactly the tables that the program uses."""
    with books._database.read() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": NOTED})
        assert compare_metadata(context, metadata) == []
    config = Config()
    config.set_main_option("script_location", str(SCHEMA.migrations))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA.head


def test_books_and_another_schema_share_a_database(database_url: str) -> None:
    """In one PostgreSQL database, say, the DVM's tables and the service's do not know of each other."""
    Database(database_url).close()
    made = Books(database_url)
    made.credit(ANA, 5)
    Database(database_url).close()
    assert balance(made) == 5
    made.close()


def test_a_look_makes_no_books(database_url: str) -> None:
    """Opened for a look only, books that are not there are missing."""
    with pytest.raises(InputMissingError):
        Books(database_url, create=False)


def test_a_fee_is_taken_with_the_job_or_not_at_all(books: Books) -> None:
    """What the account does not cover changes nothing and tells the balance."""
    assert books.begin("one", "s", ANA, 10, "r") == 0
    assert books.credit(ANA, 15, "invoice") == 15
    assert books.credit(ANA, 5) == 20
    assert books.begin("one", "s", ANA, 15, "r") is None
    assert books.begin("two", "s", ANA, 15, "r") == 5
    assert balance(books) == 5
    assert books.begin("free", "s", BOB, 0, "r") is None


def test_a_job_ends_once(books: Books) -> None:
    """What is not charged goes back, the first time; a second end changes nothing."""
    books.credit(ANA, 100)
    for name in ("done", "part", "none"):
        books.begin(name, "s", ANA, 30, "r")
    assert books.end("done", result="{}")
    assert books.end("part", charged=10)
    assert books.end("none", charged=0)
    assert not books.end("part", charged=0)
    assert not books.end("never begun")
    assert balance(books) == 100 - 30 - 10
    (ana,) = books.accounts()
    assert (ana.credited, ana.charged, ana.jobs) == (100, 40, 1)


def test_what_a_crash_left_open_goes_back(books: Books) -> None:
    """A service recovers its own jobs, and not those of another that shares the books."""
    books.credit(ANA, 100)
    books.begin("mine", "one", ANA, 30, "r")
    books.begin("other", "two", ANA, 20, "r")
    assert (books.recover("one"), books.recover("one")) == (1, 0)
    assert balance(books) == 80
    assert books.end("other", charged=0)


def test_results_are_kept_for_a_while(books: Books) -> None:
    """What a job gave is found by its payer and request until it is forgotten."""
    books.begin("one", "s", ANA, 0, "r")
    books.end("one", result='{"id":1}')
    now = int(time.time())
    assert books.result(ANA, "r", now - 60) == '{"id":1}'
    assert books.result(BOB, "r", now - 60) is None
    assert books.result(ANA, "q", now - 60) is None
    assert books.result(ANA, "r", now + 60) is None
    books.forget_results(now + 60)
    assert books.result(ANA, "r", now - 60) is None


def test_several_at_once_do_not_spend_the_same_money(database_url: str) -> None:
    """Of many jobs that are begun at the same time only those are that the account covers."""
    made = Books(database_url)
    made.credit(ANA, 10)
    begun: list[bool] = []

    def begin(name: str) -> None:
        own = Books(database_url)
        begun.append(own.begin(name, "s", ANA, 3, "r") is None)
        own.close()

    threads = [threading.Thread(target=begin, args=(f"{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(begun) == [False] * 3 + [True] * 3
    assert balance(made) == 1 and made.audit() == []
    made.close()


def test_an_audit_finds_what_was_tampered_with(database_url: str) -> None:
    """An account that its entries do not explain is named."""
    made = Books(database_url)
    made.credit(ANA, 10)
    made.begin("one", "s", ANA, 4, "r")
    with made._database.write() as connection:
        connection.execute(sa.update(account).values(msat=99))
        connection.execute(sa.text("UPDATE pow_job SET state = 'done', charged = 1"))
    told = made.audit()
    assert len(told) == 2 and ANA in told[0] and "job one" in told[1]
    made.close()


def test_whatever_happens_the_books_balance(tmp_path: Path) -> None:
    """Any mixture of credits, jobs, ends and recoveries leaves books that add up, and no debt."""
    url = f"sqlite:///{tmp_path}/machine.sqlite"

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            (tmp_path / "machine.sqlite").unlink(missing_ok=True)
            self.books, self.count, self.wealth = Books(url), 0, 0
            self.open: dict[str, tuple[str, int]] = {}
            self.charged, self.ended = 0, set[str]()

        @rule(msat=st.integers(1, 1000), pubkey=st.sampled_from((ANA, BOB)))
        def credit(self, msat: int, pubkey: str) -> None:
            self.books.credit(pubkey, msat)
            self.wealth += msat

        @rule(fee=st.integers(0, 700), pubkey=st.sampled_from((ANA, BOB)), service=st.sampled_from("st"))
        def begin(self, fee: int, pubkey: str, service: str) -> None:
            self.count += 1
            if self.books.begin(f"{self.count}", service, pubkey, fee, "r") is None:
                self.open[f"{self.count}"] = (service, fee)
                self.wealth -= fee

        @rule(charged=st.none() | st.integers(0, 900), again=st.booleans(), number=st.integers(0))
        def end(self, charged: int | None, again: bool, number: int) -> None:
            if not self.open:
                return
            name = sorted(self.open)[number % len(self.open)]
            _, fee = self.open.pop(name)
            assert self.books.end(name, charged)
            self.ended.add(name)
            self.charged += fee if charged is None else min(fee, charged)
            self.wealth += 0 if charged is None else fee - min(fee, charged)
            assert not again or not self.books.end(name, 0)

        @rule(service=st.sampled_from("st"))
        def crash(self, service: str) -> None:
            left = [name for name, (owner, _) in self.open.items() if owner == service]
            assert self.books.recover(service) == len(left)
            self.wealth += sum(self.open.pop(name)[1] for name in left)
            self.ended.update(left)

        @rule(most=st.integers(1, 3))
        def forget(self, most: int) -> None:
            gone = {job.id for job in self.books.forget(int(time.time()) + 60, most)}
            assert len(gone) == min(most, len(self.ended)) and gone <= self.ended
            self.ended -= gone

        @invariant()
        def balances(self) -> None:
            assert self.books.audit() == []
            assert sum(item.msat for item in self.books.accounts()) == self.wealth
            assert all(item.msat >= 0 for item in self.books.accounts())
            assert sum(item.charged for item in self.books.accounts()) == self.charged

        def teardown(self) -> None:
            self.books.close()

    few = settings(
        max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Machine, settings=few)


def test_an_account_holds_no_more_than_there_is(books: Books) -> None:
    """Credit beyond all bitcoin is refused whole: past 63 bits a balance would be a float, or none."""
    assert books.credit(ANA, MOST - 5) == MOST - 5
    with pytest.raises(UsageError):
        books.credit(ANA, 6)
    assert books.credit(ANA, 5) == balance(books) == MOST


def busy(books: Books) -> None:
    """Fill *books* with jobs of every end, two of them open, for two who pay and one who need not."""
    for pubkey in (ANA, BOB):
        books.credit(pubkey, 1000, "invoice")
        for name, charged, result in (("a", None, "{}"), ("b", 3, None), ("c", 0, None), ("d", None, "{}")):
            books.begin(pubkey[0] + name, "s", pubkey, 10, "r")
            books.end(pubkey[0] + name, charged, result)
        books.begin(f"{pubkey[0]}-open", "s", pubkey, 10, "r")
    books.begin("free", "s", "c" * 64, 0, "r")
    books.end("free", result="{}")


def test_what_is_forgotten_changes_no_account(books: Books) -> None:
    """Jobs that are over go with their entries; sums, credits and jobs under way stay."""
    busy(books)
    before, later = books.accounts(), int(time.time()) + 60
    assert books.forget(int(time.time()) - 60) == [] == books.past(int(time.time()) - 60)
    told = books.past(later)
    assert [job.id for job in told if job.charged] == ["aa", "ab", "ad", "ba", "bb", "bd"]
    gone = []
    while batch := books.forget(later, 2):
        assert len(batch) <= 2
        gone += batch
        assert books.accounts() == before and books.audit() == []
    assert sorted(gone) == sorted(told) and books.past(later) == []
    with books._database.read() as connection:
        kinds = connection.execute(sa.select(entry.c.kind, sa.func.count()).group_by(entry.c.kind)).all()
    assert sorted(map(tuple, kinds)) == [("credit", 2), ("fee", 2)], "those of the jobs under way"
    assert books.recover("s") == 2
    assert balance(books) == 1000 - 10 - 3 - 10


def test_two_that_forget_at_once_forget_each_job_once(database_url: str) -> None:
    """Beside each other, and beside a service that takes fees, nothing is counted twice."""
    made = Books(database_url)
    busy(made)
    before, later = made.accounts(), int(time.time()) + 60
    gone: list[str] = []

    def forget() -> None:
        own = Books(database_url)
        for _ in range(6):
            gone.extend(job.id for job in own.forget(later, 2))
        own.close()

    threads = [threading.Thread(target=forget) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(20):
        made.begin(f"{number}", "other", ANA, 5, "r")
    for thread in threads:
        thread.join()
    assert len(gone) == len(set(gone)) == 9
    assert made.recover("other") == 20
    assert made.accounts() == before and made.audit() == []
    made.close()


def test_books_of_the_first_version_are_brought_up_to_date(tmp_path: Path) -> None:
    """Accounts, jobs and entries stay as they are, and can be forgotten."""
    config = Config()
    config.set_main_option("script_location", str(SCHEMA.migrations))
    config.set_main_option("path_separator", "os")
    url = f"sqlite:///{tmp_path}/old.sqlite"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for text in (
            f"INSERT INTO pow_account VALUES ('{ANA}', 7)",
            f"INSERT INTO pow_job VALUES ('one', 's', '{ANA}', 'r', 5, 3, 'cancelled', 1, 2, NULL)",
            f"INSERT INTO pow_entry VALUES (1, '{ANA}', 10, 'credit', NULL, 'cash', 1)",
            f"INSERT INTO pow_entry VALUES (2, '{ANA}', -5, 'fee', 'one', NULL, 1)",
            f"INSERT INTO pow_entry VALUES (3, '{ANA}', 2, 'refund', 'one', NULL, 2)",
        ):
            connection.execute(sa.text(text))
    engine.dispose()
    made = Books(url)
    before = made.accounts()
    assert [(item.msat, item.credited, item.charged) for item in before] == [(7, 10, 3)]
    assert [job.id for job in made.forget(int(time.time()))] == ["one"]
    assert made.accounts() == before and made.audit() == []
    made.close()
