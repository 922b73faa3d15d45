"""Which customer, project and activity a slice of time belongs to: the operator's ordered rules.

Rules:
- all conditions of a rule must hold; they are regular expressions, searched for anywhere in the text;
- what says most about the work is asked first: rules that are `always_active`, then rules on the editor,
  the URL, the title, the app; among rules of one layer the first that matches wins;
- the layer of a rule is the richest of its conditions;
- `always_active` rules also count their time as present when nobody touched the keyboard, as in a meeting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

from powdo.worktime.activity import Focus, Slice
from powdo.worktime.manual import TAG, Manual

PATTERNS = ("editor_project", "editor_file", "branch", "url", "title", "app")
_TEXTS_OF_A_FOCUS = Focus._fields[:-1]  # the last is a manual record
_LAYER = {"editor_project": 0, "editor_file": 0, "branch": 0, "url": 1, "title": 2, "app": 3}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: conditions, and what a slice that meets them is booked on."""

    name: str
    editor_project: re.Pattern[str] | None = None
    editor_file: re.Pattern[str] | None = None
    branch: re.Pattern[str] | None = None
    url: re.Pattern[str] | None = None
    title: re.Pattern[str] | None = None
    app: re.Pattern[str] | None = None
    customer: str | None = None
    project: str | None = None
    activity: str | None = None
    tags: tuple[str, ...] = ()
    billable: bool | None = None
    description: str = ""
    valid_from: date | None = None
    valid_to: date | None = None
    always_active: bool = False

    @property
    def conditions(self) -> tuple[tuple[str, re.Pattern[str]], ...]:
        """Return the conditions as (field of a slice, pattern)."""
        pairs = ((name, getattr(self, name)) for name in PATTERNS)
        return tuple((name, pattern) for name, pattern in pairs if pattern is not None)

    @property
    def is_template(self) -> bool:
        """Return whether the description depends on what the rule is met by."""
        return "{" in self.description

    @property
    def layer(self) -> int:
        """Return how rich the richest condition is: 0 editor, 1 URL, 2 title, 3 app, 4 none at all."""
        return min((_LAYER[name] for name, _ in self.conditions), default=4)


# --- matching ------------------------------------------------------------------------------------


class _Possible(dict[str | None, int]):
    """Which of some rules a text of one field leaves possible, as bits; each text is searched once."""

    def __init__(self, field: str, rules: Sequence[Rule]) -> None:
        self._searches = [
            (1 << number, pattern.search)
            for number, rule in enumerate(rules)
            for name, pattern in rule.conditions
            if name == field
        ]
        self._others = (1 << len(rules)) - 1 - sum(bit for bit, _ in self._searches)

    def __bool__(self) -> bool:
        return bool(self._searches)

    def __missing__(self, text: str | None) -> int:
        found = self._others
        if text is not None:
            for bit, search in self._searches:
                if search(text):
                    found += bit
        self[text] = found
        return found


def of_manual(manual: Manual, rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return the rule that *manual* itself is; none while nobody says on which activity it is booked.

    What it leaves open says the first of *rules* that books on the same project, and on the same customer and
    activity where it names them.
    """
    for rule in rules:
        pairs = (
            (manual.project, rule.project),
            (manual.customer, rule.customer),
            (manual.activity, rule.activity),
        )
        if all(wanted is None or (said or "").casefold() == wanted.casefold() for wanted, said in pairs):
            return (
                Rule(
                    name=TAG,
                    customer=manual.customer or rule.customer,
                    project=rule.project,
                    activity=rule.activity,
                    tags=tuple(sorted({*rule.tags, TAG})),
                    billable=rule.billable,
                ),
            )
    if manual.activity is None:
        return ()
    customer, project, activity = manual.customer, manual.project, manual.activity
    return (Rule(name=TAG, customer=customer, project=project, activity=activity, tags=(TAG,)),)


class _Met(dict[Focus, tuple[Rule, ...]]):
    """Those of some rules whose conditions a focus meets, in their order; each focus is looked at once."""

    def __init__(self, rules: Sequence[Rule], all_rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._all = all_rules
        texts = [(place, _Possible(name, rules)) for place, name in enumerate(_TEXTS_OF_A_FOCUS)]
        self._asked = [(place, possible) for place, possible in texts if possible]
        self._sets: dict[int, tuple[Rule, ...]] = {}

    def __missing__(self, focus: Focus) -> tuple[Rule, ...]:
        if focus.manual is not None:
            self[focus] = of_manual(focus.manual, self._all)
            return self[focus]
        left = (1 << len(self._rules)) - 1
        texts: tuple[str | None, ...] = focus[:-1]
        for place, possible in self._asked:
            left &= possible[texts[place]]
        met = self._sets.get(left)
        if met is None:
            met = tuple(rule for number, rule in enumerate(self._rules) if left >> number & 1)
            self._sets[left] = met
        self[focus] = met
        return met


def _current(rule: Rule, begin: int, zone: tzinfo) -> bool:
    day = (_EPOCH + timedelta(microseconds=begin)).astimezone(zone).date()
    return (rule.valid_from or day) <= day <= (rule.valid_to or day)


def _first(
    rules: Sequence[Rule], zone: tzinfo, all_rules: Sequence[Rule] = ()
) -> Callable[[Slice], Rule | None]:
    """Return what gives the first of *rules* that a slice meets; *all_rules* complete manual records."""
    met = _Met(rules, all_rules)

    def find(item: Slice) -> Rule | None:
        for rule in met[item[2]]:
            if (rule.valid_from is None and rule.valid_to is None) or _current(rule, item[0], zone):
                return rule
        return None

    return find


def matcher(rules: Sequence[Rule], zone: tzinfo = UTC) -> Callable[[Slice], Rule | None]:
    """Return what gives the rule that a slice is booked by, or None; dates are those of *zone*."""
    return _first(ordered(rules), zone, rules)


def ordered(rules: Iterable[Rule]) -> list[Rule]:
    """Return those of *rules* that book, in the order in which they are asked."""
    booking = [rule for rule in rules if rule.project is not None]
    return sorted(booking, key=lambda rule: (not rule.always_active, rule.layer))


def presence(rules: Sequence[Rule], zone: tzinfo = UTC) -> Callable[[Slice], bool] | None:
    """Return what tells the slices that count although nobody was seen, or None when no rule asks for it."""
    always = [rule for rule in rules if rule.always_active]
    if not always:
        return None
    find = _first(always, zone)
    return lambda item: find(item) is not None


def fields(rules: Iterable[Rule]) -> frozenset[str]:
    """Return the fields of a focus that *rules* ask for."""
    return frozenset(name for rule in rules for name, _ in rule.conditions)


def describer(rule: Rule) -> Callable[[Focus], str]:
    """Return what describes a focus by the template of *rule*, filled with what its patterns name."""
    if not rule.is_template:
        return lambda _focus: rule.description
    named = [
        (Focus._fields.index(name), pattern.search) for name, pattern in rule.conditions if pattern.groupindex
    ]
    blank = dict.fromkeys((group for _, pattern in rule.conditions for group in pattern.groupindex), "")

    def describe(focus: Focus) -> str:
        found = blank.copy()
        texts: tuple[str | None, ...] = focus[:-1]
        for place, search in named:
            hit = search(texts[place] or "")
            if hit is not None:
                found.update((group, text) for group, text in hit.groupdict().items() if text)
        return " ".join(rule.description.format_map(found).split())

    return describe
