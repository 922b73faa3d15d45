"""What waits to be sent to one client: bounded, in order, and dropped with a client that does not read."""

from __future__ import annotations

import asyncio
from collections import deque

from aiohttp import WSMsgType, web

from powdo.servers.relay.limits import Limits


class Outgoing:
    """The messages on their way to one websocket."""

    def __init__(
        self, socket: web.WebSocketResponse, transport: asyncio.Transport | None, limits: Limits
    ) -> None:
        self._socket = socket
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
        await self._room.wait()

    def drop(self) -> None:
        """Cut the connection without another word."""
        self.dropped = True
        self._messages.clear()
        self._room.set()
        self._filled.set()
        if self._transport is not None:
            self._transport.abort()

    async def send_all(self) -> None:
        """Send what is queued until the connection ends."""
        while not self.dropped:
            await self._filled.wait()
            self._filled.clear()
            while self._messages:
                message = self._messages.popleft()
                try:
                    async with asyncio.timeout(self._limits.patience):
                        await self._socket.send_frame(message, WSMsgType.TEXT)
                except (TimeoutError, ConnectionError, RuntimeError):
                    self.drop()  # it does not read, or has gone
                    return
                self._size -= len(message)
                if self._size <= self._limits.backlog // 2:
                    self._room.set()
