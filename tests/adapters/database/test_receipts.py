"""What the DVM owes its workers: due until a relay has it, and the same each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from powdo.adapters.database import Database, Refusal, Request, Store
from tests.adapters.database.test_store import ANA, delivery, hexes

ACCESS, OTHER = "b2" * 32, "c3" * 32
NOW = 1_800_000_000
RUMOR = hexes(1000)


@pytest.fixture
def store(database: Database) -> Store:
    """Return the store of a database with one stored bundle of ana's."""
    made = Store(database)
    ana = made.enroll("ana", pubkeys=[ANA], access=[ACCESS, OTHER])
    made.store(delivery(ana.id, 0, []))
    return made


def request(store: Store, rumor: str = RUMOR) -> Request:
    """Return what became of *rumor*, which is known."""
    found = store.request(rumor)
    assert found is not None
    return found


def keep(store: Store, *wraps: tuple[str, str], now: int = NOW) -> None:
    """Keep wraps, each with its recipient, as answers to the bundle."""
    store.keep_receipts(request(store), [(wrap, to, f'"{wrap}"') for wrap, to in wraps], now)


def test_a_stored_bundle_is_due_with_what_is_stated(store: Store) -> None:
    """What the statement says is what was stored, and all access keys are to hear it."""
    assert store.requests_due() == [RUMOR]
    found = request(store)
    assert (found.due, found.author, found.worker_name, found.access) == (True, ANA, "ana", (ACCESS, OTHER))
    assert found.stated is not None
    assert (found.stated.blob, found.stated.sequence) == (found.blob, 1)
    assert found.stated.received == found.at
    assert found.statement is None


def test_a_statement_is_kept_for_good(store: Store) -> None:
    """The first statement wins, whoever signs a second one."""
    assert store.keep_statement(RUMOR, "first") == "first"
    assert store.keep_statement(RUMOR, "second") == "first"
    assert request(store).statement == "first"


def test_it_is_due_until_a_relay_has_it_for_every_key(store: Store) -> None:
    """A wrap is given out again until the relay has it; the last of them ends the wait."""
    keep(store, ("01" * 32, ACCESS), ("02" * 32, OTHER))
    assert store.waiting_receipts(RUMOR, NOW) == {ACCESS: f'"{"01" * 32}"', OTHER: f'"{"02" * 32}"'}
    assert store.receipt_published("01" * 32, NOW)
    assert store.requests_due() == [RUMOR]
    assert list(store.waiting_receipts(RUMOR, NOW)) == [OTHER]
    for _ in range(2):
        assert store.receipt_published("02" * 32, NOW)
    assert store.requests_due() == []
    assert not request(store).due
    assert store.waiting_receipts(RUMOR, NOW) == {}


def test_no_other_event_ends_the_wait(store: Store) -> None:
    """An event that is no receipt is none of its concern."""
    assert not store.receipt_published("09" * 32, NOW)
    assert store.requests_due() == [RUMOR]


def test_what_is_sent_again_is_due_again(store: Store) -> None:
    """Who sends a bundle again has not heard of its receipt; the old wrap does not serve a second time."""
    keep(store, ("01" * 32, ACCESS), ("02" * 32, OTHER))
    for wrap in ("01" * 32, "02" * 32):
        store.receipt_published(wrap, NOW)
    known = store.find(hexes(0))
    assert known is not None
    store.duplicate("0f" * 32, known)
    assert store.requests_due() == [RUMOR]
    assert store.waiting_receipts(RUMOR, NOW) == {}
    keep(store, ("03" * 32, ACCESS), ("04" * 32, OTHER))
    assert sorted(store.waiting_receipts(RUMOR, NOW)) == [ACCESS, OTHER]


def test_a_key_is_not_answered_again_for_the_sake_of_another(store: Store) -> None:
    """Whose answer the relay has is known while another key's waits, until the bundle comes once more."""
    keep(store, ("01" * 32, ACCESS), ("02" * 32, OTHER))
    store.receipt_published("01" * 32, NOW)
    assert store.answered(RUMOR) == {ACCESS}
    known = store.find(hexes(0))
    assert known is not None
    store.duplicate("0f" * 32, known)
    assert store.answered(RUMOR) == set()
    assert list(store.waiting_receipts(RUMOR, NOW)) == [OTHER]


