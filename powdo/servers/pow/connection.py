"""The service's side of the protocol with one client: AUTH (NIP-42), and POW of who has authenticated."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Protocol

from aiohttp import WSMsgType, web

from powdo.errors import PeerProtocolError
from powdo.nips.event import Event
from powdo.nips.nip42 import check_auth, normalize_url
from powdo.nips.pow_messages import AUTH_REQUIRED
from powdo.nips.relay_messages import Authenticate, BadEventError, array, encode, parse_client_message
from powdo.servers.pow.desk import Desk
from powdo.servers.pow.service import Service
from powdo.servers.relay.limits import Limits
from powdo.servers.relay.outgoing import Outgoing
from powdo.servers.relay.rates import Meter

_MOST_KEYS = 16


class Context(Protocol):
    """What a connection needs of the server."""

    service: Service
    limits: Limits
    #: Seconds of silence with nothing to wait for, after which a client is sent away.
    idle: float
    #: The addresses an AUTH may name; the public one first.
    urls: tuple[str, ...]


class Connection:
    """One client."""

    def __init__(
        self, context: Context, socket: web.WebSocketResponse, transport: asyncio.Transport, meter: Meter
    ) -> None:
        self._context = context
        self._socket = socket
        self._meter = meter
        self._outgoing = Outgoing(transport, context.limits)
        self._desk = Desk(context.service, self._outgoing.put)
        self._challenge = secrets.token_hex(16)
        self._keys: set[str] = set()

    async def run(self) -> None:
        """Speak with the client until it leaves, or has been silent for too long with nothing to wait for."""
        self._say("AUTH", self._challenge)
        try:
            while True:
                try:
                    message = await self._socket.receive(self._context.idle)
                except TimeoutError:
                    if self._desk.is_idle():
                        await self._socket.close()
                        return
                    continue
                if self._desk.is_full():
                    return
                if message.type is WSMsgType.TEXT:
                    self._handle(message.data)
                    await self._outgoing.room()
                elif message.type is WSMsgType.BINARY:
                    self._desk.notice("invalid: messages are text")
                else:
                    return
        finally:
            self._desk.close()
            self._outgoing.drop()

    async def say_goodbye(self) -> None:
        """Close the connection."""
        await self._socket.close(code=1001, message=b"the service is shutting down")

    def _say(self, *parts: object) -> None:
        self._outgoing.put(encode(*parts))

    def _handle(self, data: bytes) -> None:
        if len(data) > self._context.limits.max_message:
            self._desk.notice(f"invalid: a message has at most {self._context.limits.max_message} bytes")
            return
        try:
            value = array(data)
            if value[0] == "POW":
                self._on_pow(value)
                return
            if value[0] != "AUTH":
                self._desk.notice(
                    f"unsupported: '{str(value[0])[:20]}'; this service knows AUTH and POW only"
                )
                return
            message = parse_client_message(data)
        except BadEventError as error:
            self._say("OK", error.event_id, False, f"invalid: {error.message}")
            return
        except PeerProtocolError as error:
            self._desk.notice(f"invalid: {error.message}")
            return
        if isinstance(message, Authenticate):
            self._on_auth(message.event)

    def _on_pow(self, value: list[object]) -> None:
        if not self._keys:
            self._desk.notice(AUTH_REQUIRED)
            self._say("AUTH", self._challenge)
        elif not self._meter.may_ask(time.monotonic()):
            self._desk.notice("rate-limited: wait a minute, then go on more slowly")
        else:
            self._desk.ask(value, self._keys)

    def _on_auth(self, event: Event) -> None:
        clock = time.monotonic()
        if not self._meter.may_authenticate(clock):
            self._say("OK", event.id, False, "rate-limited: too many attempts to authenticate")
            return
        named, urls = event.tag("relay") or "", self._context.urls
        try:
            url = next((url for url in urls if normalize_url(url) == normalize_url(named)), urls[0])
            pubkey = check_auth(event, self._challenge, url, int(time.time()))
        except PeerProtocolError as error:
            self._meter.failed(clock)
            self._say("OK", event.id, False, f"invalid: {error.message}")
            return
        if len(self._keys) >= _MOST_KEYS and pubkey not in self._keys:
            self._say(
                "OK", event.id, False, f"restricted: at most {_MOST_KEYS} public keys on one connection"
            )
            return
        self._keys.add(pubkey)
        self._say("OK", event.id, True, "")
