"""On what terms a service mines for others: which targets, for how much, for how long.

Rules:
- a job costs the service 2^target attempts of so many blocks of SHA-256 each, and its price follows that;
- amounts are thousandths of a satoshi (msat), rounded up; people are told whole satoshis, their balance
  rounded down and a fee rounded up;
- the highest target depends on the event: what would take too long on average is not begun.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from powdo.nips.pow_odds import expected

#: Prices are for so many blocks: some ten seconds of one core.
UNIT = 1 << 30
#: A job is given up after so many times what it takes on average; one in 400 needs longer.
PATIENCE = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Targets in bits, prices in msat, times in seconds; *speed* is blocks a second, measured."""

    min_target: int = 8
    max_target: int = 28
    base: int = 1000
    rate: int = 1000
    max_seconds: int = 60
    least_seconds: float = 5.0
    speed: float = 1e8
    #: Whether events by others than who asks are mined: gift wraps are by one-time keys.
    foreign: bool = True

    def fee(self, target: int, blocks: int) -> int:
        """Return the price in msat of *target* bits for an event of which an attempt hashes *blocks*."""
        return self.base + -(-self.rate * blocks * expected(target) // UNIT)

    def seconds(self, target: int, blocks: int) -> float:
        """Return how long that takes on average."""
        return expected(target) * blocks / self.speed

    def highest(self, blocks: int) -> int:
        """Return the highest target for such an event; below *min_target* where it is too long to mine."""
        return min(self.max_target, int(math.log2(max(1.0, self.max_seconds * self.speed / blocks))))

    def limit(self, target: int, blocks: int) -> float:
        """Return the seconds of mining after which a job is given up."""
        return max(self.least_seconds, PATIENCE * self.seconds(target, blocks))


def partial_fee(fee: int, target: int, attempts: int) -> int:
    """Return what is charged of *fee* for *attempts* when who ordered them leaves.

    It is the share of the expected work, never more than all: who quits when unlucky gains nothing by it.
    """
    return min(fee, -(-fee * attempts // expected(target)))


def satoshis(msat: int, *, up: bool = False) -> int:
    """Return whole satoshis, rounded down, or *up*."""
    return -(-msat // 1000) if up else msat // 1000
