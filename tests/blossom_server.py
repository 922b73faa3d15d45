"""Our Blossom server in a thread, tokens of any shape, and bare HTTP, for the tests of several rooms."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from powdo.nips.blossom import is_hash
from powdo.nips.curve import SecretKey
from powdo.nips.event import Unsigned, sign
from powdo.servers.blossom.app import serve
from powdo.servers.blossom.config import Config

ANA = SecretKey(bytes([1]) * 32)
BEN = SecretKey(bytes([2]) * 32)


def sha(data: bytes) -> str:
    """Return the sha256 of *data* in hex."""
    return hashlib.sha256(data).hexdigest()


def token(
    verb: str = "upload",
    *hashes: str,
    key: SecretKey = ANA,
    tags: list[list[str]] | None = None,
    expires: object = None,
    servers: tuple[str, ...] = ("127.0.0.1",),
    created: int = -5,
    kind: int = 24242,
    encode: str = "url",
    change: Mapping[str, Any] | None = None,
) -> str:
    """Return an Authorization header with whatever the test wants in it."""
    now = int(time.time())
    if tags is None:
        tags = [["t", verb], *(["x", each] for each in hashes), *(["server", each] for each in servers)]
        tags.append(["expiration", str(now + 3600 if expires is None else expires)])
    unsigned = Unsigned(key.pubkey, now + created, kind, tuple(map(tuple, tags)), "a wish ≥ 1?~>")
    event = sign(unsigned, key, os.urandom(32)).to_json() | dict(change or {})
    text = json.dumps(event, ensure_ascii=False).encode()
    if encode == "url":
        return "Nostr " + base64.urlsafe_b64encode(text).decode().rstrip("=")
    if encode == "url-padded":
        return "Nostr " + base64.urlsafe_b64encode(text).decode()
    if encode == "standard-unpadded":
        return "Nostr " + base64.b64encode(text).decode().rstrip("=")
    return "Nostr " + base64.b64encode(text).decode()


@dataclass
class Reply:
    """One whole answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def reason(self) -> str | None:
        """The X-Reason header."""
        return self.headers["X-Reason"]


@dataclass
class Blossom:
    """A running server."""

    url: str
    data: Path
    log: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 0

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str | None) -> Reply:
        """Return the answer to one request; `X_SHA_256` becomes X-SHA-256, None leaves a header out."""
        connection = http.client.HTTPConnection(*self.address, timeout=20)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            if body is not None and "Content-Length" not in sent:
                sent["Content-Length"] = str(len(body))
            for name, value in sent.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    def put(self, data: bytes, *, key: SecretKey = ANA, **headers: str | None) -> Reply:
        """Upload *data* as a well-behaved client does, but for *headers*."""
        told: dict[str, str | None] = {
            "Authorization": token("upload", sha(data), key=key),
            "Content_Type": "application/zip",
            "X_SHA_256": sha(data),
        }
        return self.ask("PUT", "/upload", data, **(told | headers))

    def eventually(self, condition: Callable[[], bool], patience: float = 10) -> bool:
        """Return whether *condition* comes true in *patience* seconds."""
        deadline = time.monotonic() + patience
        while not (true := condition()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return true

    def files(self) -> list[Path]:
        """Return all files of blobs, whole or not, without the notes of changes: they outlive an answer."""
        return [
            path
            for path in self.data.rglob("*")
            if path.is_file()
            and "blossom" not in path.name
            and not (path.parent.name == "incoming" and is_hash(path.name))
        ]


def begun(
    server: Blossom,
    data: bytes,
    sent: int,
    *,
    key: SecretKey = ANA,
    length: int | None = None,
    more: str = "",
) -> socket.socket:
    """Return a connection with an upload that has got as far as *sent* bytes of its body."""
    peer = socket.create_connection(server.address, timeout=20)
    head = f"PUT /upload HTTP/1.1\r\nHost: x\r\nAuthorization: {token('upload', sha(data), key=key)}\r\n"
    told = len(data) if length is None else length
    peer.sendall(f"{head}{more}Content-Length: {told}\r\n\r\n".encode() + data[:sent])
    return peer


@contextmanager
def running(data: Path, **options: Any) -> Iterator[Blossom]:
    """Run a server on a free port of 127.0.0.1 until the block ends."""
    ready = threading.Event()
    server = Blossom("", data)
    failure: list[BaseException] = []
    control: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def say(url: str) -> None:
        server.url = url
        ready.set()

    listening: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "data": data} | options
    config = Config(
        **listening, ready=say, log=server.log.append, tell=server.told.append, warn=server.warnings.append
    )

    async def main() -> None:
        stop = asyncio.Event()
        control.append((asyncio.get_running_loop(), stop))
        await serve(config, stop)

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failure.append(error)
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(20)
    try:
        if failure:
            raise failure[0]
        yield server
    finally:
        if not failure:
            loop, stop = control[0]
            loop.call_soon_threadsafe(stop.set)
        thread.join(20)
    assert not thread.is_alive()
    assert not failure, failure
