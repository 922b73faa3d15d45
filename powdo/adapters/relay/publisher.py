"""Sends signed events to one relay and waits for its answer.

The connection is opened at the first event, kept between events, and opened anew when it has gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from powdo.adapters.relay.errors import FAILURES, babble, refusal, unreachable
from powdo.adapters.relay.options import connect_options
from powdo.errors import PeerProtocolError
from powdo.nips.event import Event
from powdo.nips.relay_happenings import Answered, Challenged, Happening, Noticed
from powdo.nips.relay_session import RelaySession

#: Returns the signed answer to a challenge of the relay at this address (NIP-42).
AuthSigner = Callable[[str, str], Event]


class RelayClient:
    """One relay; without *sign_auth* it never learns who publishes."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        sign_auth: AuthSigner | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        self.url = url
        self._timeout = timeout
        self._sign_auth = sign_auth
        self._notice = notice
        self._connection: ClientConnection | None = None
        self._resources = ExitStack()
        self._session = RelaySession()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, if there is one."""
        self._connection = None
        self._resources.close()

    def publish(self, event: Event) -> str:
        """Return what the relay says when it has taken *event*; a `duplicate:` counts as taken.

        Raises: RetryLaterError, RefusedError, PeerProtocolError, ConfigurationError.
        """
        reused = self._connection is not None
        try:
            try:
                return self._exchange(event)
            except ConnectionClosed:
                if not reused:
                    raise
                self.close()  # it was closed while we had nothing to say
                return self._exchange(event)
        except FAILURES as error:
            self.close()
            raise unreachable(self.url, error) from None
        except PeerProtocolError as error:
            self.close()
            raise babble(self.url, error) from None

    def _open(self) -> ClientConnection:
        if self._connection is None:
            self._session = RelaySession()
            self._connection = self._resources.enter_context(
                connect(self.url, **connect_options(self.url, self._timeout))
            )
        return self._connection

    def _exchange(self, event: Event) -> str:
        deadline = time.monotonic() + self._timeout
        connection = self._open()
        self._session.publish(event)
        try:
            while True:
                for message in self._session.outgoing():
                    connection.send(message)
                answer = self._next_answer(connection, event.id, deadline)
                if answer is not None:
                    break
        finally:
            self._session.forget(event.id)
        for message in self._session.outgoing():
            connection.send(message)
        if not answer.accepted:
            raise refusal(self.url, answer.message)
        return answer.message

    def _next_answer(self, connection: ClientConnection, event_id: str, deadline: float) -> Answered | None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        happenings = list(self._session.receive(connection.recv(timeout=left)))
        answer = None
        while happenings:
            happening = happenings.pop(0)
            if isinstance(happening, Challenged):
                happenings += self._challenged(happening.challenge)
            elif isinstance(happening, Answered) and happening.id == event_id:
                answer = happening
            elif isinstance(happening, Noticed) and self._notice is not None:
                self._notice(happening.message)
        return answer

    def _challenged(self, challenge: str) -> list[Happening]:
        if self._sign_auth is None:
            return self._session.decline("this relay is not told who publishes")
        self._session.authenticate(self._sign_auth(challenge, self.url))
        return []
