from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from powdo.servers.proxies import parse_networks
from tests.blossom_server import ANA, BEN, Blossom, Reply, begun, running, sha, token

_PROXY = parse_networks(("127.0.0.1/32",))
_DATA = os.urandom(100_000)


@contextmanager
def _stalled(server: Blossom, number: int, more: str = "") -> Iterator[list[socket.socket]]:
    """Hold *number* uploads of ana's that have begun, and do not go on."""
    with ExitStack() as stack:
        peers: list[socket.socket] = []

        def one_more() -> bool:
            peer = stack.enter_context(begun(server, _DATA, 1000, more=f"Expect: 100-continue\r\n{more}"))
            if peer.recv(4096) != b"HTTP/1.1 100 Continue\r\n\r\n":  # those before have not ended yet
                return False
            peers.append(peer)
            return len(peers) == number

        assert server.eventually(one_more)
        yield peers


def _asked(server: Blossom, **headers: str | None) -> Reply:
    told: dict[str, str | None] = {
        "Authorization": token("upload", sha(_DATA)),
        "X_SHA_256": sha(_DATA),
        "X_Content_Length": str(len(_DATA)),
    }
    return server.ask("HEAD", "/upload", **(told | headers))


def _closed(peer: socket.socket) -> bool:
    """Return whether the server has hung up without a word."""
    try:
        return peer.recv(1) == b""
    except ConnectionError:
        return True


# --- uploads at once ---


def test_a_key_has_only_so_many_uploads_at_once(tmp_path: Path) -> None:
    """One more is 429 before its body, says when to come back, and finds its slot once another ends."""
    with running(tmp_path, open=True, max_uploads_per_pubkey=2) as server:
        with _stalled(server, 2) as peers:
            for reply in (server.put(b"one more"), _asked(server)):
                assert reply.status == 429
                assert reply.reason == "this key has 2 uploads under way, which is the limit"
                assert int(reply.headers["Retry-After"]) > 0
            assert server.put(b"ben's", key=BEN).status == 201
            peers[0].sendall(_DATA[1000:])
            assert peers[0].recv(4096).startswith(b"HTTP/1.1 201 ")
            assert server.put(b"one more").status == 201
        assert server.eventually(lambda: _asked(server).status == 200)


def test_an_address_has_only_so_many_uploads_at_once(tmp_path: Path) -> None:
    """Whatever keys they have; behind a trusted proxy the address it tells counts, of IPv6 the network."""
    options = {"open": True, "max_uploads_per_address": 2, "trusted_proxies": _PROXY}
    with running(tmp_path, **options) as server:
        for own, other in (("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8:0:1::1")):
            with _stalled(server, 2, f"X-Forwarded-For: {own}\r\n"):
                for neighbour in {own, own.replace("::1", "::2")}:
                    reply = server.put(b"one more", key=BEN, X_Forwarded_For=neighbour)
                    assert reply.status == 429
                    assert reply.reason == "this address has 2 uploads under way, which is the limit"
                    assert _asked(server, X_Forwarded_For=neighbour).status == 429
                assert server.put(own.encode(), X_Forwarded_For=other).status == 201


def test_the_server_has_only_so_many_uploads_at_once(tmp_path: Path) -> None:
    """Where the server itself is full it is 503, and downloads go on."""
    with running(tmp_path, open=True, max_uploads=2) as server:
        assert server.put(b"kept").status == 201
        with _stalled(server, 2):
            reply = server.put(b"ben's", key=BEN)
            assert (reply.status, reply.reason) == (
                503,
                "the server has 2 uploads under way, which is the limit",
            )
            assert int(reply.headers["Retry-After"]) > 0
            assert server.ask("GET", f"/{sha(b'kept')}").body == b"kept"
        assert server.eventually(lambda: server.put(b"ben's", key=BEN).status == 201)


def test_a_stalled_upload_gives_its_slot_back(tmp_path: Path) -> None:
    """A body that rests too long is ended with 408, its file goes, and its slot is free."""
    data = os.urandom(3 << 20)
    options = {"open": True, "max_uploads_per_pubkey": 1, "idle_timeout": 0.4}
    with running(tmp_path, **options) as server, begun(server, data, 2 << 20) as peer:
        assert server.eventually(lambda: len(list((tmp_path / "incoming").iterdir())) == 1)
        assert server.put(b"one more").status == 429
        assert peer.recv(4096).startswith(b"HTTP/1.1 408 ")
        assert server.put(b"one more").status == 201
        assert len(server.files()) == 1


def test_two_hundred_stalled_uploads_of_one_key_hinder_no_other(tmp_path: Path) -> None:
    """Beside them, and five hundred connections that never send their headers, another key uploads."""
    with running(tmp_path, allow=(ANA.pubkey, BEN.pubkey)) as server, ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(begun(server, _DATA, 1000))
        for _ in range(500):
            peer = stack.enter_context(socket.create_connection(server.address, timeout=20))
            peer.sendall(b"PUT /upload HTTP/1.1\r\nHost: x\r\n")
        for _ in range(10):
            data = os.urandom(300_000)
            assert server.put(data, key=BEN).status == 201
            assert server.ask("GET", f"/{sha(data)}").body == data
        assert _asked(server).reason == "this key has 16 uploads under way, which is the limit"


