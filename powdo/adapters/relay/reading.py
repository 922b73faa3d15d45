"""Asks a relay once for what is addressed to a key, to see whether it would show it."""

from __future__ import annotations

import time

from websockets.sync.client import ClientConnection, connect

from powdo.adapters.relay.errors import FAILURES, babble, refusal, unreachable
from powdo.adapters.relay.options import connect_options
from powdo.adapters.relay.publisher import AuthSigner
from powdo.errors import PeerProtocolError
from powdo.nips.filters import Filter
from powdo.nips.relay_happenings import Authenticated, AuthRefused, Challenged, SubscriptionRefused, Synced
from powdo.nips.relay_session import RelaySession

_KEY = "reading"


def try_reading(url: str, wanted: Filter, *, timeout: float, sign_auth: AuthSigner) -> bool:
    """Return whether the relay asked who we are and took the answer (NIP-42), before it answered *wanted*.

    Raises: RetryLaterError, RefusedError, PeerProtocolError, ConfigurationError.
    """
    session = RelaySession(eager=True)
    session.subscribe(_KEY, wanted)
    try:
        with connect(url, **connect_options(url, timeout)) as connection:
            return _converse(url, connection, session, timeout, sign_auth)
    except FAILURES as error:
        raise unreachable(url, error) from None
    except PeerProtocolError as error:
        raise babble(url, error) from None


def _converse(
    url: str, connection: ClientConnection, session: RelaySession, timeout: float, sign_auth: AuthSigner
) -> bool:
    deadline, known, synced = time.monotonic() + timeout, False, False
    while not synced:
        for message in session.outgoing():
            connection.send(message)
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        for happening in session.receive(connection.recv(timeout=left)):
            match happening:
                case Challenged(challenge=challenge):
                    session.authenticate(sign_auth(challenge, url))
                case Authenticated():
                    known = True
                case SubscriptionRefused(message=message) | AuthRefused(message=message):
                    raise refusal(url, message)
                case Synced():
                    synced = True
    return known
