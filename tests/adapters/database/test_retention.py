from __future__ import annotations

import pytest
import sqlalchemy as sa

from powdo.adapters.database import Database, Store
from tests.adapters.database.test_store import ANA, delivery, hexes, window


@pytest.fixture
def store(database: Database) -> Store:
    """Return the store of an empty database."""
    return Store(database)


@pytest.fixture
def ana(store: Store) -> int:
    """Return the number of a worker with three bundles of one bucket event each, and the same screenshot."""
    worker = store.enroll("ana", pubkeys=[ANA])
    for number in range(3):
        store.store(delivery(worker.id, number, [window(number * 3600, number * 3600 + 60)]))
    return worker.id


def taken_in(database: Database, number: int, at: int) -> None:
    """Let the bundle *number* have been taken in at *at*."""
    with database.write() as connection:
        connection.execute(
            sa.text("UPDATE bundle SET ingested_at = :at WHERE rumor = :r"),
            {"at": at, "r": hexes(1000 + number)},
        )


def rows(database: Database, table: str) -> int:
    """Return how many rows *table* has."""
    with database.read() as connection:
        return int(connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_what_is_over_is_found_once(store: Store, database: Database, ana: int) -> None:
    """A bundle older than the moment is told with its files, until it is marked."""
    taken_in(database, 0, 100)
    taken_in(database, 1, 200)
    for what, files in (("blob", hexes(2000)), ("screenshots", hexes(2))):
        (batch,) = store.expired(what, 200)
        assert [(item.worker, item.sequence, item.files) for item in batch] == [("ana", 1, (files,))]
        store.mark_removed(what, [item.id for item in batch])
        assert list(store.expired(what, 200)) == []
        assert [item.sequence for batch in store.expired(what, 201) for item in batch] == [2]


def test_a_file_is_needed_as_long_as_one_row_has_it(store: Store, database: Database, ana: int) -> None:
    """A blob is its bundle's alone; a screenshot may be several bundles', until the last is marked."""
    taken_in(database, 0, 100)
    assert store.needed([hexes(2000), hexes(2), hexes(9)]) == {hexes(2000), hexes(2)}
    (batch,) = store.expired("blob", 101)
    store.mark_removed("blob", [item.id for item in batch])
    store.mark_removed("screenshots", [item.id for item in batch])
    assert store.needed([hexes(2000), hexes(2)]) == {hexes(2)}
    everything = [item.id for batch in store.expired("screenshots", 1 << 40) for item in batch]
    store.mark_removed("screenshots", everything)
    assert store.needed([hexes(2)]) == set()


def test_erasing_leaves_a_tombstone_and_nothing_else(store: Store, database: Database, ana: int) -> None:
    """All rows of the worker go, of others none; enrolled again, they are known to have been erased."""
    ben = store.enroll("ben", pubkeys=["b1" * 32])
    store.store(delivery(ben.id, 7, [window(0, 9)]))
    store.begin_erasing(ana)
    assert store.author(ANA) is None
    files = {name for batch in store.doomed(ana) for name in batch}
    assert files == {hexes(2), *(hexes(2000 + number) for number in range(3))}
    assert store.needed(files) == {hexes(2)}  # ben's
    assert store.finish_erasing(ana)
    assert [worker.name for worker in store.workers()] == ["ben"]
    counts = {"bundle": 1, "bucket": 1, "bucket_event": 1, "screenshot": 1, "dirty": 1, "worker_key": 1}
    assert {table: rows(database, table) for table in counts} == counts
    assert rows(database, "tombstone") == 1
    with database.read() as connection:
        stone = connection.execute(sa.text("SELECT author FROM tombstone")).scalar_one()
    assert stone != ANA
    store.enroll("ana", pubkeys=[ANA])
    author = store.author(ANA)
    assert author is not None and author.erased_at is not None


def test_erasing_waits_for_what_came_meanwhile(store: Store, ana: int) -> None:
    """A bundle that was taken in after the files went is no orphan: erasing begins anew."""
    store.begin_erasing(ana)
    assert len(list(store.doomed(ana))) == 1
    store.store(delivery(ana, 5, []))
    assert not store.finish_erasing(ana)
    assert {hexes(2005)} <= {name for batch in store.doomed(ana) for name in batch}
    assert store.finish_erasing(ana)


def test_many_bucket_events_go_in_pieces(
    store: Store, database: Database, ana: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, no transaction has to delete them all; also where many share one moment."""
    from powdo.adapters.database import retention

    monkeypatch.setattr(retention, "_EVENTS", 2)
    events = [window(1, 2 + number, app=f"app{number}") for number in range(5)]
    store.store(delivery(ana, 6, [*events, *(window(10 + n, 11 + n) for n in range(5))]))
    store.begin_erasing(ana)
    assert list(store.doomed(ana))
    assert store.finish_erasing(ana)
    assert rows(database, "bucket_event") == 0


def test_bundles_are_kept_in_the_order_of_their_chain(
    store: Store, ana: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In however small batches, each bundle comes once, with its screenshots; a period leaves out others."""
    from powdo.adapters.database import kept

    monkeypatch.setattr(kept, "_BATCH", 2)
    batches = list(store.kept(ana))
    assert [len(batch) for batch in batches] == [2, 1]
    found = [(row.sequence, [picture.sha256 for picture in pictures]) for b in batches for row, pictures in b]
    assert found == [(1, [hexes(2)]), (2, [hexes(2)]), (3, [hexes(2)])]
    second = batches[0][1][0]
    inside = [row.sequence for b in store.kept(ana, second.begin_us + 1, second.end_us) for row, _ in b]
    assert inside == [2]
    assert store.count_kept(ana, second.begin_us + 1, second.end_us) == 1
    assert [link.sequence for link in store.links(ana)] == [1, 2, 3]
    assert store.bundle(hexes(1001)).sequence == store.bundle(hexes(2001)).sequence == 2
    assert store.bundle("c1-2").sequence == 2


def test_any_number_of_files_can_be_asked_for(store: Store, ana: int) -> None:
    """A worker may have sent more screenshots than one statement of the database has room for."""
    strangers = [f"{number:064x}" for number in range(1 << 40, (1 << 40) + 300_000)]
    assert store.needed([*strangers[:7], hexes(2), *strangers[7:], hexes(2000)]) == {hexes(2), hexes(2000)}
