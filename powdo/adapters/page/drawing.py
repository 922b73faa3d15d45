"""A day as a drawing: places in percent of its width, so that it fits a telephone and a sheet of paper.

Rules:
- all days of a person have the same hours of the wall clock on their axis, so that they can be compared;
- places come from instants, so an hour that a clock change repeats or skips is drawn as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from powdo.adapters.page import words
from powdo.worktime.days import Days
from powdo.worktime.figures import Day, Label
from powdo.worktime.intervals import MINUTE, SECOND
from powdo.worktime.journal import Page
from powdo.worktime.pieces import Missing, Piece

_HOUR = 3600 * SECOND
#: An axis has at least so many hours, so that a short day does not look like a long one.
_SHORTEST = 8
_COLOURS = 8
_NO_LABEL, _OTHER = "cu", "cx"
#: Captures of one state that follow each other so closely are drawn as one.
_JOINED = 2 * MINUTE


class Bar(NamedTuple):
    """A rectangle: where it begins and how wide it is, in percent; its style's name, and what it tells."""

    x: str
    width: str
    style: str
    told: str


class Tick(NamedTuple):
    """A mark on the axis: where, and the hour it stands for, if that is written."""

    x: str
    text: str


def percent(value: float) -> str:
    """Return *value*, a share of one, in percent as SVG takes it."""
    return f"{100 * value:.3f}".rstrip("0").rstrip(".") + "%"


def colours(labels: Iterable[Label]) -> dict[Label, str]:
    """Return the style of each of *labels*, which come by falling time; what comes late shares one."""
    named = [label for label in labels if label is not None]
    styles: dict[Label, str] = {
        label: f"c{place}" if place < _COLOURS else _OTHER for place, label in enumerate(named)
    }
    return styles | {None: _NO_LABEL}


class Axis:
    """The hours that all days of a person show."""

    def __init__(self, days: Days, pages: Sequence[Page], times: Iterable[int]) -> None:
        self._days = days
        hours = [hour for page in pages if page.figures for hour in self._reach(page.figures)]
        hours += [hour for at in times for hour in (self._hour(at), self._hour(at) + 1)]
        first, last = (min(hours), max(hours)) if hours else (9, 9)
        self.first = max(0, min(first, 24 - _SHORTEST))
        self.last = min(24, max(last, self.first + _SHORTEST))

    def _hour(self, at: int) -> int:
        """Return the whole hours by the clock since the day of *at* began."""
        shift = timedelta(seconds=self._days.day_start)
        return (self._days.local(at).replace(tzinfo=None) - shift).hour

    def _reach(self, day: Day) -> Iterator[int]:
        for stretch in day.stretches:
            yield self._hour(stretch.begin)
            yield self._hour(stretch.end - 1) + 1

    def scale(self, page: Page) -> Scale:
        """Return where the instants of *page* lie on the axis."""
        early = self._days._replace(day_start=self._days.day_start + self.first * 3600)
        late = self._days._replace(day_start=self._days.day_start + self.last * 3600)
        return Scale(self._days, early.begin(page.day), late.begin(page.day))


class Scale(NamedTuple):
    """One day's axis, from the instant *begin* to *end*."""

    days: Days
    begin: int
    end: int

    def place(self, at: int) -> float:
        """Return where *at* lies, as a share of one."""
        return min(1.0, max(0.0, (at - self.begin) / (self.end - self.begin)))

    def bar(self, begin: int, end: int, style: str, told: str) -> Bar | None:
        """Return the rectangle of [begin, end), or None when it is off the axis."""
        left, right = self.place(begin), self.place(end)
        if end < self.begin or begin > self.end:
            return None
        return Bar(percent(left), percent(max(right - left, 0.0008)), style, told)

    def ticks(self) -> list[Tick]:
        """Return a mark for each hour, as many of them written as a telephone has room for."""
        count = round((self.end - self.begin) / _HOUR)
        step = 1 if count <= 12 else 2 if count <= 18 else 3
        return [
            Tick(
                percent(self.place(self.begin + hour * _HOUR)),
                f"{self.days.local(self.begin + hour * _HOUR):%H}" if hour % step == 0 else "",
            )
            for hour in range(count + 1)
        ]

    def clocks(self, begin: int, end: int) -> str:
        """Return from when to when, by the clock."""
        return f"{words.clock(self.days, begin)}–{words.clock(self.days, end)}"


class Drawing(NamedTuple):
    """One day: active time, captures, what is missing, screenshots, and the hours."""

    active: list[Bar]
    captures: list[Bar]
    missing: list[Bar]
    shots: list[str]
    ticks: list[Tick]


def draw(
    page: Page, axis: Axis, styles: Mapping[Label, str], names: Mapping[Label, str], shots: Iterable[int]
) -> Drawing:
    """Return the drawing of *page*, with the instants of its *shots*."""
    scale = axis.scale(page)
    stretches = page.figures.stretches if page.figures else ()
    active = [
        scale.bar(
            begin,
            end,
            styles[label],
            f"{scale.clocks(begin, end)} {names[label]}, {words.length(end - begin)}",
        )
        for begin, end, label in stretches
    ]
    missing = [
        scale.bar(
            item.begin, item.end, f"m-{item.what}", f"{scale.clocks(item.begin, item.end)} {item.reason}"
        )
        for item in page.missing
        if item.what in _DRAWN
    ]
    return Drawing(
        active=[bar for bar in active if bar],
        captures=list(_captures(page.pieces, scale)),
        missing=[bar for bar in missing if bar],
        shots=[percent(scale.place(at)) for at in shots],
        ticks=scale.ticks(),
    )


#: What is missing for a known time; reasons hold somewhere within a capture and are told in words only.
_DRAWN = frozenset({"gap", "withheld", "paused"})


def _captures(pieces: Sequence[Piece], scale: Scale) -> Iterator[Bar]:
    """Yield the periods of captures that are there, neighbours of one state as one."""
    runs: list[tuple[int, int, Piece, int]] = []
    for piece in sorted(pieces, key=lambda piece: piece.begin):
        if piece.state.tone == "gone":
            continue
        if runs and runs[-1][2].state == piece.state and piece.begin - runs[-1][1] <= _JOINED:
            begin, end, first, number = runs.pop()
            runs.append((begin, max(end, piece.end), first, number + 1))
        else:
            runs.append((piece.begin, piece.end, piece, 1))
    for begin, end, piece, number in runs:
        told = f"{scale.clocks(begin, end)} {words.count(number, 'capture')}: {piece.state.word}"
        bar = scale.bar(begin, end, f"t-{piece.state.tone}", told)
        if bar is not None:
            yield bar


def stacked(day: Day | None, labels: Sequence[Label], styles: Mapping[Label, str], longest: int) -> list[Bar]:
    """Return one bar of the time of *day* by label, on a scale on which the *longest* day is all of it."""
    bars: list[Bar] = []
    at = 0
    for label in labels if day is not None and longest else ():
        spent = day.spent.get(label, 0) if day else 0
        if spent:
            bars.append(Bar(percent(at / longest), percent(spent / longest), styles[label], ""))
            at += spent
    return bars


def told_missing(item: Missing) -> str:
    """Return in words what is missing."""
    if item.what == "gap":
        number = words.count(item.captures, "capture")
        return f"{number} never arrived: lost, or kept back, somewhere in this time"
    if item.what == "withheld":
        return "withheld: the worker destroyed this capture before it was sent"
    if item.what == "refused":
        return f"refused when it came: {words.short(item.reason)}"
    if item.what == "paused":
        return "paused by the worker: nothing was recorded"
    return words.reason(item.what, item.reason)
