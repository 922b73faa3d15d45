"""A running relay, and a client that speaks raw JSON to it, for the tests of relay and client."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from powdo.nips.curve import SecretKey
from powdo.nips.event import Event, Tags, Unsigned, sign
from powdo.nips.nip42 import auth_event
from powdo.nips.pow import difficulty
from powdo.servers.relay.application import Config, Relay
from powdo.servers.relay.policy import Policy


def new_key() -> SecretKey:
    """Return a fresh key."""
    return SecretKey(secrets.token_bytes(32))


def signed(
    key: SecretKey, kind: int = 1, tags: Tags = (), content: str = "", *, created_at: int | None = None
) -> Event:
    """Return a signed event, dated now unless told otherwise."""
    at = int(time.time()) if created_at is None else created_at
    return sign(Unsigned(key.pubkey, at, kind, tags, content), key, secrets.token_bytes(32))


def wrap_for(recipient: str, *, kind: int = 1059, tags: Tags = (), created_at: int | None = None) -> Event:
    """Return an event that looks like a gift wrap for *recipient*, signed by a one-time key."""
    return signed(new_key(), kind, (("p", recipient), *tags), "ciphertext", created_at=created_at)


def mined_wrap(recipient: str, bits: int) -> Event:
    """Return a gift wrap for *recipient* that carries *bits* of committed proof of work (NIP-13)."""
    key = new_key()
    for nonce in count():
        tags = (("p", recipient), ("nonce", str(nonce), str(bits)))
        draft = Unsigned(key.pubkey, int(time.time()), 1059, tags, "ciphertext")
        if difficulty(draft.id) >= bits:
            return sign(draft, key, secrets.token_bytes(32))
    raise AssertionError("unreachable")


class Client:
    """One raw connection."""

    def __init__(self, connection: ClientConnection, url: str) -> None:
        self.connection = connection
        self.url = url
        self.challenge = ""

    async def say(self, *parts: Any) -> None:
        """Send one message."""
        await self.connection.send(json.dumps(parts))

    async def hear(self, timeout: float = 5.0) -> list[Any]:
        """Return the next message."""
        message: list[Any] = json.loads(await asyncio.wait_for(self.connection.recv(), timeout))
        return message

    async def quiet(self, timeout: float = 0.2) -> bool:
        """Return whether nothing comes."""
        try:
            await self.hear(timeout)
        except TimeoutError:
            return True
        return False

    async def publish(self, event: Event) -> tuple[bool, str]:
        """Return what OK says."""
        await self.say("EVENT", event.to_json())
        while (message := await self.hear())[0] != "OK" or message[1] != event.id:
            pass
        return message[2], message[3]

    async def authenticate(self, key: SecretKey, *, url: str | None = None) -> tuple[bool, str]:
        """Return what OK says of an AUTH by *key*."""
        event = auth_event(self.challenge, url or self.url, key, int(time.time()), secrets.token_bytes(32))
        await self.say("AUTH", event.to_json())
        message = await self.hear()
        return message[2], message[3]

    async def ask(self, *filters: dict[str, Any], name: str = "s") -> list[dict[str, Any]] | str:
        """Return the stored events, or the reason of CLOSED."""
        await self.say("REQ", name, *filters)
        events = []
        while True:
            message = await self.hear()
            if message[0] == "CLOSED":
                return str(message[2])
            if message[0] == "EOSE":
                return events
            if message[0] == "EVENT" and message[1] == name:
                events.append(message[2])

    async def ids(self, *filters: dict[str, Any]) -> list[str]:
        """Return the ids of the stored events."""
        answer = await self.ask(*filters)
        assert isinstance(answer, list), answer
        return [event["id"] for event in answer]


@asynccontextmanager
async def client(url: str, key: SecretKey | None = None) -> AsyncIterator[Client]:
    """Yield a connection, authenticated as *key* when one is given."""
    async with connect(url, compression=None, max_size=None) as connection:
        made = Client(connection, url)
        message = await made.hear()
        assert message[0] == "AUTH"
        made.challenge = message[1]
        if key is not None:
            assert await made.authenticate(key) == (True, "")
        yield made


@asynccontextmanager
async def running_relay(data: Path, policy: Policy, **config: Any) -> AsyncIterator[str]:
    """Yield the address of a relay in this process."""
    relay = Relay(Config(host="127.0.0.1", port=0, data=data, policy=policy, **config))
    stop = asyncio.Event()
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    server = asyncio.ensure_future(relay.serve(ready.set_result, stop))
    try:
        await asyncio.wait({ready, server}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            server.result()
        yield ready.result()
    finally:
        stop.set()
        await server


@contextmanager
def answering(answer: Callable[[ServerConnection], None]) -> Iterator[str]:
    """Give the address of a server on loopback that treats each of its connections as *answer* does."""
    with serve(answer, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


@contextmanager
def relay_thread(data: Path, policy: Policy, **config: Any) -> Iterator[str]:
    """Yield the address of a relay in a thread of this process."""
    ready = threading.Event()
    held: dict[str, Any] = {}

    async def main() -> None:
        async with running_relay(data, policy, **config) as url:
            held.update(url=url, loop=asyncio.get_running_loop(), stop=asyncio.Event())
            ready.set()
            await held["stop"].wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield held["url"]
    finally:
        held["loop"].call_soon_threadsafe(held["stop"].set)
        thread.join()


def ask(url: str, *filters: dict[str, Any], key: SecretKey | None = None) -> list[str]:
    """Return the ids of what the relay at *url* has stored."""

    async def main() -> list[str]:
        async with client(url, key) as reader:
            return await reader.ids(*filters)

    return asyncio.run(main())
