"""The relay behind one port: websockets, the NIP-11 document, and a plain page for people."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from powdo.errors import CannotCreateError
from powdo.servers.admin.api import PATHS, AdminApi, answer_off
from powdo.servers.admin.management import CONTENT_TYPE, Management
from powdo.servers.log import logger
from powdo.servers.places import Places, is_own, last
from powdo.servers.pow.about import terms
from powdo.servers.pow.service import Service
from powdo.servers.proxies import Network, client_address
from powdo.servers.relay.about import PAGE_HEADERS, About, information, page
from powdo.servers.relay.connection import Connection
from powdo.servers.relay.hub import Hub
from powdo.servers.relay.policy import Policy
from powdo.servers.relay.rates import Meter, Rates
from powdo.servers.relay.store import Store
from powdo.servers.relay.verifying import Verifier
from powdo.servers.relay.writing import Outcome, Write

_HEARTBEAT = 60.0
#: At the end: seconds for answers to what has come in, for clients to take their leave, between two looks.
_TO_ANSWER = 3.0
_TO_LEAVE = 1.0
_LOOK_AGAIN = 0.01
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "Authorization, *",
    "Access-Control-Allow-Methods": "GET, POST",
}
_NEGOTIATED = _CORS | {"Vary": "Accept"}


def _silent(_text: str) -> None:
    return


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Where the relay listens, what it is called from outside, and what it lets in."""

    host: str
    port: int
    data: Path
    policy: Policy
    about: About = field(default_factory=About)
    url: str | None = None
    trusted_proxies: tuple[Network, ...] = ()
    admin: AdminApi | None = None
    management: Management | None = None
    #: Makes the service that mines for clients, in the loop that it will belong to.
    pow: Callable[[], Service] | None = None
    warn: Callable[[str], None] = _silent


