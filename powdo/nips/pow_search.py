"""One search for a nonce, cut into slices: a state machine without I/O, whose driver has miner and clock.

Rules:
- a search begins at random, so that two searches for the same event do not repeat each other;
- the event is dated anew every few seconds while it is mined, unless its date is one on purpose;
- what a miner takes for a hit is hashed again as an event before it is given out.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from powdo.nips.event import Unsigned
from powdo.nips.pow_template import Template, make_template, refreshed

#: The date of an event is at most so many seconds behind when it is mined.
FRESH = 5


class Slice(NamedTuple):
    """What a miner did: *attempts* at nonces, in so many turns from the first; *nonce* is the hit."""

    attempts: int
    turns: int
    nonce: int | None


class Miner(Protocol):
    """Whoever can try nonces; it is stopped and closed from any thread."""

    #: The kernel, and how many attempts it makes at once.
    name: str
    workers: int

    def work(self, template: Template, first: int, seconds: float) -> Slice:
        """Try nonces that begin with *first* and what follows, for *seconds* or until there is a hit."""
        ...

    def stop(self) -> None:
        """End the slice under way at once, and those to come; see `resume`."""
        ...

    def resume(self) -> None:
        """Let slices be worked again."""
        ...

    def close(self) -> None:
        """Stop, and give back what the miner holds."""
        ...


class Search:
    """The search for *target* bits for *event*; *start* is any random number. Raises: BadRecordError."""

    def __init__(self, event: Unsigned, target: int, start: int) -> None:
        self.target = target
        self.attempts = 0
        self.template = make_template(event, target)
        turns = self.template.turns
        self._next = turns.start + start % len(turns)

    def work(self, now: int | None = None) -> tuple[Template, int]:
        """Return what to try next, dated *now* if its date has grown old."""
        if now is not None and not 0 <= now - self.template.event.created_at < FRESH:
            self.template = refreshed(self.template, now)
        return self.template, self._next

    def took(self, done: Slice) -> Unsigned | None:
        """Count a slice of that work; return the mined event when there is one.

        Raises:
            ValueError: the hit is none; that is a fault of the miner.
        """
        turns = self.template.turns
        self.attempts += done.attempts
        self._next = turns.start + (self._next + done.turns - turns.start) % len(turns)
        return None if done.nonce is None else self.template.mined(done.nonce)
