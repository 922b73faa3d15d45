"""What is missing among captures."""

from __future__ import annotations

from dataclasses import replace

from powdo.worktime.intervals import MINUTE
from powdo.worktime.pieces import Missing, Piece, State, absences, counted, gaps, withheld

GOOD, GONE = State("checked", "good"), State("withheld", "gone")


def piece(
    number: int, *, device: str = "d", state: State = GOOD, absent: tuple[tuple[str, str], ...] = ()
) -> Piece:
    """Return the capture *number* of a device, ten minutes long."""
    begin = number * 10 * MINUTE
    return Piece(
        id=f"{device}{number}",
        device=device,
        sequence=number,
        begin=begin,
        end=begin + 10 * MINUTE,
        state=state,
        absent=absent,
    )


def test_a_number_that_is_not_there_is_a_gap() -> None:
    """The gap reaches from the end of the capture before it to the begin of the one after it."""
    found = gaps([piece(1), piece(2), piece(5), piece(6)])
    assert found == [Missing(30 * MINUTE, 50 * MINUTE, "gap", "never arrived", 2)]


def test_each_device_has_its_own_chain() -> None:
    """What one device has sent fills no gap of another."""
    found = gaps([piece(1, device="a"), piece(2, device="b"), piece(3, device="a")])
    assert [(gap.captures, gap.begin) for gap in found] == [(1, 20 * MINUTE)]


def test_what_was_withheld_is_no_gap() -> None:
    """A withheld capture has its place in the chain, and its period is told as such."""
    pieces = [piece(1), piece(2, state=GONE), piece(3)]
    assert gaps(pieces) == []
    assert withheld(pieces) == [Missing(20 * MINUTE, 30 * MINUTE, "withheld", "withheld")]


def test_neighbours_with_one_reason_are_told_once() -> None:
    """Two captures in a row without a screenshot for one reason are one absence, a third later another."""
    locked = (("screenshots", "locked"),)
    pieces = [piece(1, absent=locked), piece(2, absent=locked), piece(3), piece(9, absent=locked)]
    assert absences(pieces) == [
        Missing(10 * MINUTE, 30 * MINUTE, "screenshots", "locked", 2),
        Missing(90 * MINUTE, 100 * MINUTE, "screenshots", "locked", 1),
    ]


def test_gaps_do_not_turn_around() -> None:
    """Captures that overlap, as after a clock was set back, leave a gap of no length, not a negative one."""
    late = replace(piece(3), begin=0, end=MINUTE)
    assert [(gap.begin, gap.end) for gap in gaps([piece(1), late])] == [(20 * MINUTE, 20 * MINUTE)]


def test_states_are_counted() -> None:
    """The most frequent state comes first."""
    assert list(counted([piece(1, state=GONE), piece(2), piece(3)]).items()) == [(GOOD, 2), (GONE, 1)]
