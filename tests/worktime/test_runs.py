"""`powdo.worktime.runs`: against the definition, which looks at all runs again after each step."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from powdo.worktime.activity import Focus, Slice
from powdo.worktime.intervals import Interval
from powdo.worktime.runs import Run, Runs

_GAP, _SHORT = 5, 8
_ANY = Focus("a", "t")


@dataclass
class _Plain:
    begin: int
    end: int
    booking: int
    slices: int

    @property
    def length(self) -> int:
        return self.end - self.begin


def _near(one: _Plain, other: _Plain, walls: list[Interval]) -> bool:
    parted = any(one.end <= wall.begin < other.begin for wall in walls)
    return other.begin - one.end <= _GAP and not parted


def _join_alike(runs: list[_Plain], walls: list[Interval], at: int) -> None:
    """Join the run at *at* with the next one, if both are booked alike."""
    if at + 1 < len(runs) and runs[at].booking == runs[at + 1].booking and _near(*runs[at : at + 2], walls):
        gone = runs.pop(at + 1)
        runs[at] = _Plain(runs[at].begin, gone.end, gone.booking, runs[at].slices + gone.slices)


def _host(runs: list[_Plain], walls: list[Interval], at: int) -> _Plain | None:
    left = runs[at - 1] if at and _near(runs[at - 1], runs[at], walls) else None
    right = runs[at + 1] if at + 1 < len(runs) and _near(runs[at], runs[at + 1], walls) else None
    if left and right and left.booking == right.booking:
        return left
    booked = [run for run in (left, right) if run and run.booking]
    if not runs[at].booking and len(booked) < 2:
        return None
    return max(booked, key=lambda run: run.length, default=None)


def _defined(slices: list[Slice], bookings: list[int], walls: list[Interval]) -> list[_Plain]:
    runs: list[_Plain] = []
    for item, booking in zip(slices, bookings, strict=True):
        runs.append(_Plain(item.begin, item.end, booking, 1))
        if len(runs) > 1:
            _join_alike(runs, walls, len(runs) - 2)
    while True:
        short = [at for at, run in enumerate(runs) if run.length < _SHORT and _host(runs, walls, at)]
        if not short:
            return runs
        at = min(short, key=lambda at: (runs[at].length, at))
        host = _host(runs, walls, at)
        assert host is not None
        runs[at].booking = host.booking
        left = at if at + 1 < len(runs) and runs[at + 1] is host else at - 1
        _join_alike(runs, walls, left)
        _join_alike(runs, walls, left)


_pieces = st.lists(
    st.tuples(st.sampled_from([0, 0, 0, 1, 5, 6]), st.integers(1, 20), st.integers(0, 3)), max_size=30
)
_walls = st.lists(st.integers(0, 300).map(lambda at: Interval(at, at + 1)), max_size=2)


@settings(max_examples=500, deadline=None)
@given(_pieces, _walls)
def test_runs_join_as_defined(pieces: list[tuple[int, int, int]], walls: list[Interval]) -> None:
    """Runs are made and absorbed as the plain definition says, and every slice is in one of them."""
    slices: list[Slice] = []
    at = 0
    for pause, length, _ in pieces:
        slices.append(Slice(at + pause, at + pause + length, _ANY))
        at += pause + length
    walls = sorted(
        (wall for wall in walls if not any(s.begin < wall.end and wall.begin < s.end for s in slices)),
        key=lambda wall: wall.begin,
    )
    bookings = [booking for _, _, booking in pieces]
    runs = Runs(slices, bookings, _GAP, walls)
    runs.absorb(_SHORT)
    expected: list[Run] = []
    first = 0
    for run in _defined(slices, bookings, walls):
        expected.append(Run(run.begin, run.end, run.booking, first, first + run.slices))
        first += run.slices
    assert list(runs) == expected