def test_a_second_refusal_is_answered_again(store: Store) -> None:
    """What is refused once more, in another wrap, is told once more to those who were told."""
    for number, wrap in ((77, "01" * 32), (78, "02" * 32)):
        refusal(store, hexes(5), "ana", wrap=hexes(number))
        assert set(store.requests_due()) == {RUMOR, hexes(5)}
        assert store.answered(hexes(5)) == set()
        store.keep_receipts(request(store, hexes(5)), [(wrap, ACCESS, "{}")], NOW)
        store.receipt_published(wrap, NOW)
        assert store.answered(hexes(5)) == {ACCESS}
        assert store.requests_due() == [RUMOR]


def test_what_cannot_be_answered_is_no_work(store: Store) -> None:
    """Nothing is due of a removed worker until they are enrolled again; who has no access key is named."""
    assert store.unreachable() == []
    store.remove("ana")
    assert (store.requests_due(), store.unreachable()) == ([], [])
    store.enroll("ana")
    assert store.requests_due() == [RUMOR]
    ben = store.enroll("ben", pubkeys=["d4" * 32])
    assert store.unreachable() == []
    store.store(delivery(ben.id, 1, []))
    assert (store.requests_due(), store.unreachable()) == ([RUMOR], ["ben"])


@pytest.mark.parametrize("age", [86_401, -86_401])
def test_a_wrap_grows_old(store: Store, age: int) -> None:
    """Nobody asks for a wrap that was made long ago, or under a wrong clock: it is made anew."""
    keep(store, ("01" * 32, ACCESS), now=NOW - age)
    assert store.waiting_receipts(RUMOR, NOW) == {}
    keep(store, ("02" * 32, ACCESS))
    assert store.waiting_receipts(RUMOR, NOW) == {ACCESS: f'"{"02" * 32}"'}
    assert not store.receipt_published("01" * 32, NOW)  # it gave way


def refusal(store: Store, rumor: str, worker: str | None, *, wrap: str = hexes(77)) -> None:
    """Refuse *rumor*, of *worker* or a stranger, that came in *wrap*."""
    known = store.worker(worker) if worker else None
    store.refuse(
        Refusal(
            wrap=wrap,
            rumor=rumor,
            pubkey=ANA,
            reason="too large",
            status=65,
            sha256="5a" * 32,
            worker=known.id if known else None,
        )
    )


def test_a_refusal_is_due_with_its_reason(store: Store) -> None:
    """A worker hears why, and of which blob."""
    refusal(store, hexes(5), "ana")
    assert set(store.requests_due()) == {RUMOR, hexes(5)}
    found = request(store, hexes(5))
    assert (found.stated, found.reason, found.blob) == (None, "too large", "5a" * 32)
    assert store.refused_rumor(hexes(77)) == hexes(5)
    store.keep_receipts(found, [("01" * 32, ACCESS, "{}")], NOW)
    store.receipt_published("01" * 32, NOW)
    assert store.requests_due() == [RUMOR]


def test_what_is_stored_beats_what_was_refused(store: Store) -> None:
    """A bundle that was refused first and stored later is answered as stored."""
    refusal(store, RUMOR, "ana")
    assert store.requests_due() == [RUMOR]
    assert request(store).stated is not None


def test_a_stranger_is_owed_nothing(store: Store) -> None:
    """What a stranger sent is neither due nor known by its wrap."""
    refusal(store, hexes(5), None)
    assert store.requests_due() == [RUMOR]
    assert store.request(hexes(5)) is None
    assert store.refused_rumor(hexes(77)) is None


def test_a_removed_worker_has_no_key_to_write_to(store: Store) -> None:
    """The relay lets them in no longer, so nothing is written to them until they are enrolled again."""
    store.remove("ana")
    assert request(store).access == ()


def test_an_older_database_is_brought_up_to_date(tmp_path: Path) -> None:
    """A database of the first schema gets what receipts need, and keeps its rows."""
    import sqlalchemy as sa
    from alembic import command
    from alembic.config import Config

    from powdo.adapters.database import engine

    path = tmp_path / "dvm.sqlite"
    config = Config()
    config.set_main_option("script_location", str(Path(engine.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    made = sa.create_engine(f"sqlite:///{path}")
    with made.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            sa.text("INSERT INTO worker (id, name, disabled, added_at) VALUES (1, 'ana', false, 1)")
        )
    made.dispose()
    store = Store(f"sqlite:///{path}")
    assert [worker.name for worker in store.workers()] == ["ana"]
    assert store.requests_due() == []
    store.close()
