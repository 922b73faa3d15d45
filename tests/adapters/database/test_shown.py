"""What a page asks of the evidence."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa

from powdo.adapters.database import Database, Refusal, Shot, Store
from powdo.adapters.database.tables import bundle, withheld
from powdo.worktime.pieces import gaps
from tests.adapters.database.test_store import ANA, DEVICE, HOUR, SECOND, T0, delivery, hexes


def filled(database: Database, *numbers: int) -> tuple[Store, int]:
    """Return a store with ana's captures of these hours, and her number."""
    store = Store(database)
    worker = store.enroll("ana", pubkeys=[ANA]).id
    for number in numbers:
        store.store(delivery(worker, number, []))
    return store, worker


def test_captures_of_a_period_by_time(database: Database) -> None:
    """A capture belongs to the period in which it ends, with how it stands and what it lacks."""
    store, worker = filled(database, 2, 0, 1)
    found = store.pieces(worker, T0 + HOUR, T0 + 3 * HOUR)
    assert [(piece.sequence, piece.begin, piece.screenshots) for piece in found] == [
        (2, T0 + HOUR, 1),
        (3, T0 + 2 * HOUR, 1),
    ]
    assert {piece.state.word for piece in found} == {"checked, receipt due"}
    with database.write() as connection:
        connection.execute(sa.update(bundle).values(receipt_due=False))
    assert {piece.state.word for piece in store.pieces(worker, 0, T0 + 9 * HOUR)} == {"checked, receipt sent"}
    assert store.pieces(worker + 1, 0, T0 + 9 * HOUR) == []


def test_withheld_captures_have_their_place(database: Database) -> None:
    """What a later bundle told as withheld stands among the captures and fills its gap."""
    store, worker = filled(database, 0, 2)
    assert [gap.captures for gap in gaps(store.places(worker, 0, T0 + 9 * HOUR))] == [1]
    row = {
        "worker_id": worker,
        "device": DEVICE,
        "sequence": 2,
        "hash": hexes(9),
        "link": "{}",
        "ingested_at": 0,
    }
    with database.write() as connection:
        connection.execute(withheld.insert(), [row | {"begin_us": T0 + HOUR, "end_us": T0 + 2 * HOUR}])
    assert [piece.state.tone for piece in store.pieces(worker, 0, T0 + 9 * HOUR)] == ["fair", "gone", "fair"]
    assert gaps(store.places(worker, 0, T0 + 9 * HOUR)) == []


def test_screenshots_that_retention_took_are_a_number(database: Database) -> None:
    """Screenshots come by time, the period's begin included; those that are not kept are counted."""
    store, worker = filled(database, 0, 1, 2)
    kept = [Shot(T0 + number * HOUR, 1, 2, 3, hexes(2), "png") for number in range(3)]
    assert store.shots(worker, T0, T0 + 2 * HOUR) == kept[:2]
    with database.write() as connection:
        connection.execute(sa.update(bundle).where(bundle.c.sequence == 1).values(screenshots_removed_at=1))
    assert store.shots(worker, T0, T0 + 3 * HOUR) == kept[1:]
    assert store.removed_shots(worker, T0, T0 + 3 * HOUR) == 1
    assert store.removed_shots(worker, T0 + HOUR, T0 + 3 * HOUR) == 0


def test_refusals_of_a_period(database: Database) -> None:
    """What was refused is told with when it came and why, to its own worker alone."""
    store, worker = filled(database)
    refusal = Refusal(wrap=hexes(1), reason="a bad zip", status=65, worker=worker)
    store.refuse(refusal)
    store.refuse(replace(refusal, wrap=hexes(2), worker=None))
    ((at, reason),) = store.refusals(worker, 0, 1 << 62)
    assert reason == "a bad zip"
    assert store.refusals(worker, at, at + SECOND) == [(at, reason)]
    assert store.refusals(worker, at + SECOND, at + 2 * SECOND) == []
