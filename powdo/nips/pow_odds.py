"""What proof of work takes: expected attempts, and how likely so many are enough. All of it is memoryless."""

from __future__ import annotations

import math


def expected(target: int) -> int:
    """Return the attempts that *target* bits take on average, however many have failed already."""
    return 1 << target


def likelihood(attempts: float, target: int) -> float:
    """Return how likely *attempts* find *target* bits, from 0 to 1."""
    return -math.expm1(-attempts / expected(target))


def affordable(rate: float, seconds: float) -> float:
    """Return the bits that take *seconds* on average at *rate* attempts a second."""
    return math.log2(rate * seconds) if rate * seconds >= 1 else 0.0
