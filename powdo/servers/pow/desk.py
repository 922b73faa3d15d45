"""One connection's place at the service: what it asks, and what is sent back to it, in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from functools import partial

from powdo.nips.event import Unsigned
from powdo.nips.pow_session import PowSession
from powdo.servers.pow.service import Service

#: More than this many unanswered requests of one connection are refused at once.
_MOST = 64
#: Answers wait for those before them, refusals too; nobody needs so many, and who asks on fills our memory.
_MOST_HELD = 512


class Desk:
    """Requests of one connection; *send* gets the messages for it."""

    def __init__(self, service: Service, send: Callable[[bytes], None]) -> None:
        self._service = service
        self._session = PowSession(service.rules.terms)
        self._send = send
        self._leaving: dict[int, Callable[[], None]] = {}

    def is_idle(self) -> bool:
        """Return whether nothing waits for an answer."""
        return not self._session.waiting

    def is_full(self) -> bool:
        """Return whether so many answers wait that nothing more can be taken from this client."""
        return self._session.held >= _MOST_HELD

    def ask(self, value: list[object], keys: Collection[str]) -> None:
        """Take in the POW message *value* of who is authenticated as *keys*."""
        if self._session.waiting >= _MOST:
            self._session.notice(f"rate-limited: at most {_MOST} requests at once")
        else:
            self._session.terms = self._service.rules.terms
            request = self._session.ask(value, keys, int(time.time()))
            if request is not None:
                leave = self._service.submit(request, partial(self._told, request.ticket))
                if leave is not None:
                    self._leaving[request.ticket] = leave
        self._flush()

    def notice(self, text: str) -> None:
        """Say *text* when what was asked before is answered."""
        self._session.notice(text)
        self._flush()

    def close(self) -> None:
        """Give up what is not answered."""
        leaving, self._leaving = self._leaving, {}
        for leave in leaving.values():
            leave()

    def _told(self, ticket: int, outcome: Unsigned | str) -> None:
        self._leaving.pop(ticket, None)
        if isinstance(outcome, str):
            self._session.refuse(ticket, outcome)
        else:
            self._session.answer(ticket, outcome)
        self._flush()

    def _flush(self) -> None:
        for message in self._session.outgoing():
            self._send(message)
