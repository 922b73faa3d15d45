"""What waits to be sent to one client: bounded, in order, and dropped with a client that does not read.

Rules:
- what is put within one turn of the loop goes out in one write, and a page in writes of 64 KiB: 500 events
  would otherwise be 500 system calls;
- a frame of a server is a header of 2 to 10 bytes and the message (RFC 6455, section 5.2); control frames
  that aiohttp writes to the same transport fall between ours, never within;
- a connection where nothing waits costs a few references: no task, no event.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Iterator

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


def blocks(head: bytes, raws: Iterable[bytes]) -> Iterator[bytes]:
    """Return the frames of `head raw ]`, in blocks worth a write each."""
    parts: list[bytes] = []
    size = 0
    for raw in raws:
        length = len(head) + len(raw) + 1
        parts += (text_frame(length), head, raw, b"]")
        size += length
        if size >= _AT_ONCE:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)


class Outgoing:
    """The messages on their way to one websocket."""

    __slots__ = (
        "_deadline",
        "_least",
        "_limits",
        "_loop",
        "_room",
        "_scheduled",
        "_size",
        "_transport",
        "_waiting",
        "dropped",
    )

    def __init__(self, transport: asyncio.Transport, limits: Limits) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._limits = limits
        self._waiting: list[bytes] = []
        self._size = 0
        self._scheduled: asyncio.Handle | None = None
        self._room: asyncio.Future[None] | None = None
        #: The least that was left unsent since we wait for the client, and until when it must shrink.
        self._least = 0
        self._deadline = 0.0
        self.dropped = False

    def put(self, message: bytes) -> None:
        """Queue one message; a client that is too far behind is dropped."""
        self.put_frames(text_frame(len(message)) + message)

    def put_frames(self, frames: bytes) -> None:
        """Queue whole frames, as `put` does."""
        if self.dropped:
            return
        self._waiting.append(frames)
        self._size += len(frames)
        if self._scheduled is None:
            self._scheduled = self._loop.call_soon(self._send)
        if self._size > 2 * self._limits.backlog:
            self.drop()

    async def room(self) -> None:
        """Wait until the client has caught up."""
        while self._size > self._limits.backlog and not self.dropped:
            self._room = self._loop.create_future()
            await self._room

    def is_empty(self) -> bool:
        """Return whether nothing is left to send: the system has taken it all, or the client is dropped."""
        return self.dropped or not (self._waiting or self._transport.get_write_buffer_size())

    def drop(self) -> None:
        """Cut the connection without another word."""
        self.dropped = True
        self._waiting.clear()
        self._size = 0
        if self._scheduled is not None:
            self._scheduled.cancel()
        self._wake()
        self._transport.abort()

    def _wake(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    def _send(self) -> None:
        """Write what the client takes, and come again while more waits."""
        self._scheduled = None
        while self._waiting:
            if self._transport.is_closing():
                self.drop()
                return
            unsent = self._transport.get_write_buffer_size()
            if unsent > _BUFFERED:
                self._await_client(unsent)
                return
            self._least = 0
            self._write_some()

    def _write_some(self) -> None:
        count = size = 0
        for frames in self._waiting:
            count += 1
            size += len(frames)
            if size >= _AT_ONCE:
                break
        self._transport.write(b"".join(self._waiting[:count]))
        del self._waiting[:count]
        self._size -= size
        if self._size <= self._limits.backlog // 2:
            self._wake()

    def _await_client(self, unsent: int) -> None:
        """Come again a little later; a client that takes nothing for too long is dropped."""
        now = self._loop.time()
        if not self._least or unsent < self._least:
            self._least, self._deadline = unsent, now + self._limits.patience
        elif now > self._deadline:
            self.drop()
            return
        self._scheduled = self._loop.call_later(_LOOK_AGAIN, self._send)
