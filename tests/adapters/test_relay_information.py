"""What a relay tells of itself (NIP-11), and what a liar may answer instead."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from powdo.adapters.relay.information import information
from powdo.errors import RetryLaterError


@contextmanager
def answering(data: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the port of a server that answers *data* once, and what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            link, _ = server.accept()
            with link:
                asked.append(link.recv(65536))
                link.sendall(data)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield server.getsockname()[1], asked
        thread.join(10)


def whole(body: bytes, *headers: str) -> bytes:
    """Return an answer of HTTP with *body*."""
    lines = ("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


def test_document_and_clock_are_read() -> None:
    """What the relay tells comes with the time of its clock."""
    told = whole(b'{"limitation":{"min_pow_difficulty":9}}', "Date: Sat, 28 Nov 2026 12:00:00 GMT")
    with answering(told) as (port, _):
        found = information(f"ws://127.0.0.1:{port}", timeout=5)
    assert found.limit("min_pow_difficulty") == 9
    assert found.clock is not None and found.clock.timestamp() == 1795867200


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        whole(b"hello", "Content-Encoding: gzip"),
        whole(b"{}", "Date: Mon, 01 Jan 99999999999999999999 00:00:00 GMT"),
        whole(b"{}", "Date: Mon, 01 Jan 2020 00:00:00 +9999999999999999"),
        whole(b"[" * 200_000),
    ],
    ids=["no HTTP", "cut off", "two lengths", "chunks", "gzip", "year", "zone", "deep"],
)
def test_nonsense_is_no_document(data: bytes) -> None:
    """Whatever answers there, nothing is told, or there is an error to try again later."""
    with answering(data) as (port, _):
        try:
            found = information(f"ws://127.0.0.1:{port}", timeout=5)
        except RetryLaterError:
            return
    assert found == ({}, None)


def test_a_relay_learns_nothing_of_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No software is named, nothing compressed is asked for, and no password of ~/.netrc goes out."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine relay.example login ana password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    here = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest: here("127.0.0.1", *rest))
    with answering(whole(b"{}")) as (port, asked):
        information(f"ws://relay.example:{port}", timeout=5)
    words = asked[0].lower()
    assert b"host: relay.example" in words and b"accept-encoding: identity" in words
    assert b"user-agent" not in words and b"authorization" not in words
