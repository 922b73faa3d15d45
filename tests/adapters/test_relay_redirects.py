"""A relay that sends its clients elsewhere: to another host, past the proxy that was chosen for this one."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from powdo.adapters.relay.listener import Plan, listen
from powdo.adapters.relay.provider import Provider
from powdo.adapters.relay.publisher import RelayClient
from powdo.adapters.relay.reading import try_reading
from powdo.errors import PeerAwayError, PowdoError
from powdo.nips.event import Event, Unsigned
from powdo.nips.filters import Filter
from powdo.nips.nip42 import auth_event
from tests.relay_helpers import new_key, signed

KEY = new_key()


def sign_auth(challenge: str, url: str) -> Event:
    """Return the answer to a challenge."""
    return auth_event(challenge, url, KEY, int(time.time()), bytes(32))


@contextmanager
def sending_to(place: str, status: int) -> Iterator[str]:
    """Yield the address of a server that answers everybody with a redirect to *place*."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Location", place)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Sink:
    """Keeps what a listener has trouble with."""

    def __init__(self) -> None:
        self.errors: list[PowdoError] = []

    def last_sync(self, relay: str) -> int | None:
        """Return that nothing was received."""
        return None

    def store(self, relay: str, event: Event) -> None:
        """Take nothing."""
        raise AssertionError(relay)

    def synced(self, relay: str, at: int) -> None:
        """Take nothing."""
        raise AssertionError(relay)

    def trouble(self, relay: str, error: PowdoError) -> None:
        """Keep *error*."""
        self.errors.append(error)

    def said(self, relay: str, message: str) -> None:
        """Take nothing."""
        raise AssertionError(message)


def _publish(url: str) -> None:
    with RelayClient(url, timeout=5, sign_auth=sign_auth) as client:
        client.publish(signed(KEY))


def _read(url: str) -> None:
    try_reading(url, Filter(kinds=(1059,)), timeout=5, sign_auth=sign_auth)


def _buy(url: str) -> None:
    with closing(Provider(url, sign_auth, timeout=5, patience=5)) as provider:
        provider.mine(Unsigned(KEY.pubkey, 1, 1, (), "hello"), 8)


def _listen(url: str) -> None:
    sink = Sink()
    plan = Plan(relays=[url], filter=Filter(kinds=(1059,)), sign_auth=sign_auth, timeout=5, until_eose=True)
    asyncio.run(listen(plan, sink, asyncio.Event()))
    raise sink.errors[0]


@pytest.mark.parametrize("use", [_publish, _read, _buy, _listen])
@pytest.mark.parametrize("status", [301, 302, 307])
def test_no_redirect_is_followed(use: Callable[[str], None], status: int) -> None:
    """Whoever we are to a relay, it cannot make us connect to anybody else."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.2)
        place = f"ws://localhost:{other.getsockname()[1]}/"
        with (
            sending_to(place, status) as url,
            pytest.raises(PeerAwayError, match="sends us elsewhere"),
        ):
            use(url)
        with pytest.raises(TimeoutError):  # nobody came
            other.accept()
