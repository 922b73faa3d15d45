"""`powdo.deadlines`: against a peer that sends a byte at a time."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from powdo.deadlines import Deadlines
from powdo.errors import RetryLaterError
from tests.tls_proxy import certificate


@pytest.fixture
def dripping() -> Iterator[str]:
    """Yield the address of a server whose bodies never end."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)

    def serve() -> None:
        with suppress(OSError), listener.accept()[0] as connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                connection.sendall(b"x")
                time.sleep(0.02)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    thread.join(6)


def test_a_dripping_body_ends_in_time(dripping: str) -> None:
    """What looks like the end of a body, since its socket was shut, is told as a timeout."""
    begin = time.monotonic()
    with requests.Session() as session:
        session.trust_env = False
        deadlines = Deadlines(session)
        with (
            pytest.raises(RetryLaterError, match="cannot reach 'peer': timed out"),
            deadlines.within(0.3, "peer"),
            session.get(dripping, timeout=5, stream=True) as response,
        ):
            assert len(response.content) > 1
    assert 0.3 <= time.monotonic() - begin < 4


def test_an_error_within_the_deadline_is_left_as_it_is() -> None:
    """What goes wrong before the time is up keeps its class."""
    with requests.Session() as session, pytest.raises(KeyError), Deadlines(session).within(60, "peer"):
        raise KeyError


def test_an_error_after_the_deadline_is_a_timeout() -> None:
    """Whatever a shut connection leads to is told as what it was: too late."""
    with (
        requests.Session() as session,
        pytest.raises(RetryLaterError, match="timed out"),
        Deadlines(session).within(0.05, "peer"),
    ):
        time.sleep(0.2)
        raise KeyError


def test_one_thread_keeps_all_deadlines() -> None:
    """Deadlines that are met leave one thread behind, which still ends an exchange that takes too long."""
    with requests.Session() as session:
        deadlines = Deadlines(session)
        before = threading.active_count()
        for seconds in (60, 30, 90):
            with deadlines.within(seconds, "peer"):
                pass
        assert threading.active_count() <= before + 1
        with pytest.raises(RetryLaterError, match="timed out"), deadlines.within(0.05, "peer"):
            time.sleep(0.5)
        with deadlines.within(60, "peer"):
            time.sleep(0.1)


def test_a_deadline_holds_under_tls(tmp_path: Path) -> None:
    """A server with a certificate is reached as one without, and shut in time, too."""
    pem = certificate(tmp_path, "localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)

    def serve() -> None:
        with suppress(OSError), context.wrap_socket(listener.accept()[0], server_side=True) as connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
            connection.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(pem)
        deadlines = Deadlines(session)
        url = f"https://localhost:{listener.getsockname()[1]}"
        with (
            pytest.raises(RetryLaterError, match="timed out"),
            deadlines.within(1.0, "peer"),
            session.get(url, timeout=10, stream=True) as response,
        ):
            assert response.status_code == 200
            _ = response.content
    thread.join(6)
    listener.close()
