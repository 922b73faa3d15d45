"""The operator's `[[rule]]` tables: how they are read, what is wrong with them, and which never count."""

from __future__ import annotations

import difflib
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from powdo.worktime.rules import PATTERNS, Rule

_TEXTS = ("customer", "project", "activity")
_DATES = ("valid_from", "valid_to")
_KNOWN = {"name", "tags", "billable", "description", "always_active", *PATTERNS, *_TEXTS, *_DATES}
#: Patterns that hold in every text.
_EVERYTHING = {"", ".*", "^", "$", "^.*$", "^.*"}

_Note = Callable[[str, str], None]


class Problem(NamedTuple):
    """What is wrong with the rule *number* (from 1), called *name*: the *key*, and what of it."""

    number: int
    name: str
    key: str
    text: str

    def __str__(self) -> str:
        return f"rule '{self.name}': '{self.key}' {self.text}"


def _patterns(table: Mapping[str, Any], told: _Note) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name in PATTERNS:
        value = table.get(name)
        if value is None:
            continue
        try:
            result[name] = re.compile(value)
        except TypeError:
            told(name, "must be a regular expression in a string")
        except re.error as error:
            told(name, f"is no regular expression: {error}")
    return result


def _targets(table: Mapping[str, Any], told: _Note) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name in _TEXTS:
        value = table.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)  # an id in Kimai
        if value is not None and not (isinstance(value, str) and value.strip()):
            told(name, "must be a name or an id")
        elif value is not None:
            result[name] = value.strip()
    tags = table.get("tags", ())
    if not isinstance(tags, list | tuple) or not all(isinstance(tag, str) for tag in tags):
        told("tags", "must be a list of strings")
    elif any(not 2 <= len(tag.strip()) <= 100 or "," in tag for tag in tags):
        told("tags", "must each have 2 to 100 characters and no comma")
    else:
        result["tags"] = tuple(sorted({tag.strip() for tag in tags}))
    return result


def _switches(table: Mapping[str, Any], told: _Note) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name in ("billable", "always_active"):
        value = table.get(name)
        if isinstance(value, bool):
            result[name] = value
        elif value is not None:
            told(name, "must be true or false")
    for name in _DATES:
        value = table.get(name)
        try:
            if isinstance(value, str):
                value = date.fromisoformat(value)
        except ValueError:
            told(name, "must be a date, such as 2026-01-31")
            continue
        if isinstance(value, date) and not isinstance(value, datetime):
            result[name] = value
        elif value is not None:
            told(name, "must be a date, such as 2026-01-31")
    return result


def _template(table: Mapping[str, Any], values: Mapping[str, Any], told: _Note) -> str:
    text = table.get("description", "")
    if not isinstance(text, str):
        told("description", "must be a string")
        return ""
    groups = {group for name in PATTERNS if name in values for group in values[name].groupindex}
    try:
        parts = [(field, spec) for _, field, spec, _ in string.Formatter().parse(text) if field is not None]
    except ValueError as error:
        told("description", f"is no template: {error}")
        return ""
    unknown = [f"{field}:{spec}" if spec else field for field, spec in parts if spec or field not in groups]
    for name in unknown:
        told("description", f"uses '{{{name}}}', which no pattern of the rule names")
    return "" if unknown else text


def _one(table: Mapping[str, Any], number: int, name: str) -> tuple[Rule | None, list[Problem]]:
    problems: list[Problem] = []

    def note(key: str, text: str) -> None:
        problems.append(Problem(number, name, key, text))

    for key in sorted(set(table) - _KNOWN):
        near = difflib.get_close_matches(key, sorted(_KNOWN), 1)
        note(key, "is not known" + (f"; did you mean '{near[0]}'?" if near else ""))
    values = _patterns(table, note) | _targets(table, note) | _switches(table, note)
    description = _template(table, values, note)
    if "activity" in values and "project" not in values:
        note("activity", "without 'project'")
    if "project" in values and "activity" not in values:
        note("project", "without 'activity'")
    if values.get("valid_from", date.min) > values.get("valid_to", date.max):
        note("valid_from", "is after 'valid_to'")
    if values.get("always_active") and not any(key in values for key in PATTERNS):
        note("always_active", "without a condition would count every hour")
    return (None if problems else Rule(name=name, description=description, **values)), problems


def read_rules(tables: Sequence[Mapping[str, Any]]) -> tuple[list[Rule | None], list[Problem]]:
    """Return the rules in the `[[rule]]` *tables*, None for each that is wrong, and what is wrong."""
    rules: list[Rule | None] = []
    problems: list[Problem] = []
    for number, table in enumerate(tables, 1):
        given = table.get("name", f"rule {number}")
        name = given if isinstance(given, str) and given else f"rule {number}"
        if name is not given:
            problems.append(Problem(number, name, "name", "must be a string"))
        rule, found = _one(table, number, name)
        problems += found
        rules.append(rule)
    return rules, problems


def parse_rules(tables: Sequence[Mapping[str, Any]]) -> tuple[tuple[Rule, ...], list[str]]:
    """Return the rules in the `[[rule]]` *tables*, and every problem found in them, in words."""
    rules, problems = read_rules(tables)
    return tuple(rule for rule in rules if rule is not None), [str(problem) for problem in problems]


# --- rules that never count ------------------------------------------------------------------------


def dead_rules(rules: Sequence[Rule | None], today: date) -> Iterator[Problem]:
    """Yield the *rules* that can never count, and why; None stands for one that is wrong.

    Whether one pattern holds wherever another does is told only for equal ones and for those that hold
    everywhere; so what is not told may be dead all the same.
    """
    numbered = [(number, rule) for number, rule in enumerate(rules, 1) if rule is not None]
    asked = sorted(numbered, key=lambda pair: (not pair[1].always_active, pair[1].layer))
    before: list[Rule] = []
    for number, rule in asked:
        if rule.project is None and not rule.always_active:
            yield Problem(number, rule.name, "name", "books nothing and is not always active")
        elif rule.valid_to is not None and rule.valid_to < today:
            yield Problem(number, rule.name, "valid_to", f"ended on {rule.valid_to}")
        elif rule.project is not None:
            first = next((other for other in before if _covers(other, rule)), None)
            if first is not None:
                text = f"never counts: all that it matches is taken by the rule '{first.name}'"
                yield Problem(number, rule.name, "name", text)
            before.append(rule)


def _covers(one: Rule, other: Rule) -> bool:
    """Return whether *one* surely holds wherever and whenever *other* does."""
    conditions = dict(other.conditions)
    within = (one.valid_from or date.min) <= (other.valid_from or date.min) and (
        other.valid_to or date.max
    ) <= (one.valid_to or date.max)
    return within and all(
        name in conditions and (pattern.pattern == conditions[name].pattern or pattern.pattern in _EVERYTHING)
        for name, pattern in one.conditions
    )
