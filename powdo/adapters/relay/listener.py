"""Follows a subscription on several relays at once: old events page by page, then live ones.

Rules:
- each relay is followed on its own; one that is away, slow or talks nonsense does not disturb the others;
- what the sink does (a database, stdout) happens in one thread, an event after the other, so that a slow
  reader of stdout slows the relays down and does not fill the memory;
- the time of a complete sync is the time before it was asked for, never a date from an event.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from websockets.asyncio.client import ClientConnection, connect

from powdo.adapters.relay.errors import FAILURES, babble, nonsense, refusal, unreachable
from powdo.adapters.relay.options import connect_options
from powdo.adapters.relay.staying import Waiting
from powdo.errors import PeerProtocolError, PowdoError
from powdo.nips.event import Event
from powdo.nips.filters import Filter
from powdo.nips.relay_happenings import (
    AuthRefused,
    Challenged,
    Forged,
    Happening,
    Noticed,
    Received,
    SubscriptionRefused,
    Synced,
)
from powdo.nips.relay_paging import since_after
from powdo.nips.relay_session import RelaySession

AuthSigner = Callable[[str, str], Event]
_T = TypeVar("_T")

_KEY = "wraps"
_LONGEST_WAIT = 300.0
_ALIVE = 300.0
_PING = 20.0


class _OursError(Exception):
    """What no relay is to blame for: the sink, or our key. It ends the listening."""

    def __init__(self, error: PowdoError) -> None:
        super().__init__(error.message)
        self.error = error


class Sink(Protocol):
    """What becomes of what the relays send; all but `trouble` and `said` may take their time."""

    def last_sync(self, relay: str) -> int | None:
        """Return when everything of *relay* had been received, in Unix seconds."""

    def store(self, relay: str, event: Event) -> None:
        """Keep one checked event; it may come more than once."""

    def synced(self, relay: str, at: int) -> None:
        """Note that everything *relay* had at *at* has been stored."""

    def trouble(self, relay: str, error: PowdoError) -> None:
        """Hear that a relay is away, refuses, or sent something false."""

    def said(self, relay: str, message: str) -> None:
        """Hear a NOTICE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to follow, and how."""

    relays: Sequence[str]
    filter: Filter
    sign_auth: AuthSigner | None
    timeout: float = 30.0
    until_eose: bool = False
    shortest_wait: float = 1.0


async def listen(plan: Plan, sink: Sink, stop: asyncio.Event) -> None:
    """Follow all relays of *plan* until *stop*, or until each has sent what it had.

    Raises what the sink or the signer raises; what relays do wrong is the sink's `trouble`.
    """
    executor = ThreadPoolExecutor(1, thread_name_prefix="sink")
    followers = [asyncio.ensure_future(_Follower(plan, sink, url, executor).run()) for url in plan.relays]
    stopping = asyncio.ensure_future(stop.wait())
    try:
        while (running := [item for item in followers if not item.done()]) and not stop.is_set():
            await asyncio.wait([*running, stopping], return_when=asyncio.FIRST_COMPLETED)
            for follower in followers:
                if follower.done():
                    follower.result()
    except _OursError as failure:
        raise failure.error from None
    finally:
        for task in (stopping, *followers):
            task.cancel()
        await asyncio.wait({stopping, *followers}, timeout=plan.timeout)
        executor.shutdown(wait=False, cancel_futures=True)


class _Follower:
    """One relay."""

    def __init__(self, plan: Plan, sink: Sink, url: str, executor: ThreadPoolExecutor) -> None:
        self._plan = plan
        self._sink = sink
        self._url = url
        self._executor = executor
        self._failures = 0
        self._synced = False
        self._started = 0
        self._alive = 0.0

    async def run(self) -> None:
        while True:
            try:
                await self._connect()
                return
            except PowdoError as error:
                self._sink.trouble(self._url, error)
            if self._plan.until_eose:
                return
            longest = min(self._plan.shortest_wait * 2**self._failures, _LONGEST_WAIT)
            self._failures = min(self._failures + 1, 20)
            await asyncio.sleep(random.uniform(longest / 2, longest))  # noqa: S311  # jitter is no secret

    async def _connect(self) -> None:
        try:
            options = connect_options(self._url, self._plan.timeout) | {"create_connection": Waiting}
            async with connect(self._url, ping_interval=_PING, ping_timeout=_PING, **options) as connection:
                await self._follow(connection)
        except FAILURES as error:
            raise unreachable(self._url, error) from None
        except PeerProtocolError as error:
            raise babble(self._url, error) from None

    async def _follow(self, connection: ClientConnection) -> None:
        session = RelaySession(eager=True)
        since = since_after(await self._in_sink(self._sink.last_sync, self._url))
        self._started, self._synced = int(time.time()), False
        session.subscribe(_KEY, replace(self._plan.filter, since=since))
        deadline = time.monotonic() + self._plan.timeout
        while not (self._synced and self._plan.until_eose):
            for message in session.outgoing():
                await connection.send(message)
            try:
                wait = _ALIVE if self._synced else max(0.0, deadline - time.monotonic())
                data = await asyncio.wait_for(connection.recv(), wait)
            except TimeoutError:
                if not self._synced:
                    raise
                data = None  # quiet, yet answering our pings
            if data is not None and await self._received(session, data):
                deadline = time.monotonic() + self._plan.timeout
            await self._note_alive()

    async def _note_alive(self) -> None:
        """Move the time of the last complete sync on while the connection stands."""
        if self._synced and time.monotonic() - self._alive > _ALIVE:
            self._alive = time.monotonic()
            await self._in_sink(self._sink.synced, self._url, int(time.time() - 3 * _PING))

    async def _received(self, session: RelaySession, data: str | bytes) -> bool:
        """Handle one message; return whether it brought the sync forward."""
        happenings = session.receive(data)
        sending = False
        while happenings:
            happening = happenings.pop(0)
            match happening:
                case Received(event=event):
                    await self._in_sink(self._sink.store, self._url, event)
                case Synced():
                    await self._on_synced()
                case Challenged(challenge=challenge):
                    happenings += self._challenged(session, challenge)
                case SubscriptionRefused(message=message) | AuthRefused(message=message):
                    raise refusal(self._url, message)
                case Forged(error=error):
                    self._sink.trouble(self._url, nonsense(self._url, error))
                    continue
                case Noticed(message=message):
                    self._sink.said(self._url, message)
                    continue
            sending = True
        return sending

    async def _on_synced(self) -> None:
        self._synced, self._failures = True, 0
        self._alive = time.monotonic()
        await self._in_sink(self._sink.synced, self._url, self._started)

    def _challenged(self, session: RelaySession, challenge: str) -> list[Happening]:
        if self._plan.sign_auth is None:
            return session.decline("this relay is not told who reads")
        try:
            session.authenticate(self._plan.sign_auth(challenge, self._url))
        except PowdoError as error:
            raise _OursError(error) from None
        return []

    async def _in_sink(self, function: Callable[..., _T], *args: object) -> _T:
        """Run *function* in the sink's thread; an event in hand is finished even when we are stopped."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, lambda: function(*args))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait({future}, timeout=5.0)
            raise
        except PowdoError as error:
            raise _OursError(error) from None
