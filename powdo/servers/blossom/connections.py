"""The connections of the server: how many there may be, and which give way to new ones.

Rules:
- a connection rests while no request of it is being answered, to the last byte; a request whose headers are
  not all there is none yet, and a connection that rests for `header_timeout` is closed (aiohttp's keep-alive
  timeout);
- where there are too many, in all or from one address, the one that has rested longest is closed for a new
  one; if none rests, the new one is closed;
- proxies that are trusted bring many clients: behind them requests are counted instead, by address;
- when the server stops, connections end as they come to rest, so that a body that is coming comes to its end:
  aiohttp alone would not read on.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.web_request import BaseRequest

from powdo.servers.blossom.blobs import FilePart
from powdo.servers.blossom.config import Config
from powdo.servers.blossom.slots import Slots
from powdo.servers.blossom.wire import Refusal
from powdo.servers.descriptors import room_for
from powdo.servers.proxies import network_of, peer, within

#: How many bytes are read at once; with asyncio's 256 KB, a bundle of usual size takes two turns of the loop.
_READ = 1 << 19
#: What a connection may have open: its socket, and a blob.
_FILES = 2


class Connections:
    """Counts connections, and closes those that are too many."""

    def __init__(self, config: Config) -> None:
        self._most = room_for(config.max_connections * _FILES) // _FILES
        if self._most < config.max_connections:
            config.warn(f"the limit of open files leaves room for {self._most} connections")
        self._per_address = config.max_connections_per_address
        self._uncounted = config.uncounted + config.trusted_proxies
        self._networks: dict[web.RequestHandler, str] = {}
        self._resting: OrderedDict[web.RequestHandler, None] = OrderedDict()
        #: For whom a trusted proxy's connections work, and how many for each of them.
        self._clients: dict[web.RequestHandler, str] = {}
        self._requests = Slots(config.max_connections_per_address, "requests")
        #: The connections from each network, in the order in which they last came to rest.
        self._of: dict[str, OrderedDict[web.RequestHandler, None]] = {}
        self._ending = False
        self._none = asyncio.Event()

    def opened(self, connection: web.RequestHandler, address: str) -> None:
        """Count a new *connection* from *address*, which rests, or close it if there is no place for it."""
        network = "" if within(address, self._uncounted) else network_of(address)
        there = self._of.get(network, OrderedDict())
        if (
            self._ending
            or (network and len(there) >= self._per_address and not self._give_way(there))
            or (len(self._networks) >= self._most and not self._give_way(self._resting))
        ):
            connection.force_close()
            return
        self._networks[connection] = network
        self._of.setdefault(network, OrderedDict())[connection] = None
        self._resting[connection] = None

    def _give_way(self, among: Iterable[web.RequestHandler]) -> bool:
        """Close the connection *among* them that has rested longest; return whether there is one."""
        longest = next((connection for connection in among if connection in self._resting), None)
        if longest is None:
            return False
        self.closed(longest)
        longest.force_close()
        return True

    def works(self, request: BaseRequest, address: str) -> None:
        """Keep the connection of *request*, from *address*, until it is answered. Raises: Refusal 429."""
        self._resting.pop(request.protocol, None)
        if address != peer(request):
            client = network_of(address)
            self._requests.take(client, "this address")
            self._clients[request.protocol] = client

    def rests(self, connection: web.RequestHandler) -> None:
        """Let *connection* give way again: its request has been answered."""
        if client := self._clients.pop(connection, None):
            self._requests.give_back(client)
        network = self._networks.get(connection)
        if network is not None:
            self._of[network].move_to_end(connection)
            self._resting[connection] = None
            if self._ending:
                self._give_way(self._resting)

    def closed(self, connection: web.RequestHandler) -> None:
        """Forget *connection*; a request under way is told by `rests` when it ends."""
        network = self._networks.pop(connection, None)
        if network is not None:
            self._resting.pop(connection, None)
            del self._of[network][connection]
            if not self._of[network]:
                del self._of[network]
            if self._ending and not self._networks:
                self._none.set()

    async def end(self, patience: float) -> None:
        """Close all that rest, and the others once they do; return after *patience* seconds at most."""
        self._ending = True
        while self._give_way(self._resting):
            pass
        if self._networks:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._none.wait(), patience)


class _Protocol(web.RequestHandler):
    """Says what HTTP itself finds wrong the way we say everything; a broken request is never logged."""

    __slots__ = ("_counted", "_patience")

    def __init__(self, *args: Any, counted: Connections, patience: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._counted = counted
        self._patience = patience

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        super().connection_made(transport)
        transport.max_size = _READ  # type: ignore[attr-defined]  # the transports of asyncio have it
        name = transport.get_extra_info("peername")
        self._counted.opened(self, str(name[0]) if name else "")

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._counted.closed(self)
        super().connection_lost(exc)

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer to a client that reads it; a blob has a patience of its own."""
        timer = None
        if request.transport is not None and not isinstance(resp, FilePart):
            timer = self._loop.call_later(self._patience, request.transport.abort)
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            if timer is not None:
                timer.cancel()
            self._counted.rests(self)

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to a request that cannot be read, or that we failed at."""
        if status >= 500 and exc is not None:
            self.log_exception("error at %s", request.method, exc_info=exc)
        reason = "the request is not HTTP" if status == 400 else "the server failed"
        response = Refusal(status, reason).response()
        response.force_close()
        return response


class Server(web.Server):
    """Makes our protocol for each connection, which is counted by *connections*."""

    def __init__(
        self,
        handle: Callable[[BaseRequest], Awaitable[web.StreamResponse]],
        connections: Connections,
        config: Config,
        **kwargs: Any,
    ) -> None:
        super().__init__(handle, keepalive_timeout=config.header_timeout, **kwargs)
        self._counted = connections
        self._patience = config.idle_timeout

    def __call__(self) -> web.RequestHandler:
        """Return a protocol for one connection."""
        return _Protocol(
            self,
            counted=self._counted,
            patience=self._patience,
            loop=self._loop,
            **self._kwargs,
        )
