"""What is wrong with a request is told with the right status and a reason, and does no harm."""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.blossom_server import ANA, BEN, Blossom, Reply, running
from tests.servers.blossom.bad_requests import DATA, ENDPOINTS, FLAWS, HASH, RAW, ROWS, TOKENS, Bad


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blossom]:
    """Run a server for ana and ben with ana's blob; in the end it is as it was, and works."""
    options = {"allow": (ANA.pubkey, BEN.pubkey), "max_size": 1 << 20}
    where = tmp_path_factory.mktemp("blossom")
    with running(where, mirror_hosts=("https://blossom.example",), **options) as made:
        assert made.put(DATA).status == 201
        yield made
        assert [path.name for path in made.files()] == [HASH]
        assert made.ask("GET", f"/{HASH}").body == DATA
        assert made.put(os.urandom(100)).status == 201
        assert made.warnings == []


def _send(server: Blossom, data: bytes, method: str = "") -> Reply:
    with socket.create_connection(server.address, timeout=20) as peer:
        with suppress(ConnectionError):  # refused before all was read
            peer.sendall(data)
        response = http.client.HTTPResponse(peer, method=method)
        response.begin()
        return Reply(response.status, response.headers, response.read())


def _request(bad: Bad) -> bytes:
    headers = {"Host": "x"} | dict(bad.headers)
    if bad.body is not None and "Content-Length" not in headers:
        headers["Content-Length"] = str(len(bad.body))
    told = headers.get("Authorization")
    if told and told.startswith("@"):
        headers["Authorization"] = TOKENS[told[1:]]()
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([f"{bad.method} {bad.path} HTTP/1.1", *lines, "", ""]).encode() + (bad.body or b"")


def _check(reply: Reply, status: int, reason: str) -> None:
    """Hold *reply* against the rules for every refusal."""
    assert (reply.status, reply.reason) == (status, reply.reason)
    assert reply.reason
    assert reason in reply.reason
    assert reply.reason.isascii()
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert "X-Reason" in reply.headers["Access-Control-Expose-Headers"]
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert (reply.headers["WWW-Authenticate"] == "Nostr") is (status == 401)
    assert ("Allow" in reply.headers) is (status == 405)


@pytest.mark.parametrize("name", ROWS)
def test_a_bad_request_is_refused(server: Blossom, name: str) -> None:
    """Status and reason are those of the table."""
    bad = ROWS[name]
    _check(_send(server, _request(bad), bad.method), bad.status, bad.reason)


@pytest.mark.parametrize("flaw", FLAWS)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_bad_token_is_refused_everywhere(server: Blossom, endpoint: str, flaw: str) -> None:
    """Each flaw is 401 with its reason at each endpoint that needs a token."""
    verb, make = ENDPOINTS[endpoint]
    told, reason = FLAWS[flaw]
    bad = make(told(verb))
    _check(_send(server, _request(bad), bad.method), 401, reason)


@pytest.mark.parametrize("name", RAW)
def test_what_is_no_http_is_refused(server: Blossom, name: str) -> None:
    """The answer is ours, says nothing of what was sent, and ends the connection."""
    with socket.create_connection(server.address, timeout=20) as peer:
        with suppress(ConnectionError):
            peer.sendall(RAW[name])
        response = http.client.HTTPResponse(peer)
        response.begin()
        _check(Reply(response.status, response.headers, response.read()), 400, "the request is not HTTP")
        with suppress(ConnectionResetError):  # what we sent was not read to its end
            assert peer.recv(1) == b""


def test_the_tables_are_long_enough() -> None:
    """There are at least a hundred bad requests, without counting each flaw at each endpoint."""
    assert len(ROWS) + len(RAW) + len(FLAWS) >= 100