class Relay:
    """One running relay."""

    def __init__(self, config: Config) -> None:
        self.policy = config.policy
        self.hub = Hub()
        self.verifier = Verifier()
        self.store = Store(config.data, self._delivered, config.policy.limits)
        self.urls: tuple[str, ...] = ()
        self._config = config
        limits = config.policy.limits
        self._places: Places[Connection] = Places(limits.max_connections, limits.max_connections_per_address)
        self._rates = Rates(config.policy.limits)
        self._stopping = False
        self.pow: Service | None = None
        self._mining: asyncio.Task[None] | None = None

    async def serve(self, listening: Callable[[str], None], stop: asyncio.Event) -> None:
        """Serve until *stop*; *listening* is told the address once clients can come.

        Raises: CannotCreateError.
        """
        application = web.Application()
        application.router.add_route(
            "*", PATHS, self._config.admin.answer if self._config.admin else answer_off
        )
        for path in _endpoint(self._config.url):
            application.router.add_get(path, self._answer)
            application.router.add_post(path, self._answer_call)
            application.router.add_route("OPTIONS", path, self._answer_options)
        runner = web.AppRunner(
            application, access_log=None, logger=logger(self._config.warn), shutdown_timeout=1.0
        )
        await runner.setup()
        try:
            self.verifier.start(asyncio.get_running_loop())
            self.store.start(asyncio.get_running_loop())
            if self._config.pow is not None:
                self.pow = self._config.pow()
                await self.pow.open()
                self._mining = asyncio.get_running_loop().create_task(self.pow.run())
            listening(await self._bind(runner))
            await stop.wait()
        finally:
            await self._end(runner)

    async def _end(self, runner: web.AppRunner) -> None:
        """Answer all that has come in, say goodbye, and end within a few seconds.

        Cancelled at any point, as by a second signal, it leaves a store from which nothing is lost.
        """
        self._stopping = True
        for site in tuple(runner.sites):
            await site.stop()
        await self._wait(self._stop_reading, _TO_ANSWER)
        if self.pow is not None and self._mining is not None:
            self._mining.cancel()
            await asyncio.wait((self._mining,))
            await self.pow.close()
        for connection in tuple(self._places.taken):
            await connection.say_goodbye()
        await self._wait(lambda: not self._places.taken, _TO_LEAVE)
        for connection in tuple(self._places.taken):
            connection.drop()
        self.verifier.close()
        self.store.stop()
        await self._wait(lambda: not self.store.is_writing())
        self.store.close()
        await runner.cleanup()

    def _stop_reading(self) -> bool:
        """Take in nothing more; return whether all that came in is answered.

        A connection is stopped again and again: aiohttp resumes one that it had stopped itself.
        """
        for connection in self._places.taken:
            connection.stop_reading()
        return not any(connection.is_busy() for connection in self._places.taken)

    @staticmethod
    async def _wait(done: Callable[[], bool], most: float = math.inf) -> None:
        """Wait until *done*, for *most* seconds; what is on its way in the loop comes first."""
        deadline = time.monotonic() + most
        while True:
            is_done = done()
            await asyncio.sleep(_LOOK_AGAIN)
            if (is_done and done()) or time.monotonic() > deadline:
                return

    async def _bind(self, runner: web.AppRunner) -> str:
        host, port = self._config.host, self._config.port
        site = web.TCPSite(runner, host, port, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            raise CannotCreateError(f"cannot listen on '{host}:{port}': {error.strerror or error}") from None
        port = int(runner.addresses[0][1])
        local = f"ws://{f'[{host}]' if ':' in host else host}:{port}"
        names = (local, f"ws://localhost:{port}") if is_own(host) else (local,)
        self.urls = (self._config.url, *names) if self._config.url else names
        return local

    def _delivered(self, outcomes: Sequence[tuple[Write, Outcome]]) -> None:
        """Answer and pass on what has been committed."""
        for write, outcome in outcomes:
            if isinstance(write.origin, Connection):
                write.origin.written(write.event.id, outcome)
            if outcome.new:
                self.hub.deliver(write.event, write.raw)

    # --- HTTP ---

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._answer_websocket(request)
        wanted = request.headers.get("Accept", "").lower()
        if "application/nostr+json" in wanted:
            managed = self._config.management is not None
            document = information(self.policy, self._config.about, managed=managed)
            if self.pow is not None:
                document["pow"] = terms(self.pow)
            return web.json_response(document, content_type="application/nostr+json", headers=_NEGOTIATED)
        if "text/html" in wanted:
            text = page(self.policy, self._config.about, self.urls[0])
            return web.Response(text=text, content_type="text/html", headers=_NEGOTIATED | PAGE_HEADERS)
        return web.Response(
            text="This is a Nostr relay. Speak to it with a Nostr client.\n", headers=_NEGOTIATED
        )

    async def _answer_call(self, request: web.Request) -> web.Response:
        if self._config.management is None or request.content_type != CONTENT_TYPE:
            raise web.HTTPMethodNotAllowed("POST", ("GET", "HEAD", "OPTIONS"))
        response = await self._config.management.answer(request, self.urls)
        response.headers.update(_CORS)
        return response

    async def _answer_options(self, _request: web.Request) -> web.Response:
        return web.Response(status=204, headers=_CORS)

    async def _answer_websocket(self, request: web.Request) -> web.StreamResponse:
        address = client_address(request, self._config.trusted_proxies)
        limits = self.policy.limits
        if self._stopping:
            raise last(web.HTTPServiceUnavailable(text="the relay is shutting down\n"))
        self._places.check(address, "relay")
        socket = web.WebSocketResponse(
            heartbeat=_HEARTBEAT,
            compress=False,
            max_msg_size=limits.max_message + 1,  # aiohttp refuses what is as long as this
            decode_text=False,
        )
        await socket.prepare(request)
        if request.transport is None:
            return socket  # gone already
        connection = Connection(self, socket, request.transport, Meter(self._rates, address))
        with self._places.hold(connection, address):
            await connection.run()
        return socket


def _endpoint(url: str | None) -> tuple[str, ...]:
    """Return the one place clients connect to (NIP-01): the path of *url*, or `/` where a proxy cuts it."""
    path = urlsplit(url or "").path.rstrip("/")
    return ("/", path, f"{path}/") if path else ("/",)
