"""Slices of active time become the blocks a timesheet is made of, in whole minutes.

Rules:
- stretches booked alike join across a pause up to the merge gap;
- a stretch shorter than `absorb` goes to the work around it: to what stands on both sides, else, if it is
  booked itself or stands between booked work, to the longer booked neighbour;
- a block shorter than the minimum is none;
- borders go to the nearest whole minute (or `rounding`), which keeps their order, so blocks never overlap;
- nothing bridges or enters a *wall*: time that a person has settled by hand;
- every active second is in a block or among the leftovers, once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from powdo.worktime.activity import Slice
from powdo.worktime.intervals import MINUTE, Interval, subtract, union
from powdo.worktime.rules import Rule, describe

ALGORITHM = "powdo-1"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """Active time in no block, the window that had most of it, and why: `no rule` or `too short`."""

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


@dataclass(slots=True, eq=False)
class _Run:
    begin: int
    end: int
    booking: _Booking | None
    pieces: list[tuple[Slice, Rule | None]]
    before: _Run | None = field(default=None, repr=False)
    after: _Run | None = field(default=None, repr=False)
    gone: bool = False

    @property
    def length(self) -> int:
        return self.end - self.begin


def _booking(rule: Rule | None) -> _Booking | None:
    if rule is None or rule.project is None or rule.activity is None:
        return None
    return (rule.customer, rule.project, rule.activity, rule.tags, rule.billable)


def _outside(slices: Iterable[Slice], walls: Sequence[Interval]) -> Iterable[Slice]:
    """Yield the parts of sorted *slices* that no sorted wall covers."""
    first = 0
    for item in slices:
        while first < len(walls) and walls[first].end <= item.begin:
            first += 1
        if first == len(walls) or walls[first].begin >= item.end:
            yield item
            continue
        for part in subtract([Interval(item.begin, item.end)], walls[first:]):
            yield item._replace(begin=part.begin, end=part.end)


class _Runs:
    """A chain of runs that shrinks as runs join."""

    def __init__(self, limits: Limits, walls: Sequence[Interval]) -> None:
        self.limits = limits
        self.edges = [wall.begin for wall in walls]
        self.first: _Run | None = None
        self.last: _Run | None = None

    def _reach(self, end: int, begin: int) -> bool:
        """Return whether no long pause and no wall lies between *end* and *begin*."""
        if begin == end:
            return True
        at = bisect_left(self.edges, end)
        return begin - end <= self.limits.merge_gap and (at == len(self.edges) or self.edges[at] >= begin)

    def near(self, one: _Run | None, other: _Run | None) -> bool:
        """Return whether two neighbours are both there and within reach."""
        return one is not None and other is not None and self._reach(one.end, other.begin)

    def add(self, item: Slice, rule: Rule | None, booking: _Booking | None) -> None:
        """Put *item* at the end of the chain."""
        last = self.last
        if last is not None and last.booking == booking and self._reach(last.end, item.begin):
            last.end = item.end
            last.pieces.append((item, rule))
            return
        run = _Run(item.begin, item.end, booking, [(item, rule)], before=last)
        if last is None:
            self.first = run
        else:
            last.after = run
        self.last = run

    def join(self, one: _Run, other: _Run, booking: _Booking | None) -> _Run:
        """Return *one* with its right neighbour *other* in it."""
        one.end, one.booking = other.end, booking
        small, large = sorted((one.pieces, other.pieces), key=len)
        large += small  # their order means nothing, and copying the larger one would cost a square
        one.pieces = large
        one.after, other.gone = other.after, True
        if one.after is None:
            self.last = one
        else:
            one.after.before = one
        return one

    def host(self, run: _Run) -> _Run | None:
        """Return the neighbour that takes the short *run* in, or None."""
        left = run.before if self.near(run.before, run) else None
        right = run.after if self.near(run, run.after) else None
        if left and right and left.booking == right.booking:
            return left
        booked = [side for side in (left, right) if side and side.booking is not None]
        if run.booking is None and len(booked) < 2:
            return None
        return max(booked, key=lambda side: side.length, default=None)

    def absorb(self) -> None:
        """Let short runs go to their neighbours, the shortest first."""
        short = self.limits.absorb
        heap = [(run.length, run.begin, run) for run in self if run.length < short]
        heapify(heap)
        while heap:
            length, _, run = heappop(heap)
            host = None if run.gone or run.length != length else self.host(run)
            if host is None:
                continue
            booking = host.booking
            merged = self.join(run, host, booking) if host is run.after else self.join(host, run, booking)
            after = merged.after
            if after is not None and after.booking == booking and self.near(merged, after):
                self.join(merged, after, booking)
            for near in (merged.before, merged, merged.after):
                if near is not None and near.length < short:
                    heappush(heap, (near.length, near.begin, near))

    def __iter__(self) -> Iterator[_Run]:
        run = self.first
        while run is not None:
            yield run
            run = run.after


def _most(weights: Counter[str]) -> list[str]:
    """Return the keys of *weights* by falling weight, then by name."""
    return [name for name, _ in sorted(weights.items(), key=lambda item: (-item[1], item[0])) if name]


def _block(run: _Run, booking: _Booking, begin: int, end: int) -> Block:
    texts: Counter[str] = Counter()
    names: Counter[str] = Counter()
    ours: dict[int, bool] = {}
    for item, rule in run.pieces:
        mine = ours.get(id(rule))
        if mine is None:
            mine = ours[id(rule)] = _booking(rule) == booking
        if mine and rule is not None:
            names[rule.name] += item.end - item.begin
            texts[describe(rule, item)] += item.end - item.begin
    customer, project, activity, tags, billable = booking
    description = ""
    for text in _most(texts):
        longer = f"{description}, {text}" if description else text
        if len(longer) > _LONGEST_DESCRIPTION and description:
            break
        description = longer
    return Block(
        begin=begin,
        end=end,
        active=sum(item.end - item.begin for item, _ in run.pieces),
        customer=customer,
        project=project,
        activity=activity,
        tags=tags,
        billable=billable,
        description=description,
        source=", ".join(_most(names)),
    )


def _leftover(run: _Run) -> Leftover:
    weights: dict[tuple[str, str], int] = {}
    for item, _ in run.pieces:
        weights[item.app, item.title] = weights.get((item.app, item.title), 0) + item.end - item.begin
    app, title = max(sorted(weights), key=lambda window: weights[window])
    reason = "no rule" if run.booking is None else "too short"
    return Leftover(
        begin=run.begin, end=run.end, active=sum(weights.values()), app=app, title=title, reason=reason
    )


def build(
    slices: Iterable[Slice],
    find: Callable[[Slice], Rule | None],
    limits: Limits | None = None,
    walls: Iterable[Interval] = (),
) -> Sheet:
    """Return the blocks of sorted *slices*, booked by what *find* says, and what is left over."""
    limits = limits or Limits()
    barriers = union(walls)
    runs = _Runs(limits, barriers)
    bookings: dict[int, _Booking | None] = {}
    for item in _outside(slices, barriers) if barriers else slices:
        rule = find(item)
        if id(rule) not in bookings:
            bookings[id(rule)] = _booking(rule)
        runs.add(item, rule, bookings[id(rule)])
    runs.absorb()
    blocks: list[Block] = []
    leftovers: list[Leftover] = []
    step = limits.rounding
    for run in runs:
        begin, end = ((edge + step // 2) // step * step for edge in (run.begin, run.end))
        if run.booking is None or run.length < limits.minimum or begin >= end:
            leftovers.append(_leftover(run))
        else:
            blocks.append(_block(run, run.booking, begin, end))
    return Sheet(tuple(blocks), tuple(leftovers))
