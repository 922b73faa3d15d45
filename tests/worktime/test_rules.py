"""`powdo.worktime.rules`: layers, order, dates, templates, and every mistake in a rule told."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from powdo.worktime.activity import Focus, Slice
from powdo.worktime.intervals import DAY
from powdo.worktime.rules import describer, fields, matcher, presence
from powdo.worktime.ruleset import parse_rules

_BERLIN = ZoneInfo("Europe/Berlin")
_BOOKED = {"project": "P", "activity": "A"}


def _focus(**values: str) -> Focus:
    return Focus(values.pop("app", "Code"), values.pop("title", ""), **values)


def _name(tables: list[dict[str, object]], focus: Focus, begin: int = 0) -> str | None:
    rules, problems = parse_rules(tables)
    assert not problems
    found = matcher(rules, _BERLIN)(Slice(begin, begin + 1, focus))
    return found.name if found else None


def test_the_richest_layer_wins_then_the_first() -> None:
    """An editor rule goes before a URL rule before a title before an app; within a layer the first."""
    tables = [
        {"name": "app", "app": "Code", **_BOOKED},
        {"name": "title", "title": "x", **_BOOKED},
        {"name": "url", "url": "x", **_BOOKED},
        {"name": "branch", "branch": "x", **_BOOKED},
        {"name": "project", "editor_project": "x", **_BOOKED},
        {"name": "all", **_BOOKED},
    ]
    focus = _focus(title="x", url="x", branch="x", editor_project="x")
    assert _name(tables, focus) == "branch"
    assert _name(tables, focus._replace(branch=None)) == "project"
    assert _name(tables, focus._replace(branch=None, editor_project=None)) == "url"
    assert _name(tables, _focus(title="x")) == "title"
    assert _name(tables, _focus()) == "app"
    assert _name(tables, _focus(app="vlc")) == "all"
    assert _name(tables[:-1], _focus(app="vlc")) is None


def test_all_conditions_must_hold() -> None:
    """A rule with two conditions needs both."""
    tables = [{"name": "r", "app": "^fire", "title": "Jira", **_BOOKED}]
    assert _name(tables, _focus(app="firefox", title="SHOP – Jira")) == "r"
    assert _name(tables, _focus(app="chrome", title="Jira")) is None


def test_dates_are_those_of_the_zone() -> None:
    """A rule holds from its first day to its last, in the worker's zone."""
    tables = [{"name": "r", "valid_from": date(1970, 1, 2), "valid_to": "1970-01-02", **_BOOKED}]
    midnight = DAY - 3_600_000_000  # Berlin is an hour ahead
    assert _name(tables, _focus(), midnight - 1) is None
    assert _name(tables, _focus(), midnight) == "r"
    assert _name(tables, _focus(), midnight + DAY) is None


def test_a_description_is_filled_from_named_groups() -> None:
    """A template takes what the patterns name; what did not match is left out."""
    table = {"url": r"browse/(?P<ticket>[A-Z]+-\d+)|inbox", "description": "Ticket {ticket}", **_BOOKED}
    rules, _ = parse_rules([table, {"description": "as it is", **_BOOKED}])
    describe = describer(rules[0])
    assert describe(_focus(url="https://x.example/browse/SHOP-12")) == "Ticket SHOP-12"
    assert describe(_focus(url="https://x.example/inbox")) == "Ticket"
    assert describer(rules[1])(_focus()) == "as it is"


def test_always_active_names_what_is_present() -> None:
    """Only `always_active` rules make presence, booked or not."""
    rules, problems = parse_rules([{"app": "zoom", "always_active": True}, {"app": "Code", **_BOOKED}])
    assert not problems
    present = presence(rules)
    assert (
        present is not None
        and present(Slice(0, 1, _focus(app="zoom")))
        and not present(Slice(0, 1, _focus()))
    )
    assert matcher(rules)(Slice(0, 1, _focus(app="zoom"))) is None
    assert fields(rules) == {"app"}
    assert presence(rules[1:]) is None


_conditions = st.dictionaries(
    st.sampled_from(Focus._fields[:-1]), st.sampled_from(["a", "b", "^b", "a.*b", ""]), max_size=3
)
_dates = st.dictionaries(
    st.sampled_from(["valid_from", "valid_to"]), st.sampled_from(["1970-01-01", "1970-01-02"]), max_size=1
)
_texts = st.one_of(st.none(), st.text("ab", max_size=3))
_focuses = st.builds(
    Focus, st.text("ab", max_size=3), st.text("ab", max_size=3), _texts, _texts, _texts, _texts, st.none()
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(_conditions, _dates), max_size=6), st.lists(_focuses, max_size=6))
def test_the_rule_found_is_the_first_that_holds(
    tables: list[tuple[dict[str, str], dict[str, str]]], focuses: list[Focus]
) -> None:
    """What a matcher finds, is the first rule by layer all of whose conditions hold, on every day."""
    rules, problems = parse_rules([{**conditions, **dates, **_BOOKED} for conditions, dates in tables])
    assert not problems
    find = matcher(rules, _BERLIN)
    for focus in focuses * 2:
        for day in (1, 2, 3):
            today = date(1970, 1, day)
            holding = [
                rule
                for rule in sorted(rules, key=lambda rule: rule.layer)
                if all(pattern.search(getattr(focus, name) or "") for name, pattern in rule.conditions)
                and all(getattr(focus, name) is not None for name, _ in rule.conditions)
                and (rule.valid_from or today) <= today <= (rule.valid_to or today)
            ]
            found = find(Slice((day - 1) * DAY, (day - 1) * DAY + 1, focus))
            assert found is (holding[0] if holding else None)


def test_ids_and_tags() -> None:
    """A number names an id, tags are trimmed and sorted."""
    rules, problems = parse_rules([{"project": 7, "activity": 3, "tags": ["b1 ", "a1"]}])
    assert not problems
    assert (rules[0].project, rules[0].activity, rules[0].tags) == ("7", "3", ("a1", "b1"))
    assert rules[0].name == "rule 1"


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"app": "("}, "'app' is no regular expression"),
        ({"app": 5}, "'app' must be a regular expression"),
        ({"apps": "x"}, "'apps' is not known"),
        ({"project": ""}, "'project' must be a name or an id"),
        ({"project": "P"}, "'project' without 'activity'"),
        ({"activity": "A"}, "'activity' without 'project'"),
        ({"tags": "x"}, "'tags' must be a list"),
        ({"tags": ["a,b"]}, "no comma"),
        ({"tags": ["a"]}, "2 to 100 characters"),
        ({"billable": "yes"}, "'billable' must be true or false"),
        ({"valid_from": "soon"}, "'valid_from' must be a date"),
        ({"valid_from": "2026-02-01", "valid_to": "2026-01-01"}, "'valid_from' is after 'valid_to'"),
        ({"always_active": True}, "without a condition"),
        ({"description": "{ticket}"}, "'{ticket}', which no pattern"),
        ({"description": "{"}, "is no template"),
        ({"description": "{a.__class__}", "app": "(?P<a>x)"}, "which no pattern"),
        ({"description": "{a:{b}}", "app": "(?P<a>x)"}, "which no pattern"),
        ({"name": 5}, "'name' must be a string"),
    ],
)
def test_every_mistake_is_told(table: dict[str, object], told: str) -> None:
    """What is wrong with a rule is told, with its name."""
    _, problems = parse_rules([table])
    assert any(told in problem for problem in problems), problems
