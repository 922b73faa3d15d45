"""How a relay process ends: what came in is answered and kept, clients are told, and no one holds it up."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import socket
import time
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.relay_helpers import ask, client, new_key, signed
from tests.relay_wire import HANDSHAKE, Served, frame, relay_process

KEY = new_key()
#: Seconds in which a relay ends, whatever its clients do; on a busy machine too.
FEW = 8.0


async def until_it_ends(relay: Served, limit: float) -> float:
    """Return the seconds it takes the relay to end."""
    begin = time.monotonic()
    await asyncio.to_thread(relay.process.wait, limit)
    return time.monotonic() - begin


class Sender:
    """A client that sends without a pause, and notes what it sent when, what was OKed, and how it ended."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.sent: list[str] = []
        self.oked: set[str] = set()
        self.code: int | None = None

    async def run(self, url: str) -> None:
        """Send and listen until the relay ends the connection."""
        async with connect(url, compression=None) as connection:
            listener = asyncio.ensure_future(self._listen(connection))
            with contextlib.suppress(ConnectionClosed):
                for count in itertools.count():
                    event = signed(KEY, content=f"{self.number} {count} " + "x" * 2000)
                    await connection.send(json.dumps(["EVENT", event.to_json()]))
                    self.sent.append(event.id)
                    await asyncio.sleep(0)
            await listener

    async def _listen(self, connection: ClientConnection) -> None:
        try:
            while True:
                message = json.loads(await connection.recv())
                if message[0] == "OK":
                    assert message[2] is True, message
                    self.oked.add(message[1])
        except ConnectionClosed as closed:
            self.code = closed.rcvd.code if closed.rcvd is not None else None


def test_a_relay_under_load_answers_what_came_in_and_says_goodbye(tmp_path: Path) -> None:
    """Senders see 1001 after their last OK, a subscriber all that was stored; what was OKed is there."""

    async def load(relay: Served) -> tuple[list[Sender], set[str]]:
        senders = [Sender(number) for number in range(4)]
        seen: set[str] = set()
        async with client(relay.url) as reader:
            assert await reader.ids({"limit": 0}) == []
            running = [asyncio.ensure_future(sender.run(relay.url)) for sender in senders]
            while min(len(sender.oked) for sender in senders) < 50:
                await asyncio.sleep(0.01)
            relay.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    seen.add((await reader.hear())[2]["id"])
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "the relay is shutting down")
            await asyncio.gather(*running)
            assert await until_it_ends(relay, FEW) < FEW
        return senders, seen

    with relay_process(tmp_path, "--open") as relay:
        senders, seen = asyncio.run(load(relay))
        assert relay.process.returncode == -signal.SIGTERM
        assert relay.stderr.read_text() == ""

    async def stored() -> set[str]:
        found: set[str] = set()
        async with client(again.url) as reader:
            for sender in senders:
                for begin in range(0, len(sender.sent), 400):
                    found.update(await reader.ids({"ids": sender.sent[begin : begin + 400]}))
        return found

    with relay_process(tmp_path, "--open") as again:
        found = asyncio.run(stored())
    assert [sender.code for sender in senders] == [1001] * 4
    oked = set().union(*(sender.oked for sender in senders))
    assert oked == found  # nothing was OKed and lost, and nothing was stored without its OK coming through
    assert seen == found


async def with_a_deaf_client(relay: Served) -> socket.socket:
    """Return a connection that has asked for more than the system buffers, and reads nothing of it."""
    async with client(relay.url) as writer:
        for number in range(100):
            assert (await writer.publish(signed(KEY, content=f"{number}" + "x" * 100_000)))[0]
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.connect(("127.0.0.1", relay.port))
    line.sendall(HANDSHAKE + frame(b'["REQ","s",{}]'))
    await asyncio.sleep(0.5)
    return line


def test_a_client_that_does_not_read_holds_nothing_up(tmp_path: Path) -> None:
    """The relay ends within seconds, having said goodbye to the others; nobody new comes in meanwhile."""

    async def scenario(relay: Served) -> None:
        line = await with_a_deaf_client(relay)
        async with client(relay.url) as reader:
            relay.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.5)
            assert relay.process.poll() is None
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", relay.port)
            with pytest.raises(ConnectionClosed) as closed:
                await reader.hear(FEW)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
            assert await until_it_ends(relay, FEW) < FEW
        line.close()

    with relay_process(tmp_path, "--open") as relay:
        asyncio.run(scenario(relay))
        assert relay.process.returncode == -signal.SIGTERM
        assert relay.stderr.read_text() == ""


def test_a_second_signal_ends_the_relay_at_once(tmp_path: Path) -> None:
    """Who cannot wait sends another; what was OKed is there all the same."""

    async def scenario(relay: Served) -> None:
        line = await with_a_deaf_client(relay)
        relay.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        assert relay.process.poll() is None
        relay.process.send_signal(signal.SIGTERM)
        assert await until_it_ends(relay, FEW) < 1.0
        line.close()

    with relay_process(tmp_path, "--open") as relay:
        asyncio.run(scenario(relay))
        assert relay.process.returncode == -signal.SIGTERM
        assert relay.stderr.read_text() == ""
    with relay_process(tmp_path, "--open") as again:
        assert len(ask(again.url, {"authors": [KEY.pubkey]})) == 100
