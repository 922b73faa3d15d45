"""Runs of active time that is booked alike, and how short ones go to the work around them.

Rules:
- time booked alike joins across a pause up to the gap, never across a *wall*;
- a run shorter than `short` goes to what stands on both sides, else, if it is booked itself or stands between
  booked work, to the longer booked neighbour; the shortest goes first;
- bookings are numbers, and 0 is none.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from powdo.worktime.activity import Slice
from powdo.worktime.intervals import Interval


class Run(NamedTuple):
    """The time from *begin* to *end*, booked on *booking*; it is made of the slices [first, stop)."""

    begin: int
    end: int
    booking: int
    first: int
    stop: int


class Runs:
    """A chain of runs that shrinks as they join; one that swallows its right neighbour keeps its number.

    Columns of numbers: of five thousand runs a week a few hundred remain, and an object each would cost more
    than all that is done with them.
    """

    def __init__(
        self, slices: Sequence[Slice], bookings: Sequence[int], gap: int, walls: Sequence[Interval]
    ) -> None:
        """Make the runs of sorted *slices* with their *bookings*."""
        self._gap, self._edges = gap, [wall.begin for wall in walls]
        self._begin: list[int] = []
        self._end: list[int] = []
        self._booking: list[int] = []
        self._first: list[int] = []
        self._near: list[bool] = []  # whether neither a long pause nor a wall parts it from the run before
        self._fill(slices, bookings)
        self._near.append(False)
        self._first.append(len(slices))
        self._before = list(range(-1, len(self._begin)))
        self._after = list(range(1, len(self._begin) + 1))

    def _fill(self, slices: Sequence[Slice], bookings: Sequence[int]) -> None:
        last = current = -1
        for at, ((begin, end, _), booking) in enumerate(zip(slices, bookings, strict=True)):
            near = begin == last or self._reach(last, begin)
            if near and booking == current:
                self._end[-1] = end
            else:
                self._begin.append(begin)
                self._end.append(end)
                self._booking.append(booking)
                self._first.append(at)
                self._near.append(near and at > 0)
            last, current = end, booking

    def _reach(self, end: int, begin: int) -> bool:
        """Return whether no long pause and no wall lies between *end* and *begin*."""
        at = bisect_left(self._edges, end)
        return begin - end <= self._gap and (at == len(self._edges) or self._edges[at] >= begin)

    def _length(self, run: int) -> int:
        return self._end[run] - self._begin[run]

    def _host(self, run: int) -> int:
        """Return the neighbour that takes the short *run* in, or -1."""
        left, right = self._before[run], self._after[run]
        beside = self._near[run], self._near[right]
        on_left = self._booking[left] if beside[0] else 0
        on_right = self._booking[right] if beside[1] else 0
        if all(beside) and on_left == on_right:
            return left
        if on_left and on_right:
            return left if self._length(left) >= self._length(right) else right
        if not self._booking[run]:
            return -1
        return left if on_left else right if on_right else -1

    def _swallow(self, run: int, booking: int) -> None:
        """Join *run*, now booked on *booking*, with its right neighbour, which is then of no length."""
        gone = self._after[run]
        after = self._after[run] = self._after[gone]
        self._before[after] = run
        self._end[run], self._booking[run] = self._end[gone], booking
        self._end[gone] = self._begin[gone]

    def _join(self, run: int, host: int) -> int:
        """Return what *run* and the neighbour *host* become, with what follows if that is booked alike."""
        booking = self._booking[host]
        left = min(run, host)
        self._swallow(left, booking)
        after = self._after[left]
        if self._near[after] and self._booking[after] == booking:
            self._swallow(left, booking)
        return left

    def absorb(self, short: int) -> None:
        """Let runs shorter than *short* go to their neighbours, the shortest first, then the earliest."""
        begin, end = self._begin, self._end
        count = len(begin)
        queued = [end[run] - begin[run] < short for run in range(count)]
        # Length and number in one number: compared ten times faster than a pair.
        heap = [(end[run] - begin[run]) * count + run for run in range(count) if queued[run]]
        heapify(heap)
        while heap:
            length, run = divmod(heappop(heap), count)
            if end[run] - begin[run] != length:
                continue  # it has grown since, or is gone
            queued[run] = False
            host = self._host(run)
            if host < 0:
                continue
            joined = self._join(run, host)
            queued[joined] = False
            for near in (self._before[joined], joined, self._after[joined]):
                if 0 <= near < count and not queued[near] and self._length(near) < short:
                    heappush(heap, self._length(near) * count + near)
                    queued[near] = True

    def __iter__(self) -> Iterator[Run]:
        """Yield the runs in the order of time."""
        run, count = 0, len(self._begin)
        while run < count:
            after = self._after[run]
            yield Run(
                self._begin[run], self._end[run], self._booking[run], self._first[run], self._first[after]
            )
            run = after
