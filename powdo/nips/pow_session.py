"""The service's side of proof of work on one connection, as a state machine without I/O.

The driver tells what came in and who is authenticated, and gets requests; it answers or refuses each when it
can, in any order. Rules:
- what goes out keeps the order of what came in, since the draft has no request id: refusals wait their turn;
- nothing is mined for who has not authenticated;
- a target out of range is told with the range that holds for this very event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from powdo.errors import PeerProtocolError
from powdo.nips.event import Unsigned
from powdo.nips.pow_messages import AUTH_REQUIRED, complete, out_of_range, parse_ask
from powdo.nips.pow_template import make_template
from powdo.nips.pow_terms import Terms
from powdo.nips.relay_messages import encode


class Request(NamedTuple):
    """What is to be mined, at whose expense: *payer* is one of the *keys* that are authenticated."""

    ticket: int
    event: Unsigned
    target: int
    blocks: int
    payer: str
    keys: frozenset[str]


@dataclass(slots=True)
class _Ticket:
    number: int
    answer: bytes | None = None


class PowSession:
    """One connection's requests."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self._tickets: deque[_Ticket] = deque()
        self._count = 0

    @property
    def waiting(self) -> int:
        """How many requests have no answer yet."""
        return sum(ticket.answer is None for ticket in self._tickets)

    @property
    def held(self) -> int:
        """How many messages have come in whose answer has not gone out: it may wait behind an earlier one."""
        return len(self._tickets)

    def ask(self, value: list[object], keys: Collection[str], now: int) -> Request | None:
        """Return what the POW message *value* asks for; None where it is refused, as `outgoing` will say."""
        ticket = self._take()
        try:
            return self._request(ticket, value, keys, now)
        except PeerProtocolError as error:
            self.refuse(ticket, error.message)
            return None

    def _request(self, ticket: int, value: list[object], keys: Collection[str], now: int) -> Request:
        if not keys:
            raise PeerProtocolError(AUTH_REQUIRED)
        ask = parse_ask(value)
        event = complete(ask, next(iter(keys)) if len(keys) == 1 else None, now)
        if not self.terms.foreign and event.pubkey not in keys:
            raise PeerProtocolError("restricted: the event is by somebody else than who is authenticated")
        blocks = make_template(event, max(0, min(ask.target, 99))).blocks
        highest = self.terms.highest(blocks)
        if highest < self.terms.min_target:
            raise PeerProtocolError("restricted: the event is too long to be mined here")
        if not self.terms.min_target <= ask.target <= highest:
            raise PeerProtocolError(out_of_range(self.terms.min_target, highest))
        payer = event.pubkey if event.pubkey in keys else min(keys)
        return Request(ticket, event, ask.target, blocks, payer, frozenset(keys))

    def notice(self, text: str) -> None:
        """Say *text* when it is its turn."""
        self.refuse(self._take(), text)

    def answer(self, ticket: int, event: Unsigned) -> None:
        """Answer a request with its mined event."""
        self._settle(ticket, encode("POW", event.to_json()))

    def refuse(self, ticket: int, text: str) -> None:
        """Refuse a request with a NOTICE."""
        self._settle(ticket, encode("NOTICE", text))

    def outgoing(self) -> list[bytes]:
        """Return the messages to send now, each once."""
        messages = []
        while self._tickets and (answer := self._tickets[0].answer) is not None:
            messages.append(answer)
            self._tickets.popleft()
        return messages

    def _take(self) -> int:
        self._count += 1
        self._tickets.append(_Ticket(self._count))
        return self._count

    def _settle(self, number: int, answer: bytes) -> None:
        for ticket in self._tickets:
            if ticket.number == number:
                ticket.answer = answer
