"""Five hundred subscribers, writers, and readers that stop reading: the rest get all, once, in time."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import socket
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from relay_helpers import new_key, signed, wrap_for
from relay_wire import Line, Served, connect_line, publish, relay_process, say

from powdo.nips.curve import SecretKey
from powdo.nips.event import Event
from powdo.nips.nip42 import auth_event
from powdo.servers.relay.tables import make_tables

READERS, RECIPIENTS, STALLED, WRITERS, NOTES = 400, 100, 5, 4, 40
NOTE, LARGE, WRAP = 1, 2, 1059
#: What a reader that does not read leaves to the relay: far more than the relay keeps for it (twice 4 MiB).
LARGE_ONES, LARGE_SIZE = 100, 240_000
_id = re.compile(rb'"id":"([0-9a-f]{64})"').search


class Reader:
    """A connection that notes the ids of what it hears, and the longest way of a note in seconds."""

    def __init__(self, key: SecretKey | None = None) -> None:
        self.key = key
        self.ids: list[str] = []
        self.slowest = 0.0
        self.ready = asyncio.Event()
        self.challenge = ""
        self.line: Line

    def heard(self, message: bytes) -> None:
        """Take one message."""
        if message.startswith(b'["EVENT"'):
            found = _id(message)
            assert found
            self.ids.append(found[1].decode())
            if sent := re.search(rb"sent (\d+\.\d+)", message):
                self.slowest = max(self.slowest, time.monotonic() - float(sent[1]))
        elif message.startswith(b'["AUTH"'):
            self.challenge = json.loads(message)[1]
            self.ready.set()
        elif message.startswith(b'["EOSE"'):
            self.ready.set()

    async def connect(self, served: Served, *filters: dict[str, object]) -> None:
        """Connect, authenticate with a key if there is one, and subscribe."""
        self.line = await connect_line(served, self.heard)
        await self.ready.wait()
        self.ready.clear()
        if self.key is not None:
            at = int(time.time())
            proof = auth_event(self.challenge, served.url, self.key, at, secrets.token_bytes(32))
            self.line.transport.write(say("AUTH", proof.to_json()))
        self.line.transport.write(say("REQ", "s", *filters))
        await self.ready.wait()


async def write(served: Served, events: Iterable[Event], pause: float) -> None:
    """Publish *events*, made one after the other with *pause* seconds between, and hear OK of each."""
    answers: list[list[object]] = []

    def heard(message: bytes) -> None:
        words = json.loads(message)
        if words[0] == "OK":
            answers.append(words[1:])

    line, sent = await connect_line(served, heard), []
    for event in events:
        line.transport.write(publish(event))
        sent.append(event.id)
        await asyncio.sleep(pause)
    async with asyncio.timeout(20):
        while len(answers) < len(sent):
            await asyncio.sleep(0.01)
    assert sorted(answers) == sorted([event_id, True, ""] for event_id in sent)
    await line.cut()


def notes_now(made: list[Event]) -> Iterator[Event]:
    """Yield notes that tell when they were sent; *made* gets them too."""
    key = new_key()
    for number in range(NOTES):
        made.append(signed(key, NOTE, content=f"{number} sent {time.monotonic():.6f} " + "x" * 2000))
        yield made[-1]


async def come_and_go(served: Served, done: asyncio.Event) -> None:
    """Subscribe and vanish without a word, again and again."""
    while not done.is_set():
        reader = Reader()
        await reader.connect(served, {"kinds": [NOTE], "limit": 5})
        await asyncio.sleep(0.02)
        await reader.line.cut()


async def stalled(served: Served, said: bytes) -> Reader:
    """Return a client that has said something and no longer reads what it hears."""
    reader = Reader()
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    small.setblocking(False)
    await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", served.port))
    _, reader.line = await asyncio.get_running_loop().create_connection(
        lambda: Line(reader.heard), sock=small
    )
    await reader.ready.wait()
    reader.line.transport.pause_reading()
    reader.line.transport.write(said)
    return reader


def test_five_hundred_subscribers(tmp_path: Path) -> None:
    """Notes reach all, wraps their recipient, each once and soon; who does not read is dropped."""

    async def main() -> None:
        readers = [Reader() for _ in range(READERS)]
        recipients = [Reader(new_key()) for _ in range(RECIPIENTS)]
        for reader in readers:
            await reader.connect(served, {"kinds": [NOTE]})
        for reader in recipients:
            await reader.connect(served, {"kinds": [NOTE]}, {"kinds": [WRAP], "#p": [reader.key.pubkey]})
        connected = served.memory()
        assert connected < before + (READERS + RECIPIENTS) * (60 << 10)
        asleep = [await stalled(served, say("REQ", "s", {"kinds": [LARGE]})) for _ in range(STALLED)]

        notes: list[Event] = []
        wraps = [wrap_for(reader.key.pubkey) for reader in recipients]
        key, done = new_key(), asyncio.Event()
        large = [signed(key, LARGE, content=f"{n}" + "x" * LARGE_SIZE) for n in range(LARGE_ONES)]
        others = [asyncio.ensure_future(come_and_go(served, done)) for _ in range(3)]
        await asyncio.gather(
            *(write(served, notes_now(notes), 0.05) for _ in range(WRITERS)),
            write(served, wraps, 0.01),
            write(served, large, 0.02),
        )
        done.set()
        await asyncio.gather(*others)
        expected = sorted(event.id for event in notes)
        async with asyncio.timeout(20):
            while min(len(reader.ids) for reader in (*readers, *recipients)) < len(expected):
                await asyncio.sleep(0.02)
            for reader in asleep:
                reader.line.transport.resume_reading()
                await reader.line.lost.wait()
        for reader in readers:
            assert sorted(reader.ids) == expected
        for reader, wrap in zip(recipients, wraps, strict=True):
            assert sorted(reader.ids) == sorted([*expected, wrap.id])
        assert max(reader.slowest for reader in (*readers, *recipients)) < 5
        assert max(len(reader.ids) for reader in asleep) < LARGE_ONES
        assert served.peak() < connected + STALLED * (12 << 20) + (96 << 20)
        for reader in (*readers, *recipients):
            assert not reader.line.lost.is_set()
            await reader.line.cut()

    with relay_process(tmp_path, "--open") as served:
        before = served.memory()
        asyncio.run(main())
        assert served.stderr.read_text() == ""


def test_those_who_ask_and_do_not_read(tmp_path: Path) -> None:
    """A hundred questions whose answers nobody takes cost a bounded memory, and others are answered."""
    notes = [signed(new_key(), NOTE, content=f"{number}" + "x" * 5000) for number in range(400)]
    pages = say("REQ", "s", {"kinds": [NOTE]}) * 100

    async def main() -> None:
        await write(served, notes, 0)
        before = served.memory()
        asleep = [await stalled(served, pages) for _ in range(10)]
        begin = time.monotonic()
        for _ in range(10):
            reader = Reader()
            await reader.connect(served, {"kinds": [NOTE]})
            assert len(reader.ids) == len(notes)
            await reader.line.cut()
        assert time.monotonic() - begin < 10
        assert served.peak() < before + 10 * (12 << 20) + (32 << 20)
        for reader in asleep:
            assert not reader.line.lost.is_set()  # the relay's patience is longer than this test
            await reader.line.cut()

    with relay_process(tmp_path, "--open") as served:
        asyncio.run(main())
        assert served.stderr.read_text() == ""


def test_what_strangers_ask_does_not_keep_wraps_waiting(tmp_path: Path) -> None:
    """Who asks for their wraps is answered while strangers' dear questions of all the rest are still open."""
    key, authors = new_key(), [secrets.token_bytes(32) for _ in range(500)]
    with closing(sqlite3.connect(tmp_path / "relay.sqlite", isolation_level=None)) as db:
        make_tables(db, 1)
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO event (id, pubkey, created_at, kind, received_at, stranger, raw) "
            "VALUES (randomblob(32), ?, ?, ?, 1, 0, x'00')",
            ((authors[number % 500], number, number % 3 + 1) for number in range(40_000)),
        )
        db.execute("COMMIT")
    dear = say("COUNT", "c", {"authors": [item.hex() for item in authors], "kinds": list(range(1, 1000))})

    async def main() -> None:
        answers: list[bytes] = []
        reader = Reader(key)
        await reader.connect(served, {"limit": 0})
        strangers = [await connect_line(served, answers.append) for _ in range(20)]
        for stranger in strangers:
            stranger.transport.write(dear * 5)
        while sum(answer.startswith(b'["COUNT"') for answer in answers) < 2:
            await asyncio.sleep(0.01)
        reader.ready.clear()
        reader.line.transport.write(say("REQ", "mine", {"kinds": [WRAP], "#p": [key.pubkey]}))
        await reader.ready.wait()
        assert sum(answer.startswith(b'["COUNT"') for answer in answers) < 20
        for line in (reader.line, *strangers):
            await line.cut()

    with relay_process(tmp_path, "--open") as served:
        asyncio.run(main())
