"""Captures as evidence: how far each has come, and what is missing between, before and within them.

Rules:
- a place in a device's chain that nothing fills is a gap, unless its link says *withheld*;
- a reason for what is absent holds somewhere within the period of its capture: no more is known of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

from powdo.worktime.intervals import MINUTE

#: `good` is beyond doubt, `fair` on its way, `open` waits for somebody, `bad` is wrong, `gone` is not there.
Tone = Literal["good", "fair", "open", "bad", "gone"]
#: What is absent for one reason in captures so close to each other is told as one.
_JOINED = 5 * MINUTE


class State(NamedTuple):
    """How far a capture has come: a *word* for people, and how that is to be taken."""

    word: str
    tone: Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One capture; *absent* has (what, reason) as its manifest says."""

    id: str
    device: str
    sequence: int
    begin: int
    end: int
    state: State
    screenshots: int = 0
    bucket_events: int = 0
    absent: tuple[tuple[str, str], ...] = ()


class Missing(NamedTuple):
    """What is not there: a `gap`, what was `withheld`, or *what* is absent for a *reason*."""

    begin: int
    end: int
    what: str
    reason: str
    captures: int = 1


def gaps(pieces: Iterable[Piece]) -> list[Missing]:
    """Return the places in the chains of devices that none of *pieces* fills, sorted by time."""
    chains: dict[str, list[Piece]] = {}
    for piece in pieces:
        chains.setdefault(piece.device, []).append(piece)
    found = [
        Missing(before.end, max(before.end, after.begin), "gap", "never arrived", missing)
        for chain in chains.values()
        for before, after in pairwise(sorted(chain, key=lambda piece: piece.sequence))
        if (missing := after.sequence - before.sequence - 1) > 0
    ]
    return sorted(found)


def withheld(pieces: Iterable[Piece]) -> list[Missing]:
    """Return the periods of those of *pieces* that were destroyed before they were sent."""
    return sorted(
        Missing(piece.begin, piece.end, "withheld", piece.state.word)
        for piece in pieces
        if piece.state.tone == "gone"
    )


def absences(pieces: Iterable[Piece]) -> list[Missing]:
    """Return what is absent in *pieces* and why, neighbours with one reason as one, sorted by time."""
    open_: dict[tuple[str, str, str], Missing] = {}
    done: list[Missing] = []
    for piece in sorted(pieces, key=lambda piece: piece.begin):
        for what, reason in piece.absent:
            key = piece.device, what, reason
            last = open_.get(key)
            if last is not None and piece.begin - last.end <= _JOINED:
                end = max(last.end, piece.end)
                open_[key] = last._replace(end=end, captures=last.captures + 1)
                continue
            if last is not None:
                done.append(last)
            open_[key] = Missing(piece.begin, piece.end, what, reason)
    return sorted([*done, *open_.values()])


def counted(pieces: Iterable[Piece]) -> Mapping[State, int]:
    """Return how many of *pieces* are in each state, the most first."""
    found: dict[State, int] = {}
    for piece in pieces:
        found[piece.state] = found.get(piece.state, 0) + 1
    return dict(sorted(found.items(), key=lambda item: -item[1]))
