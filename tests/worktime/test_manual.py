"""`powdo.worktime.manual`: blocks of their own, marked everywhere, booked as the operator's rules say."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest

from powdo.worktime import tally
from powdo.worktime.activity import Focus, Slice
from powdo.worktime.book import Book
from powdo.worktime.intervals import MINUTE, Interval
from powdo.worktime.manual import APP, Manual, marked, parse
from powdo.worktime.rules import matcher
from powdo.worktime.ruleset import parse_rules
from powdo.worktime.timesheets import Limits

_RULES = parse_rules([
    {"name": "code", "app": "Code", "customer": "Acme", "project": "Shop", "activity": "Development",
     "tags": ["dev"], "billable": True},
    {"name": "calls", "title": "call", "project": "Shop", "activity": "Calls"},
    {"name": "catch-all", "app": "manual", "project": "Wrong", "activity": "Wrong"},
])[0]  # fmt: skip
_BOOK = Book(rules=_RULES, limits=Limits(), zone=UTC)


def _slices(*spans: tuple[float, float, Any]) -> list[Slice]:
    return [
        Slice(
            round(begin * MINUTE),
            round(end * MINUTE),
            Focus(APP, what.description, manual=what) if isinstance(what, Manual) else Focus(what, "t"),
        )
        for begin, end, what in spans
    ]


def _blocks(*spans: tuple[float, float, Any], walls: tuple[Interval, ...] = ()) -> list[tuple[Any, ...]]:
    return [
        (block.begin / MINUTE, block.end / MINUTE, block.project, block.activity, block.manual)
        for block in _BOOK.sheet(_slices(*spans), walls).blocks
    ]


def test_a_record_is_a_block_of_its_own() -> None:
    """It joins nothing that was measured on the same project, nor does that join across it."""
    call = Manual("Shop", "Development", "Acme", "by phone")
    assert _blocks((0, 30, "Code"), (30, 32, call), (32, 60, "Code")) == [
        (0, 30, "Shop", "Development", False),
        (30, 32, "Shop", "Development", True),
        (32, 60, "Shop", "Development", False),
    ]
    block = _BOOK.sheet(_slices((0, 30, call))).blocks[0]
    assert (block.description, block.source) == ("by phone (manual)", "manual")
    assert (block.customer, block.tags, block.billable) == ("Acme", ("dev", "manual"), True)


def test_short_stretches_are_not_absorbed_into_it() -> None:
    """Half a measured minute between two records stays unassigned, and is not stated time."""
    call = Manual("Shop", "Calls")
    sheet = _BOOK.sheet(_slices((0, 10, call), (10, 10.5, "Code"), (10.5, 20, call)))
    assert [block.manual for block in sheet.blocks] == [True, True]
    assert [(item.app, item.reason) for item in sheet.leftovers] == [("Code", "too short")]


@pytest.mark.parametrize(
    ("said", "booked"),
    [
        (Manual("shop"), ("Acme", "Shop", "Development")),
        (Manual("Shop", "calls"), (None, "Shop", "Calls")),
        (Manual("Shop", None, "Acme"), ("Acme", "Shop", "Development")),
        (Manual("Shop", "Design"), (None, "Shop", "Design")),
        (Manual("Other", "Talk", "Initech"), ("Initech", "Other", "Talk")),
    ],
)
def test_what_a_record_leaves_open_the_rules_say(said: Manual, booked: tuple[str | None, ...]) -> None:
    """The first rule on the same project, and on customer and activity where named, fills the rest."""
    [block] = _BOOK.sheet(_slices((0, 10, said))).blocks
    assert (block.customer, block.project, block.activity) == booked
    assert "manual" in block.tags


def test_without_an_activity_it_waits() -> None:
    """A project that no rule knows is unassigned without an activity; conditions never match a record."""
    sheet = _BOOK.sheet(_slices((0, 10, Manual("Nowhere", description="call"))))
    assert sheet.blocks == ()
    assert [(item.app, item.title, item.reason) for item in sheet.leftovers] == [(APP, "call", "no activity")]


def test_what_a_person_settled_goes_before_it() -> None:
    """Time that somebody edited or deleted in Kimai is not stated anew."""
    wall = Interval(5 * MINUTE, 8 * MINUTE)
    assert _blocks((0, 10, Manual("Shop")), walls=(wall,)) == [
        (0, 5, "Shop", "Development", True),
        (8, 10, "Shop", "Development", True),
    ]


@pytest.mark.parametrize("data", [{}, {"project": 5}, {"project": " "}, {"activity": "A"}, {"project": None}])
def test_records_that_name_no_project(data: dict[str, object]) -> None:
    """What names no project is no record."""
    assert parse(data) is None


def test_data_goes_there_and_back() -> None:
    """What a record says is what its bucket event says; what is left open is left out."""
    said = Manual("Shop", None, "Acme", "call")
    assert said.data() == {"project": "Shop", "customer": "Acme", "description": "call"}
    assert parse({**said.data(), "activity": 5}) == said
    assert marked("") == "(manual)"


def test_totals_count_it_in_rows_of_their_own() -> None:
    """A report never adds stated time to measured time."""
    counted: dict[tally.Key, int] = {}
    keys = tally.parted(tally.by_booking(matcher(_RULES), "project"))
    tally.count(keys(_slices((0, 10, "Code"), (10, 15, Manual("Shop")), (15, 16, Manual("X")))), counted)
    assert {key: length / MINUTE for key, length in counted.items()} == {
        "Shop": 10, "Shop (manual)": 5, "(unassigned) (manual)": 1,
    }  # fmt: skip
