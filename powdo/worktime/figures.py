"""The figures of a page about working time: each day's stretches, what they went to, and what was in front.

Rules:
- what is counted is exact; only what is drawn is joined across short breaks, so that a day stays drawable;
- a label is what time is shown under, such as a project; None is time that no rule books.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from powdo.worktime.activity import Focus, Slice
from powdo.worktime.days import Days
from powdo.worktime.intervals import SECOND, Interval

Label = str | None
#: Stretches of one label that are drawn as one.
_JOINED = 30 * SECOND
#: How many windows a day names.
WINDOWS = 15


class Stretch(NamedTuple):
    """Time from *begin* to *end* that is drawn as one."""

    begin: int
    end: int
    label: Label


class Window(NamedTuple):
    """What was in front for *length* microseconds of a day."""

    app: str
    title: str
    label: Label
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day's time: *spent* by label in microseconds, the longest *windows*, what to draw.

    What was *stated* by hand is part of it, under labels of its own.
    """

    day: date
    span: Interval
    stretches: tuple[Stretch, ...]
    spent: Mapping[Label, int]
    windows: tuple[Window, ...]
    stated: int = 0

    @property
    def active(self) -> int:
        """Return the time of the day that was measured."""
        return sum(self.spent.values()) - self.stated


class _Open:
    """A day that slices are still added to."""

    def __init__(self, day: date) -> None:
        self.day = day
        self.stretches: list[Stretch] = []
        self.spent: dict[Label, int] = {}
        self.windows: dict[tuple[str, str, Label], int] = {}
        self.stated = 0

    def add(self, begin: int, end: int, focus: Focus, label: Label) -> None:
        self.spent[label] = self.spent.get(label, 0) + end - begin
        self.stated += end - begin if focus.manual is not None else 0
        window = focus.app, focus.title, label
        self.windows[window] = self.windows.get(window, 0) + end - begin
        last = self.stretches[-1] if self.stretches else None
        if last is not None and last.label == label and begin - last.end <= _JOINED:
            self.stretches[-1] = Stretch(last.begin, end, label)
        else:
            self.stretches.append(Stretch(begin, end, label))

    def closed(self, days: Days) -> Day:
        longest = sorted(self.windows.items(), key=lambda item: (-item[1], item[0][:2]))
        return Day(
            day=self.day,
            span=days.span(self.day),
            stretches=tuple(self.stretches),
            spent=self.spent,
            windows=tuple(Window(*window, length) for window, length in longest[:WINDOWS]),
            stated=self.stated,
        )


def by_day(slices: Iterable[Slice], label: Callable[[Slice], Label], days: Days) -> Iterator[Day]:
    """Yield the days on which sorted *slices* lie, each with what its time went to."""
    current: _Open | None = None
    for item in slices:
        named = label(item)
        for day, begin, end in days.cut(item.begin, item.end):
            if current is None or current.day != day:
                if current is not None:
                    yield current.closed(days)
                current = _Open(day)
            current.add(begin, end, item.focus, named)
    if current is not None:
        yield current.closed(days)


def in_front(slices: Sequence[Slice], times: Iterable[int]) -> list[Focus | None]:
    """Return what was in front at each of *times*, None where nobody was active; *slices* are sorted."""
    begins = [item.begin for item in slices]
    found: list[Focus | None] = []
    for at in times:
        place = bisect_right(begins, at) - 1
        found.append(slices[place].focus if place >= 0 and at < slices[place].end else None)
    return found


def ranked_labels(days: Iterable[Day]) -> list[tuple[Label, int]]:
    """Return the labels of *days* with their time, the longest first and what has none at the end."""
    spent: dict[Label, int] = {}
    for day in days:
        for label, length in day.spent.items():
            spent[label] = spent.get(label, 0) + length
    return sorted(spent.items(), key=lambda item: (item[0] is None, -item[1], item[0] or ""))
