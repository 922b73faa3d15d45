"""How one operator turns a worker's buckets into blocks: the rules, the limits and the time zone together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from functools import partial
from typing import Protocol

from powdo.worktime.activity import Bucket, Slice, active, kinds_needed
from powdo.worktime.days import Days
from powdo.worktime.flood import Needed
from powdo.worktime.intervals import DAY, MINUTE, SECOND, Interval, union
from powdo.worktime.manual import marked
from powdo.worktime.rules import Rule, fields, matcher, presence
from powdo.worktime.timesheets import Limits, Sheet, build

#: What is loaded around a window, so that a stretch of work across its edge is seen whole.
MARGIN = DAY
_CHUNK = 7 * DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """The operator's rules and limits, and the zone in which dates and days are meant."""

    rules: tuple[Rule, ...]
    limits: Limits
    zone: tzinfo
    day_start: int = 0

    def needed(self, *, booked: bool = True) -> Needed:
        """Return what names the kinds of buckets that `slices` needs; where nothing is *booked*, fewer."""
        rules = self.rules if booked else [rule for rule in self.rules if rule.always_active]
        return partial(kinds_needed, asked=fields(rules))

    def slices(self, buckets: Sequence[Bucket]) -> list[Slice]:
        """Return the active time in *buckets*, with what the rules count as present."""
        return active(buckets, presence(self.rules, self.zone))

    def labels(self) -> Callable[[Slice], str | None]:
        """Return what names the customer and project that a slice is booked on, or gives None.

        What was stated by hand is marked, and never None.
        """
        find = matcher(self.rules, self.zone)

        def label(item: Slice) -> str | None:
            rule, manual = find(item), item.focus.manual
            booked = rule or manual
            name = None if booked is None else " / ".join(filter(None, (booked.customer, booked.project)))
            return name if manual is None else marked(name or "")

        return label

    def sheet(self, slices: Iterable[Slice], walls: Iterable[Interval] = ()) -> Sheet:
        """Return the blocks of *slices* that stay clear of *walls*."""
        return build(slices, matcher(self.rules, self.zone), self.limits, walls)

    def days(self, spans: Iterable[Interval]) -> list[Interval]:
        """Return the whole days that *spans*, widened by the merge gap, touch, in pieces of about a week."""
        gap, days = self.limits.merge_gap, Days(self.zone, self.day_start)
        whole = [
            Interval(days.span(days.day(span.begin - gap)).begin, days.span(days.day(span.end + gap)).end)
            for span in spans
        ]
        return [piece for item in union(whole) for piece in chunks(item)]


class Lengths(Protocol):
    """What `[timesheets]` says, in seconds."""

    @property
    def merge_gap(self) -> int:
        """The longest pause within a block."""

    @property
    def minimum(self) -> int:
        """The shortest block."""

    @property
    def absorb(self) -> int:
        """What is shorter goes to the work around it."""

    @property
    def rounding(self) -> int:
        """What borders are multiples of."""


def limits(lengths: Lengths) -> Limits:
    """Return *lengths* in microseconds; borders are whole minutes at least."""
    return Limits(
        merge_gap=lengths.merge_gap * SECOND,
        minimum=lengths.minimum * SECOND,
        absorb=lengths.absorb * SECOND,
        rounding=max(1, -(-lengths.rounding // 60)) * MINUTE,
    )


def chunks(window: Interval) -> Iterable[Interval]:
    """Yield *window* in pieces of a week, so that a year needs the memory of a week."""
    for begin in range(window.begin, window.end, _CHUNK):
        yield Interval(begin, min(begin + _CHUNK, window.end))