# --- connections ---


def test_connections_of_an_address_give_way_to_new_ones(tmp_path: Path) -> None:
    """Those that rest longest are closed for new ones; what is being answered is not."""
    with (
        running(tmp_path, open=True, uncounted=(), max_connections_per_address=4) as server,
        ExitStack() as stack,
    ):
        peers = stack.enter_context(_stalled(server, 2))
        resting = [stack.enter_context(socket.create_connection(server.address, timeout=5)) for _ in range(2)]
        for _ in range(3):
            assert server.put(os.urandom(10), key=BEN).status == 201
        assert _closed(resting[0])
        for peer in peers:
            peer.sendall(_DATA[1000:])
            assert peer.recv(12) in (b"HTTP/1.1 201", b"HTTP/1.1 200")


def test_a_connection_too_many_is_closed_where_none_rests(tmp_path: Path) -> None:
    """An address that has all its connections at work has to wait; loopback is not counted unless told so."""
    with running(tmp_path / "a", open=True, uncounted=(), max_connections_per_address=2) as server:
        with _stalled(server, 2), socket.create_connection(server.address, timeout=5) as peer:
            assert _closed(peer)
        assert server.eventually(lambda: server.put(b"x").status == 201)
    with running(tmp_path / "b", open=True, max_connections_per_address=2) as server, _stalled(server, 3):
        assert server.put(b"x").status == 201


def test_connections_in_all_are_limited(tmp_path: Path) -> None:
    """Far more connections than are allowed, none of which asks anything, keep nobody out."""
    with running(tmp_path, open=True, max_connections=20) as server, ExitStack() as stack:
        peers = [stack.enter_context(socket.create_connection(server.address, timeout=5)) for _ in range(100)]
        assert server.put(b"x").status == 201
        assert all(_closed(peer) for peer in peers[:81])
        peers[-1].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert peers[-1].recv(12) == b"HTTP/1.1 200"


def test_requests_behind_a_proxy_count_by_address(tmp_path: Path) -> None:
    """The connections of a trusted proxy are not counted: the requests of each of its clients are."""
    options = {"open": True, "trusted_proxies": _PROXY, "uncounted": (), "max_connections_per_address": 3}
    with running(tmp_path, **options) as server, _stalled(server, 3, "X-Forwarded-For: 192.0.2.1\r\n"):
        reply = server.ask("GET", "/", X_Forwarded_For="192.0.2.1")
        assert reply.status == 429
        assert reply.reason == "this address has 3 requests under way, which is the limit"
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
        for _ in range(5):
            assert server.ask("GET", "/", X_Forwarded_For="192.0.2.2").status == 200


def test_a_download_behind_a_proxy_counts_to_its_last_byte(tmp_path: Path) -> None:
    """A client that takes its time with a blob has one request less meanwhile, and all of them after it."""
    options = {"open": True, "trusted_proxies": _PROXY, "max_connections_per_address": 1}
    data = os.urandom(32 << 20)
    with running(tmp_path, **options) as server:
        assert server.put(data).status == 201
        with socket.create_connection(server.address, timeout=20) as peer:
            head = f"GET /{sha(data)} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
            peer.sendall(head.encode())
            assert peer.recv(12) == b"HTTP/1.1 200"
            assert server.ask("GET", "/", X_Forwarded_For="192.0.2.1").status == 429
            assert server.ask("GET", "/", X_Forwarded_For="192.0.2.2").status == 200
        assert server.eventually(lambda: server.ask("GET", "/", X_Forwarded_For="192.0.2.1").status == 200)


# --- slow clients ---


@pytest.mark.parametrize(
    "words", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"]
)
def test_headers_must_come_in_time(tmp_path: Path, words: bytes) -> None:
    """A client that says nothing, or half of it, or nothing more, is hung up on."""
    with running(tmp_path, open=True, header_timeout=0.5) as server:
        begin = time.monotonic()
        with socket.create_connection(server.address, timeout=10) as peer:
            peer.sendall(words)
            while peer.recv(4096):
                pass
        assert 0.4 < time.monotonic() - begin < 5


def test_headers_in_drops_do_not_hold_a_connection(tmp_path: Path) -> None:
    """The time runs from the start of the connection, whatever has come since."""
    with running(tmp_path, open=True, header_timeout=0.5) as server:
        with socket.create_connection(server.address, timeout=0.05) as peer:
            begin = time.monotonic()
            with pytest.raises(ConnectionError):
                _drip(peer, b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 1000)
        assert time.monotonic() - begin < 5


def _drip(peer: socket.socket, words: bytes) -> None:
    for number in range(len(words)):
        peer.sendall(words[number : number + 1])
        try:
            if not peer.recv(1):
                raise ConnectionResetError
        except TimeoutError:
            continue


def test_who_does_not_read_answers_is_hung_up_on(tmp_path: Path) -> None:
    """A client that asks on and on, and reads nothing, holds neither connection nor memory."""
    ask = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1000
    with running(tmp_path, open=True, idle_timeout=0.5) as server:
        peer = socket.create_connection(server.address, timeout=20)
        with peer, pytest.raises(ConnectionError):
            for _ in range(1000):
                peer.sendall(ask)
        assert server.put(b"x").status == 201
