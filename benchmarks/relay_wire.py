"""A client that is no bottleneck: websocket frames made beforehand, answers counted and hardly read.

It speaks RFC 6455 as far as relays use it (whole text frames, ping), with masks of zero, which the RFC allows
and which leave a frame as it was made.
"""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import orjson

from powdo.nips.curve import SecretKey
from powdo.nips.nip42 import auth_event

_PATIENCE = 120.0
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10


def frame(payload: bytes, opcode: int = _TEXT) -> bytes:
    """Return one whole client frame."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2)
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + size.to_bytes(8)
    return head + bytes(4) + payload


def message(*parts: object) -> bytes:
    """Return the frame of one message to a relay."""
    return frame(orjson.dumps(parts))


class Wire(asyncio.Protocol):
    """One connection; *heard* is called with each text message."""

    def __init__(self) -> None:
        self._early: list[bytes] = []
        self.heard: Callable[[bytes], None] = self._early.append
        self.transport: asyncio.Transport
        self.ended = False
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._head = bytearray()
        self._data = bytearray()

    @classmethod
    async def open(cls, url: str) -> Wire:
        """Return a connection to the relay at *url*. Raises: OSError, RuntimeError."""
        parts = urlsplit(url)
        host, port = parts.hostname or "127.0.0.1", parts.port or 80
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(cls, host, port)
        key = base64.b64encode(os.urandom(16)).decode()
        wire.transport.write(
            f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        await asyncio.wait_for(wire._opened, _PATIENCE)
        return wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream is needed")
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits for the handshake."""
        self.ended = True
        if not self._opened.done():
            self._opened.set_exception(ConnectionError(f"the relay hung up: {exc}"))

    def data_received(self, data: bytes) -> None:
        """Read the handshake's answer, then frames."""
        if not self._opened.done():
            self._head += data
            head, found, rest = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            if b" 101 " not in head.split(b"\r\n", 1)[0]:
                self._opened.set_exception(ConnectionError(head.decode("latin-1")[:80]))
                return
            self._opened.set_result(None)
            data = bytes(rest)
        self._data += data
        self._read_frames()

    def _read_frames(self) -> None:
        data, at, end = self._data, 0, len(self._data)
        while end - at >= 2:
            size, start = data[at + 1], at + 2
            if size > 125:
                width = 2 if size == 126 else 8
                size, start = int.from_bytes(data[start : start + width]), start + width
            if end < start + size:
                break
            opcode = data[at] & 15
            if opcode == _TEXT:
                self.heard(bytes(data[start : start + size]))
            elif opcode == _PING:
                self.transport.write(frame(bytes(data[start : start + size]), _PONG))
            at = start + size
        del data[:at]

    async def hear(self, word: bytes) -> bytes:
        """Return the next message that begins with *word*; others are passed over."""
        start = b'["' + word + b'"'
        found: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def heard(text: bytes) -> None:
            if text.startswith(start) and not found.done():
                found.set_result(text)

        self.heard = heard
        for text in self._early:
            heard(text)
        self._early.clear()
        return await asyncio.wait_for(found, _PATIENCE)

    async def authenticate(self, url: str, keys: Sequence[SecretKey]) -> None:
        """Prove *keys* (NIP-42). Raises: RuntimeError when the relay will not have it."""
        challenge = orjson.loads(await self.hear(b"AUTH"))[1]
        for key in keys:
            event = auth_event(challenge, url, key, int(time.time()), os.urandom(32))
            self.transport.write(message("AUTH", event.to_json()))
            answer = await self.hear(b"OK")
            if orjson.loads(answer)[2] is not True:
                raise RuntimeError(f"AUTH refused: {answer!r}")

    def close(self) -> None:
        """Cut the connection."""
        self.transport.abort()
