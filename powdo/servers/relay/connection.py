"""The relay's side of the protocol with one client: EVENT, AUTH and what becomes of REQ (NIP-01, 42).

Rules:
- OK is said after the event is on the disk;
- a message that makes no sense is answered and harms nobody else;
- what is to be mined goes to the service, where there is one (`servers/pow`);
- what is asked for is in `subscriptions`, whose gift wraps follow the public keys proved here.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import struct
import time
from functools import partial
from typing import Protocol

from aiohttp import WSMsgType, web

from powdo.errors import PeerProtocolError
from powdo.nips.event import Event
from powdo.nips.nip42 import check_auth, normalize_url
from powdo.nips.pow_messages import AUTH_REQUIRED
from powdo.nips.relay_messages import (
    Authenticate,
    BadEventError,
    BadRequestError,
    Close,
    Publish,
    Request,
    UnknownWordError,
    encode,
    parse_client_message,
)
from powdo.servers.pow.desk import Desk
from powdo.servers.pow.service import Service
from powdo.servers.relay.hub import Hub
from powdo.servers.relay.outgoing import Outgoing
from powdo.servers.relay.policy import Policy, Verdict, decide
from powdo.servers.relay.query import is_ephemeral
from powdo.servers.relay.rates import Meter
from powdo.servers.relay.store import Store
from powdo.servers.relay.subscriptions import Subscriptions
from powdo.servers.relay.verifying import Verifier
from powdo.servers.relay.writing import Outcome, Write

_MOST_KEYS = 16
_GOODBYE = struct.pack("!H", 1001) + b"the relay is shutting down"
_TOO_FAST = "rate-limited: wait a minute, then go on more slowly"
_TOO_MANY = Verdict(False, _TOO_FAST)


class Context(Protocol):
    """What a connection needs of the server."""

    policy: Policy
    store: Store
    verifier: Verifier
    hub: Hub
    #: The addresses an AUTH may name; the public one first.
    urls: tuple[str, ...]
    #: Who mines for clients, where anybody does.
    pow: Service | None


class Connection:
    """One client."""

    def __init__(
        self, context: Context, socket: web.WebSocketResponse, transport: asyncio.Transport, meter: Meter
    ) -> None:
        self._context = context
        self._limits = context.policy.limits
        self._socket = socket
        self._transport = transport
        self._meter = meter
        self._outgoing = Outgoing(transport, self._limits)
        self._challenge = secrets.token_hex(16)
        self._keys: set[str] = set()
        self._subscriptions = Subscriptions(context.store, self._limits, self._outgoing, self._keys)
        self._desk = None if context.pow is None else Desk(context.pow, self._outgoing.put)
        self._in_flight = 0
        self._free: asyncio.Future[None] | None = None
        self._handling = False
        self._said_goodbye = False

    async def run(self) -> None:
        """Speak with the client until it leaves or is dropped."""
        self._context.hub.join(self)
        try:
            self._say("AUTH", self._challenge)
            async for message in self._socket:
                if self._said_goodbye:
                    continue  # until the client has heard it
                if message.type is not WSMsgType.TEXT:
                    self._say("NOTICE", "invalid: messages are text")
                    continue
                self._handling = True
                await self._handle(message.data)
                await self._outgoing.room()
                self._handling = False
        finally:
            if self._desk is not None:
                self._desk.close()
            self._context.hub.leave(self, self._keys)
            self._outgoing.drop()

    # --- the end ---

    def stop_reading(self) -> None:
        """Take nothing more from the client; what has come in is still answered."""
        self._transport.pause_reading()

    def is_busy(self) -> bool:
        """Return whether something that came in has yet to be answered, or an answer to be sent."""
        return self._handling or self._in_flight > 0 or not self._outgoing.is_empty()

    async def say_goodbye(self) -> None:
        """Tell the client that the server goes away; `run` ends when it has heard it.

        It may still be sending. Who closes a connection with unread data resets it, and then the last
        answers are lost: so what comes is read, and nothing is done about it.
        """
        self._said_goodbye = True
        with contextlib.suppress(ConnectionError):
            await self._socket.send_frame(_GOODBYE, WSMsgType.CLOSE)
        self._transport.resume_reading()

    def drop(self) -> None:
        """Cut the connection without another word."""
        self._outgoing.drop()

    # --- what the client says ---

    async def _handle(self, data: bytes) -> None:
        try:
            message = parse_client_message(data)
        except BadEventError as error:
            if error.event_id:
                self._ok(error.event_id, False, f"invalid: {error.message}")
            else:
                self._say("NOTICE", f"invalid: {error.message}")
            return
        except BadRequestError as error:
            self._subscriptions.refuse(error.subscription, f"invalid: {error.message}")
            return
        except UnknownWordError as error:
            if self._desk is None or error.value[0] != "POW":
                self._say("NOTICE", f"invalid: {error.message}")
            else:
                self._on_pow(self._desk, error.value)
            return
        except PeerProtocolError as error:
            self._say("NOTICE", f"invalid: {error.message}")
            return
        match message:
            case Publish(event=event):
                await self._on_event(event)
            case Authenticate(event=event):
                self._on_auth(event)
            case Request():
                await self._on_request(message)
            case Close(subscription=subscription):
                self._subscriptions.end(subscription)

    def _say(self, *parts: object) -> None:
        self._outgoing.put(encode(*parts))

    def _ok(self, event_id: str, accepted: bool, message: str) -> None:
        self._say("OK", event_id, accepted, message)

    # --- EVENT ---

    async def _on_event(self, event: Event) -> None:
        """Have *event* verified, when it is paid for: that is what costs."""
        context = self._context
        if not self._is_member() and not self._meter.may_publish(time.monotonic()):
            self._ok(event.id, False, _TOO_FAST)
            return
        if context.verifier.waiting() + context.store.waiting() >= self._limits.waiting:
            self._ok(event.id, False, "rate-limited: the relay is busy")
            return
        self._in_flight += 1
        context.verifier.submit(event, partial(self._on_verified, event))
        while self._in_flight >= self._limits.in_flight:
            self._free = asyncio.get_running_loop().create_future()
            await self._free

    def _on_verified(self, event: Event, problem: str | None) -> None:
        """Store or pass on an event whose form, id and signature are right."""
        now = int(time.time())
        verdict = self._judge(event, now) if problem is None else Verdict(False, f"invalid: {problem}")
        if not verdict.accepted:
            self._answer(event.id, False, verdict.message)
        elif is_ephemeral(event.kind):
            self._answer(event.id, True, "")
            self._context.hub.deliver(event, event.to_bytes())
        else:
            self._context.store.submit(Write(event, event.to_bytes(), self, now, verdict.stranger))

    def _judge(self, event: Event, now: int) -> Verdict:
        verdict = decide(event, self._context.policy, authenticated=self._keys, now=now)
        if not verdict.accepted or self._is_member():
            return verdict
        return verdict if self._meter.may_store(event, self._keys, time.monotonic()) else _TOO_MANY

    def _is_member(self) -> bool:
        return self._context.policy.is_member(self._keys)

    def _answer(self, event_id: str, accepted: bool, message: str) -> None:
        """Say OK for an event that was under way."""
        self._in_flight -= 1
        if self._free is not None and not self._free.done():
            self._free.set_result(None)
        self._ok(event_id, accepted, message)

    def written(self, event_id: str, outcome: Outcome) -> None:
        """Answer an event that was stored or refused by the store."""
        self._answer(event_id, outcome.accepted, outcome.message)

    # --- AUTH ---

    def _on_auth(self, event: Event) -> None:
        clock = time.monotonic()
        if not self._meter.may_authenticate(clock):
            self._ok(event.id, False, "rate-limited: too many attempts to authenticate")
            return
        named = event.tag("relay") or ""
        urls = self._context.urls
        try:
            url = next((url for url in urls if normalize_url(url) == normalize_url(named)), urls[0])
            pubkey = check_auth(event, self._challenge, url, int(time.time()))
        except PeerProtocolError as error:
            self._meter.failed(clock)
            self._ok(event.id, False, f"invalid: {error.message}")
            return
        if len(self._keys) >= _MOST_KEYS and pubkey not in self._keys:
            self._ok(event.id, False, f"restricted: at most {_MOST_KEYS} public keys on one connection")
            return
        self._keys.add(pubkey)
        self._context.hub.authenticated(self, pubkey)
        self._ok(event.id, True, "")

    # --- POW ---

    def _on_pow(self, desk: Desk, value: list[object]) -> None:
        if desk.is_full():
            self.drop()
        elif not self._keys:
            desk.notice(AUTH_REQUIRED)
            self._say("AUTH", self._challenge)
        elif self._is_member() or self._meter.may_ask(time.monotonic()):
            desk.ask(value, self._keys)
        else:
            desk.notice(_TOO_FAST)

    # --- REQ, COUNT ---

    async def _on_request(self, request: Request) -> None:
        if self._is_member() or self._meter.may_ask(time.monotonic()):
            await self._subscriptions.answer(request)
        else:
            self._subscriptions.refuse(request.subscription, _TOO_FAST)

    def offer(self, event: Event, raw: bytes) -> None:
        """Send a new event on to the subscriptions it matches."""
        self._subscriptions.offer(event, raw)
