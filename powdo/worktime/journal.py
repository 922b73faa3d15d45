"""A worker's period day by day: figures, blocks, evidence, what is missing, and when screenshots were taken.

A day is in it when anything of it is known. What is missing across a night belongs to both days.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import TypeVar

from powdo.worktime.days import Days
from powdo.worktime.figures import Day
from powdo.worktime.intervals import Interval
from powdo.worktime.pieces import Missing, Piece
from powdo.worktime.timesheets import Block, Leftover

_T = TypeVar("_T")


@dataclass(slots=True, kw_only=True)
class Page:
    """One day of the journal; *shots* are the places of its screenshots in the order they were given."""

    day: date
    span: Interval
    figures: Day | None = None
    blocks: list[Block] = field(default_factory=list)
    leftovers: list[Leftover] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    shots: list[int] = field(default_factory=list)

    @property
    def active(self) -> int:
        """Return the time of the day that was measured."""
        return self.figures.active if self.figures else 0

    @property
    def stated(self) -> int:
        """Return the time of the day that was stated by hand."""
        return self.figures.stated if self.figures else 0

    @property
    def booked(self) -> int:
        """Return the time of the day's blocks."""
        return sum(block.end - block.begin for block in self.blocks)


class Journal:
    """The days of one worker, filled bit by bit."""

    def __init__(self, days: Days) -> None:
        self.days = days
        self._pages: dict[date, Page] = {}

    def _page(self, day: date) -> Page:
        if day not in self._pages:
            self._pages[day] = Page(day=day, span=self.days.span(day))
        return self._pages[day]

    def add_figures(self, figures: Iterable[Day]) -> None:
        """Add what `by_day` gives; each day once."""
        for day in figures:
            self._page(day.day).figures = day

    def add_sheet(self, blocks: Iterable[Block], leftovers: Iterable[Leftover]) -> None:
        """Add blocks and leftovers to the days on which they begin."""
        self._each(blocks, lambda block: block.begin, lambda page: page.blocks)
        self._each(leftovers, lambda leftover: leftover.begin, lambda page: page.leftovers)

    def add_pieces(self, pieces: Iterable[Piece]) -> None:
        """Add captures to the days on which they end: the first of a day may begin long before it."""
        self._each(pieces, lambda piece: max(piece.begin, piece.end - 1), lambda page: page.pieces)

    def add_shots(self, times: Iterable[int]) -> None:
        """Add screenshots by when they were taken."""
        for place, at in enumerate(times):
            self._page(self.days.day(at)).shots.append(place)

    def add_missing(self, missing: Iterable[Missing]) -> None:
        """Add what is missing to the days on which it begins and ends, cut at their borders."""
        for item in missing:
            parts = list(self.days.cut(item.begin, max(item.end, item.begin + 1)))
            for day, begin, end in (parts[0], *parts[1:][-1:]):
                self._page(day).missing.append(item._replace(begin=begin, end=end))

    def _each(self, items: Iterable[_T], at: Callable[[_T], int], place: Callable[[Page], list[_T]]) -> None:
        for item in items:
            place(self._page(self.days.day(at(item)))).append(item)

    def pages(self) -> list[Page]:
        """Return the days in their order."""
        return [self._pages[day] for day in sorted(self._pages)]
