"""The relay's side of the protocol with one client (NIP-01, 42, 45).

Rules:
- OK is said after the event is on the disk; a live event is held back until EOSE of what is stored;
- a message that makes no sense is answered and harms nobody else;
- gift wraps are found, counted and passed on only for the public keys this connection has proved.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import struct
import time
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from aiohttp import WSMsgType, web

from powdo.errors import OutputError, PeerProtocolError
from powdo.nips.event import Event
from powdo.nips.filters import Filter
from powdo.nips.nip42 import check_auth, normalize_url
from powdo.nips.relay_messages import (
    Authenticate,
    BadEventError,
    BadRequestError,
    Close,
    Publish,
    Request,
    encode,
    parse_client_message,
)
from powdo.servers.relay.hub import Hub
from powdo.servers.relay.outgoing import Outgoing, blocks
from powdo.servers.relay.policy import WRAPS, Policy, Verdict, decide
from powdo.servers.relay.query import is_ephemeral
from powdo.servers.relay.rates import Meter
from powdo.servers.relay.store import Store
from powdo.servers.relay.verifying import Verifier
from powdo.servers.relay.writing import Outcome, Write

_MOST_KEYS = 16
_MOST_HELD = 4096
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


@dataclass(slots=True)
class _Subscription:
    filters: tuple[Filter, ...]
    head: bytes
    #: Live events that came before EOSE; None after it.
    held: list[tuple[str, bytes]] | None
    #: Stored events sent already, while the hub may still hand one of them on.
    sent: set[bytes] | None = None
    #: How many transactions must have been handed on before `sent` is forgotten.
    settled: int = 0


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
        self._subscriptions: dict[str, _Subscription] = {}
        self._in_flight = 0
        self._free = asyncio.Event()
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
            self._subscriptions.pop(error.subscription, None)
            self._say("CLOSED", error.subscription, f"invalid: {error.message}")
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
                self._subscriptions.pop(subscription, None)

    def _say(self, *parts: object) -> None:
        self._outgoing.put(encode(*parts))

    def _ok(self, event_id: str, accepted: bool, message: str) -> None:
        self._say("OK", event_id, accepted, message)

    # --- EVENT ---

    async def _on_event(self, event: Event) -> None:
        """Have *event* verified, when it is paid for: that is what costs."""
        paid = self._is_member() or self._meter.may_publish(time.monotonic())
        if not paid:
            self._ok(event.id, False, _TOO_FAST)
            return
        self._in_flight += 1
        self._context.verifier.submit(event, partial(self._on_verified, event))
        while self._in_flight >= self._limits.in_flight:
            self._free.clear()
            await self._free.wait()

    def _on_verified(self, event: Event, problem: str | None) -> None:
        """Store or pass on an event whose form, id and signature are right."""
        now = int(time.time())
        verdict = self._judge(event, now) if problem is None else Verdict(False, f"invalid: {problem}")
        if not verdict.accepted:
            self._answer(event.id, False, verdict.message)
        elif is_ephemeral(event.kind):
            self._answer(event.id, True, "")
            self._context.hub.deliver(event, event.to_bytes())
        elif self._context.store.waiting() >= self._limits.waiting:
            self._answer(event.id, False, "rate-limited: the relay is busy")
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
        self._free.set()
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

    # --- REQ, COUNT ---

    async def _on_request(self, request: Request) -> None:
        refusal = self._refusal(request)
        if refusal:
            self._subscriptions.pop(request.subscription, None)
            self._say("CLOSED", request.subscription, refusal)
            return
        try:
            if request.count:
                counted = await self._context.store.count(request.filters, tuple(self._keys))
                self._say("COUNT", request.subscription, {"count": counted})
            else:
                await self._subscribe(request)
        except OutputError:
            self._subscriptions.pop(request.subscription, None)
            self._say("CLOSED", request.subscription, "error: cannot read the store")

    def _refusal(self, request: Request) -> str | None:
        limits = self._limits
        if not self._context.policy.is_member(self._keys) and not self._meter.may_ask(time.monotonic()):
            return _TOO_FAST
        if len(request.filters) > limits.max_filters:
            return f"invalid: at most {limits.max_filters} filters"
        if sum(_size(asked) for asked in request.filters) > limits.max_filter_values:
            return f"invalid: at most {limits.max_filter_values} values in filters"
        if (
            not request.count
            and request.subscription not in self._subscriptions
            and len(self._subscriptions) >= limits.max_subscriptions
        ):
            return f"restricted: at most {limits.max_subscriptions} subscriptions"
        for asked in request.filters:
            if asked.kinds is None or WRAPS.isdisjoint(asked.kinds):
                continue
            if not self._keys:
                return "auth-required: gift wraps are shown to their recipient only"
            recipients = (asked.tags or {}).get("p")
            if recipients and WRAPS.issuperset(asked.kinds) and self._keys.isdisjoint(recipients):
                return "restricted: gift wraps are shown to their recipient only"
        return None

    async def _subscribe(self, request: Request) -> None:
        head = encode("EVENT", request.subscription)[:-1] + b","
        subscription = _Subscription(request.filters, head, held=[])
        self._subscriptions[request.subscription] = subscription
        sent: set[bytes] = set()
        for asked in request.filters:
            limit = (
                self._limits.max_limit if asked.limit is None else min(asked.limit, self._limits.max_limit)
            )
            found = dict(await self._context.store.query(asked, tuple(self._keys), limit))
            for block in blocks(head, [raw for event_id, raw in found.items() if event_id not in sent]):
                self._outgoing.put_frames(block)
                await self._outgoing.room()
            sent.update(found)
        self._say("EOSE", request.subscription)
        held, subscription.held = subscription.held or [], None
        subscription.sent, subscription.settled = sent, self._context.store.begun
        for event_id, raw in held:
            if bytes.fromhex(event_id) not in sent:
                self._outgoing.put(head + raw + b"]")

    def offer(self, event: Event, raw: bytes) -> None:
        """Send a new event on to the subscriptions it matches."""
        for subscription in self._subscriptions.values():
            if not any(asked.matches(event) for asked in subscription.filters):
                continue
            if subscription.held is None:
                if self._is_repeated(subscription, event):
                    continue
                self._outgoing.put(subscription.head + raw + b"]")
            elif len(subscription.held) < _MOST_HELD:
                subscription.held.append((event.id, raw))
            else:
                self._outgoing.drop()

    def _is_repeated(self, subscription: _Subscription, event: Event) -> bool:
        """Return whether *event* came among the stored ones: committed before, handed on after."""
        if subscription.sent is None:
            return False
        if self._context.store.handed_on >= subscription.settled:
            subscription.sent = None
            return False
        return bytes.fromhex(event.id) in subscription.sent


def _size(asked: Filter) -> int:
    values = (asked.ids, asked.authors, asked.kinds, *(asked.tags or {}).values())
    return sum(len(item) for item in values if item is not None)
