"""A client that is no bottleneck: blobs and tokens made beforehand, answers counted and thrown away.

Bare sockets that are kept open, one thread each; the interpreter's lock is free while bytes move.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from powdo.nips.blossom_tokens import make_token
from powdo.nips.curve import SecretKey

_PATIENCE = 120.0
_BUFFER = 1 << 20
_UNIQUE = 32
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent, in two parts so that many blobs can share one *tail*; how long the answer's body is."""

    head: bytes
    tail: memoryview
    statuses: tuple[int, ...]
    sha256: str
    length: int | None = None

    @property
    def body(self) -> bytes:
        """The blob that is sent."""
        return self.head.partition(b"\r\n\r\n")[2] + self.tail


def uploads(count: int, size: int, key: SecretKey) -> list[Request]:
    """Return requests with *count* new blobs of *size* bytes."""
    tail = memoryview(os.urandom(size - _UNIQUE))
    return [_upload(tail, key) for _ in range(count)]


def _upload(tail: memoryview, key: SecretKey) -> Request:
    begin = os.urandom(_UNIQUE)
    digest = hashlib.sha256(begin)
    digest.update(tail)
    sha256 = digest.hexdigest()
    token = make_token(
        key,
        "upload",
        server="http://127.0.0.1",
        hashes=[sha256],
        now=int(time.time()),
        aux=os.urandom(32),
        lifetime=3600,
    )
    lines = (
        "PUT /upload HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: {token}",
        f"X-SHA-256: {sha256}",
        "Content-Type: application/zip",
        f"Content-Length: {_UNIQUE + len(tail)}",
    )
    return Request("\r\n".join(lines).encode() + b"\r\n\r\n" + begin, tail, (200, 201), sha256)


def download(sha256: str, size: int) -> Request:
    """Return the request for a blob of *size* bytes."""
    head = f"GET /{sha256} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    return Request(head, memoryview(b""), (200,), sha256, size)


class Connection:
    """One connection that is used again and again."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 80), _PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = memoryview(bytearray(_BUFFER))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def send(self, request: Request) -> None:
        """Return once the whole answer is there. Raises: RuntimeError when it is not what it should be."""
        self._socket.sendall(request.head)
        self._socket.sendall(request.tail)
        held = b""
        while b"\r\n\r\n" not in held:
            data = self._socket.recv(_BUFFER)
            if not data:
                raise RuntimeError(f"cut off after {held!r}")
            held += data
        head, _, body = held.partition(b"\r\n\r\n")
        status, length = _STATUS.match(head), _LENGTH.search(head + b"\r\n")
        if status is None or length is None or int(status[1]) not in request.statuses:
            raise RuntimeError(f"answered {held[:500]!r}")
        left = int(length[1]) - len(body)
        if request.length is not None and int(length[1]) != request.length:
            raise RuntimeError(f"answered {int(length[1])} bytes instead of {request.length}")
        while left > 0:
            received = self._socket.recv_into(self._buffer[: min(left, _BUFFER)])
            if not received:
                raise RuntimeError("cut off")
            left -= received


def send_all(url: str, requests: Sequence[Request], connections: int) -> float:
    """Return the seconds until *requests* are answered, sent over *connections*. Raises: what one raised."""
    waiting = iter(requests)
    opened = [Connection(url) for _ in range(connections)]
    failures: list[Exception] = []

    def work(connection: Connection) -> None:
        try:
            while not failures and (request := next(waiting, None)):
                connection.send(request)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=[connection]) for connection in opened]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - begun
    for connection in opened:
        connection.close()
    if failures:
        raise failures[0]
    return taken
