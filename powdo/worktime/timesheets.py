"""Slices of active time become the blocks a timesheet is made of, in whole minutes.

Rules:
- stretches booked alike join across a pause up to the merge gap;
- a stretch shorter than `absorb` goes to the work around it: to what stands on both sides, else, if it is
  booked itself or stands between booked work, to the longer booked neighbour;
- a block shorter than the minimum is none;
- borders go to the nearest whole minute (or `rounding`), which keeps their order, so blocks never overlap;
- nothing bridges or enters a *wall*: time that a person has settled by hand;
- a manual record is a block of its own, as it was stated, and a wall for what was measured;
- every active second is in a block or among the leftovers, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from powdo.worktime.activity import Focus, Slice
from powdo.worktime.intervals import MINUTE, Interval, subtract, union
from powdo.worktime.manual import marked
from powdo.worktime.rules import Rule, describer
from powdo.worktime.runs import Run, Runs

ALGORITHM = "powdo-2"
_LONGEST_DESCRIPTION = 500

_Booking = tuple[str | None, str, str, tuple[str, ...], bool | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How stretches become blocks; all in microseconds."""

    merge_gap: int = 5 * MINUTE
    minimum: int = MINUTE
    absorb: int = MINUTE
    rounding: int = MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One timesheet's worth of work: from *begin* to *end*, *active* of it in front of the screen."""

    begin: int
    end: int
    active: int
    customer: str | None
    project: str
    activity: str
    tags: tuple[str, ...]
    billable: bool | None
    description: str
    source: str
    manual: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """Active time in no block, the window that had most of it, and why.

    *reason* is `no rule`, `too short`, or of a manual record `no activity`.
    """

    begin: int
    end: int
    active: int
    app: str
    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """All blocks and all leftovers of a stretch of time, each sorted."""

    blocks: tuple[Block, ...]
    leftovers: tuple[Leftover, ...]


class _Booked(NamedTuple):
    """What a slice is booked on: the number of the booking (0 is none), the rule's name, its description."""

    booking: int
    name: str = ""
    description: str = ""


def _booking(rule: Rule) -> _Booking | None:
    if rule.project is None or rule.activity is None:
        return None
    return (rule.customer, rule.project, rule.activity, rule.tags, rule.billable)


def _book(
    slices: Iterable[Slice], find: Callable[[Slice], Rule | None]
) -> tuple[list[_Booked], list[_Booking | None]]:
    """Return what each of *slices* is booked on by what *find* says, and the bookings by number."""
    numbers: dict[_Booking | None, int] = {None: 0}
    plain: dict[int, _Booked] = {id(None): _Booked(0)}
    templates: dict[int, tuple[int, Callable[[Focus], str]]] = {}
    result: list[_Booked] = []
    for item in slices:
        rule = find(item)
        booked = plain.get(id(rule))
        if booked is None:
            assert rule is not None
            if id(rule) not in templates:
                number = numbers.setdefault(_booking(rule), len(numbers))
                templates[id(rule)] = number, describer(rule)
            number, describe = templates[id(rule)]
            booked = _Booked(number, rule.name, describe(item.focus))
            if not rule.is_template:
                plain[id(rule)] = booked
        result.append(booked)
    return result, list(numbers)


def _outside(slices: Iterable[Slice], walls: Sequence[Interval]) -> Iterator[Slice]:
    """Yield the parts of sorted *slices* that no sorted wall covers."""
    first = 0
    for item in slices:
        while first < len(walls) and walls[first].end <= item.begin:
            first += 1
        if first == len(walls) or walls[first].begin >= item.end:
            yield item
            continue
        for part in subtract([Interval(item.begin, item.end)], walls[first:]):
            yield Slice(part.begin, part.end, item.focus)


def _most(weights: Mapping[str, int]) -> list[str]:
    """Return the keys of *weights* by falling weight, then by name."""
    return [name for name, _ in sorted(weights.items(), key=lambda item: (-item[1], item[0])) if name]


def _text(weights: Mapping[str, int]) -> str:
    """Return the descriptions in *weights* in one text, as many as it has room for."""
    result = ""
    for text in _most(weights):
        longer = f"{result}, {text}" if result else text
        if len(longer) > _LONGEST_DESCRIPTION and result:
            break
        result = longer
    return result


