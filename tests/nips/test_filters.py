"""Filters (NIP-01)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_relay import matches

from powdo.errors import BadRecordError
from powdo.nips.event import Event
from powdo.nips.filters import Filter

A, B, C = "a" * 64, "b" * 64, "c" * 64
EVENT = Event(A, B, 100, 1059, (("p", C), ("t", "x", "y"), ("e",)), "", "0" * 128)
HEX = st.lists(st.sampled_from([A, B, C]), max_size=3)
NUMBER = st.integers(0, 200)
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "ids": HEX,
        "authors": HEX,
        "kinds": st.lists(st.sampled_from([1, 1059]), max_size=2),
        "since": NUMBER,
        "until": NUMBER,
        "limit": NUMBER,
        "#p": HEX,
        "#t": st.lists(st.sampled_from(["x", "y", ""]), max_size=2),
    },
)


@given(FILTERS)
def test_round_trip(obj: dict[str, Any]) -> None:
    """A filter is written as it was read."""
    assert Filter.from_json(obj).to_json() == obj
    assert Filter.from_json(Filter.from_json(obj).to_json()) == Filter.from_json(obj)


@given(FILTERS)
def test_matches_as_the_nip_says(obj: dict[str, Any]) -> None:
    """The answer is that of a plain reading of NIP-01."""
    expected = all(
        [
            EVENT.id in obj.get("ids", [A]),
            EVENT.pubkey in obj.get("authors", [B]),
            EVENT.kind in obj.get("kinds", [1059]),
            obj.get("since", 0) <= EVENT.created_at <= obj.get("until", 200),
            "#p" not in obj or C in obj["#p"],
            "#t" not in obj or "x" in obj["#t"],
        ]
    )
    assert Filter.from_json(obj).matches(EVENT) is expected


EVENTS = st.builds(
    Event,
    id=st.sampled_from([A, B]),
    pubkey=st.sampled_from([A, B, C]),
    created_at=NUMBER,
    kind=st.sampled_from([1, 7, 1059]),
    tags=st.lists(st.lists(st.sampled_from(["p", "t", "T", "x", "", A, C]), min_size=1, max_size=3)),
    content=st.just(""),
    sig=st.just("0" * 128),
)


@given(FILTERS, EVENTS)
def test_any_event_matches_as_a_plain_search_says(obj: dict[str, Any], event: Event) -> None:
    """Whatever its tags, an event matches where comparing one by one finds it."""
    assert Filter.from_json(obj).matches(event) is matches(event, obj)


@pytest.mark.parametrize("obj", [{"ids": []}, {"authors": []}, {"kinds": []}, {"#p": []}, {"#t": []}])
def test_empty_list_matches_nothing(obj: dict[str, object]) -> None:
    """An empty list is a condition that no event meets."""
    assert not Filter.from_json(obj).matches(EVENT)


def test_empty_filter_matches_everything() -> None:
    """Without a condition every event matches, and a limit is none."""
    assert Filter().matches(EVENT)
    assert Filter(limit=0).matches(EVENT)


def test_bounds_of_time_are_inclusive() -> None:
    """Events dated exactly since or until are included."""
    assert Filter(since=100, until=100).matches(EVENT)
    assert not Filter(since=101).matches(EVENT)
    assert not Filter(until=99).matches(EVENT)


def test_only_the_first_value_of_a_tag_is_looked_at() -> None:
    """Later values of a tag, and tags without a value, match nothing; case counts."""
    assert Filter(tags={"t": ("x",)}).matches(EVENT)
    assert not Filter(tags={"t": ("y",)}).matches(EVENT)
    assert not Filter(tags={"T": ("x",)}).matches(EVENT)
    assert not Filter(tags={"e": ("",)}).matches(EVENT)


@pytest.mark.parametrize(
    "obj",
    [
        None,
        [],
        {"ids": None},
        {"ids": A},
        {"ids": [A[:-1]]},
        {"ids": [A.upper()]},
        {"authors": [1]},
        {"authors": {A: 1}},
        {"kinds": 1},
        {"kinds": ["1"]},
        {"kinds": [True]},
        {"kinds": [65536]},
        {"kinds": [-1]},
        {"kinds": [1.0]},
        {"since": "1"},
        {"since": None},
        {"until": -1},
        {"limit": 1.5},
        {"limit": True},
        {"limit": 2**53 + 1},
        {"#p": ["x"]},
        {"#e": [A.upper()]},
        {"#t": "x"},
        {"#t": [1]},
        {"#t": ["x\ud800"]},
        {"#tt": ["x"]},
        {"#é": ["x"]},
        {"#": ["x"]},
        {"search": "x"},
        {1: 2},
    ],
    ids=repr,
)
def test_malformed_filter_is_refused(obj: object) -> None:
    """A wrong type, number or alphabet, and a key nobody knows, are refused."""
    with pytest.raises(BadRecordError):
        Filter.from_json(obj)
