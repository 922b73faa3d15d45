"""The service alone on one port: websockets with AUTH (NIP-42) and POW, and the NIP-11 document."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from powdo.errors import CannotCreateError
from powdo.servers.log import logger
from powdo.servers.places import Places, is_own
from powdo.servers.pow.about import information
from powdo.servers.pow.connection import Connection
from powdo.servers.pow.service import Service
from powdo.servers.proxies import Network, client_address
from powdo.servers.relay.limits import Limits
from powdo.servers.relay.rates import Meter, Rates

_HEARTBEAT = 20.0
_OVERSIZE = 4
_CORS = {"Access-Control-Allow-Origin": "*", "Vary": "Accept"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Where the service listens, what it is called from outside, and what one client may do."""

    host: str
    port: int
    warn: Callable[[str], None]
    url: str | None = None
    trusted_proxies: tuple[Network, ...] = ()
    name: str = "powdo proof of work"
    idle: float = 600.0
    limits: Limits = field(default_factory=Limits)


class PowServer:
    """One running server."""

    def __init__(self, config: Config, service: Service) -> None:
        self.service = service
        self.limits, self.idle = config.limits, config.idle
        self._config = config
        self.urls: tuple[str, ...] = ()
        self.rates = Rates(config.limits)
        self._places: Places[Connection] = Places(
            config.limits.max_connections, config.limits.max_connections_per_address
        )

    async def serve(self, listening: Callable[[str], None], stop: asyncio.Event) -> None:
        """Serve until *stop*; *listening* is told the address once clients can come.

        Raises: CannotCreateError, PowdoError when the books cannot be read.
        """
        application = web.Application()
        application.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(
            application, access_log=None, logger=logger(self._config.warn), shutdown_timeout=1.0
        )
        await runner.setup()
        work = asyncio.get_running_loop().create_task(self.service.run())
        try:
            await self.service.open()
            listening(await self._bind(runner))
            await stop.wait()
        finally:
            for site in tuple(runner.sites):
                await site.stop()
            work.cancel()
            await asyncio.wait((work,))
            await self.service.close()
            for connection in tuple(self._places.taken):
                await connection.say_goodbye()
            await runner.cleanup()

    async def _bind(self, runner: web.AppRunner) -> str:
        host, port = self._config.host, self._config.port
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise CannotCreateError(f"cannot listen on '{host}:{port}': {error.strerror or error}") from None
        port = int(runner.addresses[0][1])
        local = f"ws://{f'[{host}]' if ':' in host else host}:{port}"
        names = (local, f"ws://localhost:{port}") if is_own(host) else (local,)
        self.urls = (self._config.url, *names) if self._config.url else names
        return local

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._answer_websocket(request)
        if "application/nostr+json" in request.headers.get("Accept", "").lower():
            limit = self._config.limits.max_message
            document = information(self.service, name=self._config.name, max_message=limit)
            return web.json_response(document, content_type="application/nostr+json", headers=_CORS)
        return web.Response(
            text="This service mines proof of work. Speak to it with `powdo pow request`.\n", headers=_CORS
        )

    async def _answer_websocket(self, request: web.Request) -> web.StreamResponse:
        address = client_address(request, self._config.trusted_proxies)
        limits = self._config.limits
        self._places.check(address, "service")
        socket = web.WebSocketResponse(
            heartbeat=_HEARTBEAT,
            compress=False,
            max_msg_size=_OVERSIZE * limits.max_message,  # up to there a NOTICE says what is too long
            decode_text=False,
        )
        await socket.prepare(request)
        if request.transport is None:
            return socket  # gone already
        connection = Connection(self, socket, request.transport, Meter(self.rates, address))
        with self._places.hold(connection, address):
            await connection.run()
        return socket
