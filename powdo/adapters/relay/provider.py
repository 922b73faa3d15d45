"""Buys proof of work from a service (draft NIP-XX): sends events, waits, and believes what it has checked.

A connection that goes away while the service mines is made anew and the same asked again: a service keeps
what it has found for a while, and takes the same request for one. It is kept between events.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from powdo.adapters.relay.errors import FAILURES, babble, nonsense, refusal, unreachable
from powdo.adapters.relay.options import connect_options
from powdo.adapters.relay.publisher import AuthSigner
from powdo.errors import PeerProtocolError, PowdoError, RefusedError, RetryLaterError
from powdo.nips.event import Unsigned
from powdo.nips.pow_client import Challenged, CheatError, Happening, Mined, PowClientSession, Refused
from powdo.nips.pow_messages import parse_range

_SLICE = 0.1
_ATTEMPTS = 3


class Provider:
    """The service at *url*, to which *sign_auth* tells who asks; *patience* is seconds for one event."""

    def __init__(
        self,
        url: str,
        sign_auth: AuthSigner,
        *,
        timeout: float = 30.0,
        patience: float = 600.0,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        self.url = url
        self._sign_auth = sign_auth
        self._timeout = timeout
        self._patience = patience
        self._notice = notice
        self._connection: ClientConnection | None = None
        self._resources = ExitStack()
        self._session = PowClientSession()

    def close(self) -> None:
        """End the connection, if there is one; the service then ends what it mines for us."""
        self._connection = None
        self._resources.close()

    def mine(self, event: Unsigned, target: int, interrupted: Callable[[], bool] | None = None) -> Unsigned:
        """Return *event* with *target* bits of proof, checked.

        Raises: RefusedError, RetryLaterError, PeerProtocolError when the service cheats, ConfigurationError.
        """
        deadline = time.monotonic() + self._patience
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._exchange(event, target, deadline, interrupted)
            except ConnectionClosed as error:
                self.close()
                if attempt == _ATTEMPTS or time.monotonic() > deadline:
                    raise unreachable(self.url, error) from None
            except FAILURES as error:
                self.close()
                raise unreachable(self.url, error) from None
            except CheatError as error:
                self.close()
                raise nonsense(self.url, error) from None
            except PeerProtocolError as error:
                self.close()
                raise babble(self.url, error) from None
            except PowdoError:
                self.close()  # what we no longer wait for must not be taken for the next answer
                raise
        raise AssertionError("unreachable")

    def _open(self) -> ClientConnection:
        if self._connection is None:
            self._session = PowClientSession()
            self._connection = self._resources.enter_context(
                connect(self.url, **connect_options(self.url, self._timeout))
            )
        return self._connection

    def _exchange(
        self, event: Unsigned, target: int, deadline: float, interrupted: Callable[[], bool] | None
    ) -> Unsigned:
        connection = self._open()
        self._session.request(event, target)
        greeting = time.monotonic() + self._timeout
        while True:
            for message in self._session.outgoing():
                connection.send(message)
            now = time.monotonic()
            if now > deadline or (now > greeting and not self._session.has_asked):
                raise RetryLaterError(
                    f"'{self.url}' has not answered in time", hint="ask for fewer bits, or raise --timeout"
                )
            if interrupted is not None and interrupted():
                raise RetryLaterError("interrupted while a service mined")
            try:
                data = connection.recv(timeout=_SLICE)
            except TimeoutError:
                continue
            for happening in self._session.receive(data, int(time.time())):
                if (mined := self._on(happening)) is not None:
                    return mined

    def _on(self, happening: Happening) -> Unsigned | None:
        match happening:
            case Mined(event=event):
                return event
            case Challenged(challenge=challenge):
                self._session.authenticate(self._sign_auth(challenge, self.url))
            case Refused():
                raise self._refusal(happening)
        return None

    def _refusal(self, refused: Refused) -> PowdoError:
        """Return the error for a NOTICE, with what a person can do about it."""
        if refused.funds is not None:
            balance, fee = refused.funds
            return RefusedError(
                f"'{self.url}' takes {fee} sat for this, and the account has {balance}",
                hint="ask its operator for credit, ask for fewer bits, or mine here",
            )
        limits = parse_range(refused.message)
        if limits is not None:
            return RefusedError(
                f"'{self.url}' mines {limits[0]} to {limits[1]} bits of this event",
                hint="ask for as many, or mine here",
            )
        return refusal(self.url, refused.message)
