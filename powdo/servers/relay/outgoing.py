"""What waits to be sent to one client: bounded, in order, and dropped with a client that does not read.

Many messages go out in one write: a page of 500 events would otherwise be 500 system calls. A frame of a
server is a header of 2 to 10 bytes and the message (RFC 6455, section 5.2); control frames that aiohttp
writes to the same transport fall between ours, never within.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque

from powdo.servers.relay.limits import Limits

_AT_ONCE = 64 << 10
_BUFFERED = 256 << 10
_LOOK_AGAIN = 0.005


def text_frame(size: int) -> bytes:
    """Return the header of an unmasked text frame of *size* bytes."""
    if size < 126:
        return struct.pack("!BB", 0x81, size)
    if size < 1 << 16:
        return struct.pack("!BBH", 0x81, 126, size)
    return struct.pack("!BBQ", 0x81, 127, size)


class Outgoing:
    """The messages on their way to one websocket."""

    def __init__(self, transport: asyncio.Transport, limits: Limits) -> None:
        self._transport = transport
        self._limits = limits
        self._messages: deque[bytes] = deque()
        self._size = 0
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.dropped = False

    def put(self, message: bytes) -> None:
        """Queue one message; a client that is too far behind is dropped."""
        if self.dropped:
            return
        self._messages.append(message)
        self._size += len(message)
        self._filled.set()
        if self._size > self._limits.backlog:
            self._room.clear()
        if self._size > 2 * self._limits.backlog:
            self.drop()

    async def room(self) -> None:
        """Wait until the client has caught up."""
        if not self._room.is_set():
            await self._room.wait()

    def is_empty(self) -> bool:
        """Return whether nothing is left to send: the system has taken it all, or the client is dropped."""
        return self.dropped or not (self._messages or self._transport.get_write_buffer_size())

    def drop(self) -> None:
        """Cut the connection without another word."""
        self.dropped = True
        self._messages.clear()
        self._room.set()
        self._filled.set()
        self._transport.abort()

    async def send_all(self) -> None:
        """Send what is queued until the connection ends."""
        while not self.dropped:
            await self._filled.wait()
            self._filled.clear()
            while self._messages:
                self._write_some()
                if self._transport.get_write_buffer_size() > _BUFFERED and not await self._drained():
                    self.drop()
                    return

    def _write_some(self) -> None:
        parts: list[bytes] = []
        size = 0
        while self._messages and size < _AT_ONCE:
            message = self._messages.popleft()
            parts += (text_frame(len(message)), message)
            size += len(message)
        if self._transport.is_closing():
            self.drop()
            return
        self._transport.write(b"".join(parts))
        self._size -= size
        if self._size <= self._limits.backlog // 2:
            self._room.set()

    async def _drained(self) -> bool:
        """Wait until the client has read most of what was written; False when it has stopped reading."""
        waiting = self._transport.get_write_buffer_size()
        deadline = time.monotonic() + self._limits.patience
        while (size := self._transport.get_write_buffer_size()) > _BUFFERED // 2:
            if size < waiting:
                waiting, deadline = size, time.monotonic() + self._limits.patience
            if self._transport.is_closing() or time.monotonic() > deadline:
                return False
            await asyncio.sleep(_LOOK_AGAIN)
        return True