def _block(
    begin: int, end: int, number: int, booking: _Booking, pieces: Iterable[tuple[Slice, _Booked]]
) -> Block:
    weights: dict[_Booked, int] = {}
    for (start, stop, _), booked in pieces:
        weights[booked] = weights.get(booked, 0) + stop - start
    names: Counter[str] = Counter()
    texts: Counter[str] = Counter()
    for booked, weight in weights.items():
        if booked.booking == number:
            names[booked.name] += weight
            texts[booked.description] += weight
    customer, project, activity, tags, billable = booking
    return Block(
        begin=begin,
        end=end,
        active=sum(weights.values()),
        customer=customer,
        project=project,
        activity=activity,
        tags=tags,
        billable=billable,
        description=_text(texts),
        source=", ".join(_most(names)),
    )


def _leftover(run: Run, slices: Iterable[Slice]) -> Leftover:
    weights: dict[tuple[str, str], int] = {}
    for begin, end, focus in slices:
        window = focus.app, focus.title
        weights[window] = weights.get(window, 0) + end - begin
    app, title = max(sorted(weights), key=lambda window: weights[window])
    reason = "too short" if run.booking else "no rule"
    return Leftover(
        begin=run.begin, end=run.end, active=sum(weights.values()), app=app, title=title, reason=reason
    )


def _stated(
    slices: Iterable[Slice], find: Callable[[Slice], Rule | None], step: int
) -> Iterator[Block | Leftover]:
    """Yield manual *slices* as blocks, each as it was stated, or what nobody can book yet."""
    for item in slices:
        begin, end, focus = item
        rule = find(item)
        first, last = ((edge + step // 2) // step * step for edge in (begin, end))
        if rule is None or rule.project is None or rule.activity is None or first >= last:
            reason = "no activity" if first < last else "too short"
            app, title = focus.app, focus.title
            yield Leftover(begin=begin, end=end, active=end - begin, app=app, title=title, reason=reason)
            continue
        yield Block(
            begin=first,
            end=last,
            active=end - begin,
            customer=rule.customer,
            project=rule.project,
            activity=rule.activity,
            tags=rule.tags,
            billable=rule.billable,
            description=marked(focus.title[:_LONGEST_DESCRIPTION]),
            source=rule.name,
            manual=True,
        )


def build(
    slices: Iterable[Slice],
    find: Callable[[Slice], Rule | None],
    limits: Limits | None = None,
    walls: Iterable[Interval] = (),
) -> Sheet:
    """Return the blocks of sorted *slices*, booked by what *find* says, and what is left over."""
    items, limits, barriers = list(slices), limits or Limits(), union(walls)
    stated = [item for item in items if item[2][-1] is not None]
    if not stated:
        return _measured(items, find, limits, barriers)
    found = list(_stated(_outside(stated, barriers), find, limits.rounding))
    covered = [Interval(begin, end) for begin, end, _ in stated]
    rest = [item for item in items if item.focus.manual is None]
    sheet = _measured(rest, find, limits, union([*barriers, *covered]))
    blocks = [*sheet.blocks, *(item for item in found if isinstance(item, Block))]
    leftovers = [*sheet.leftovers, *(item for item in found if isinstance(item, Leftover))]
    return Sheet(
        tuple(sorted(blocks, key=lambda block: block.begin)),
        tuple(sorted(leftovers, key=lambda item: item.begin)),
    )


def _measured(
    slices: Iterable[Slice],
    find: Callable[[Slice], Rule | None],
    limits: Limits,
    barriers: list[Interval],
) -> Sheet:
    items = list(_outside(slices, barriers) if barriers else slices)
    booked, bookings = _book(items, find)
    runs = Runs(items, [item.booking for item in booked], limits.merge_gap, barriers)
    runs.absorb(limits.absorb)
    blocks: list[Block] = []
    leftovers: list[Leftover] = []
    step = limits.rounding
    for run in runs:
        begin, end = ((edge + step // 2) // step * step for edge in (run.begin, run.end))
        booking = bookings[run.booking]
        pieces = slice(run.first, run.stop)
        if booking is None or run.end - run.begin < limits.minimum or begin >= end:
            leftovers.append(_leftover(run, items[pieces]))
        else:
            told = zip(items[pieces], booked[pieces], strict=True)
            blocks.append(_block(begin, end, run.booking, booking, told))
    return Sheet(tuple(blocks), tuple(leftovers))
