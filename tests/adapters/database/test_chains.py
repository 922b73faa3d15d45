"""The chains of links at the DVM: what is missing, forked, withheld, and where another one begins."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from powdo.adapters.database import Database, Store, Told
from powdo.adapters.database.chains import Chain, _holes
from powdo.errors import PeerProtocolError
from powdo.worktime.link import Link
from tests.adapters.database.test_store import ANA, DEVICE, HOUR, T0, delivery

OTHER = "6f1c2b3a-0000-4000-8000-000000000002"


@pytest.fixture
def store(database: Database) -> Store:
    """Return the store of an empty database."""
    return Store(database)


@pytest.fixture
def ana(store: Store) -> int:
    """Return the number of an enrolled worker."""
    return store.enroll("ana", pubkeys=[ANA]).id


def add(store: Store, ana: int, *sequences: int, withheld: tuple[int, ...] = ()) -> None:
    """Store bundles with these numbers, the last of which tells the *withheld*."""
    for sequence in sequences:
        made = delivery(ana, sequence - 1, [], sequence=sequence)
        if sequence == sequences[-1]:
            made = replace(made, withheld=[Told(gone(number), None) for number in withheld])
        store.store(made)


def gone(sequence: int) -> Link:
    """Return the link of a capture that was destroyed."""
    begin = T0 + (sequence - 1) * HOUR
    return Link(
        device=DEVICE, sequence=sequence, begin=begin, end=begin + HOUR, previous="ab" * 32, root=None
    )


def only(store: Store, ana: int) -> Chain:
    """Return the only chain there is."""
    (chain,) = store.chains(ana)
    assert store.chain(ana, chain.device) == chain
    return chain


def test_a_whole_chain_lacks_nothing(store: Store, ana: int) -> None:
    """From 1 to the last all came, in whatever order."""
    add(store, ana, 2, 3, 1)
    assert only(store, ana) == Chain(DEVICE, 1, 3, 3, 0, T0, (), ())


def test_what_is_missing_shows_by_ranges(store: Store, ana: int) -> None:
    """Each run of numbers that did not come is one range, before the first too."""
    add(store, ana, 3, 4, 8, 10)
    chain = only(store, ana)
    assert chain.missing == ((1, 2), (5, 7), (9, 9))
    assert (chain.first, chain.last, chain.begin_us) == (3, 10, T0 + 2 * HOUR)


def test_a_withheld_link_is_no_gap(store: Store, ana: int) -> None:
    """What the worker destroyed fills its place; what nobody speaks of does not."""
    add(store, ana, 1, 5, withheld=(2, 4))
    chain = only(store, ana)
    assert (chain.bundles, chain.withheld, chain.missing, chain.forked) == (2, 2, ((3, 3),), ())


def test_a_second_bundle_in_one_place_is_a_fork(store: Store, ana: int) -> None:
    """It is refused, told each time, and its link alone is kept."""
    add(store, ana, 1, 2)
    second = delivery(ana, 7, [], sequence=2)
    for _ in range(2):
        with pytest.raises(PeerProtocolError, match="the place 2 in the chain"):
            store.store(second)
    chain = only(store, ana)
    assert (chain.bundles, chain.missing, chain.forked) == (2, (), (2,))


def test_a_bundle_that_was_said_to_be_withheld_is_a_fork(store: Store, ana: int) -> None:
    """Two links for one place contradict each other, whatever they say."""
    add(store, ana, 1, 2, withheld=(1,))
    assert only(store, ana).forked == (1,)


def test_another_device_is_another_chain(store: Store, ana: int) -> None:
    """A new UUID begins a chain of its own, after the first one."""
    add(store, ana, 1, 2)
    made = delivery(ana, 9, [], sequence=1)
    store.store(
        replace(made, manifest=replace(made.manifest, device=OTHER), link=replace(made.link, device=OTHER))
    )
    chains = store.chains(ana)
    assert [(chain.device, chain.last, chain.missing) for chain in chains] == [
        (DEVICE, 2, ()),
        (OTHER, 1, ()),
    ]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(1, 60)))
def test_holes_and_places_make_a_whole(places: set[int]) -> None:
    """Ranges are disjoint, in order, and with the places they fill all numbers up to the last."""
    holes = list(_holes(sorted(places)))
    filled = [number for first, last in holes for number in range(first, last + 1)]
    assert sorted(filled) == filled
    assert sorted([*filled, *places]) == list(range(1, max(places, default=0) + 1))
