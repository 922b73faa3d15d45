"""What OK promises: the event is on the disk, whatever happens to the relay next."""

from __future__ import annotations

import asyncio
import json
import random
import re
import sqlite3
from pathlib import Path

import pytest
from relay_helpers import client, new_key, signed, wrap_for
from relay_wire import Served, connect_line, publish, relay_process, say

from powdo.nips.event import Event
from tests.parts import needed

ALICE, BOB = new_key(), new_key()
CONNECTIONS, EACH, ROUNDS = 8, 150, 4


async def write_until_killed(served: Served, draw: random.Random) -> tuple[list[Event], set[str]]:
    """Return what was sent over all connections, and the ids of what was OKed before the relay was killed."""
    events: list[Event] = []
    oked: dict[str, list[object]] = {}

    def heard(message: bytes) -> None:
        words = json.loads(message)
        if words[0] == "OK":
            oked[words[1]] = words[2:]

    lines = [await connect_line(served, heard) for _ in range(CONNECTIONS)]
    enough = draw.randrange(CONNECTIONS * EACH // 2)
    for _ in range(EACH):
        for line in lines:
            text = f"{draw.random()} ä\u007f\u2028😀\x01/" + "x" * draw.randrange(3000)
            events.append(signed(ALICE, 1, (("t", "x"), ("t", "x"), ("",)), text))
            line.transport.write(publish(events[-1]))
        await asyncio.sleep(0)
        if len(oked) > enough:
            break
    while len(oked) <= enough:
        await asyncio.sleep(0.001)
    served.kill()
    for line in lines:
        await line.lost.wait()  # what was said before the end still counts
    assert all(answer == [True, ""] for answer in oked.values())
    return events, set(oked)


async def stored(served: Served, ids: list[str]) -> dict[str, bytes]:
    """Return the JSON under which the relay serves events, by id."""
    found: dict[str, bytes] = {}
    ended = asyncio.Event()

    def heard(message: bytes) -> None:
        if message.startswith(b'["EVENT","s",'):
            raw = message.removeprefix(b'["EVENT","s",').removesuffix(b"]")
            found[json.loads(raw)["id"]] = raw
        elif message.startswith(b'["EOSE"'):
            ended.set()

    line = await connect_line(served, heard)
    for first in range(0, len(ids), 400):
        ended.clear()
        line.transport.write(say("REQ", "s", {"ids": ids[first : first + 400]}))
        await ended.wait()
    await line.cut()
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_what_was_oked_survives_each_kill(tmp_path: Path, seed: int) -> None:
    """Killed again and again under load, the relay has all it OKed, byte for byte, and nothing by halves."""
    draw = random.Random(seed)
    sent: dict[str, Event] = {}
    oked: set[str] = set()
    for _ in range(ROUNDS):
        with relay_process(tmp_path, "--open") as served:
            events, answered = asyncio.run(write_until_killed(served, draw))
            assert answered
            sent |= {event.id: event for event in events}
            oked |= answered
    database = sqlite3.connect(tmp_path / "relay.sqlite")
    try:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        database.close()
    with relay_process(tmp_path, "--open") as served:
        found = asyncio.run(stored(served, list(sent)))
        assert served.stderr.read_text() == ""
    assert oked <= found.keys()
    assert found == {event_id: sent[event_id].to_bytes() for event_id in found}


def test_a_deletion_that_was_oked_survives_a_kill(tmp_path: Path) -> None:
    """What its recipient has deleted does not come back with a restart, nor when it is sent again."""
    wrap = wrap_for(BOB.pubkey)

    async def delete(url: str) -> None:
        async with client(url, BOB) as bob:
            assert await bob.publish(wrap) == (True, "")
            assert await bob.publish(signed(BOB, 5, (("e", wrap.id),))) == (True, "")

    async def look(url: str) -> None:
        async with client(url, BOB) as bob:
            assert await bob.ids({"ids": [wrap.id]}) == []
            assert (await bob.publish(wrap))[0] is False

    for scenario in (delete, look, look):
        with relay_process(tmp_path, "--open") as served:
            asyncio.run(scenario(served.url))
            served.kill()


def synced_before(trace: str, words: tuple[str, ...]) -> list[bool]:
    """Return for each message of *words* whether the log was synced since the last such."""
    told, synced, syncing = [], False, set[str]()
    for line in trace.splitlines():
        thread, _, call = line.partition(" ")
        call = call.lstrip()
        if re.match(r"f(data)?sync\(\d+<[^>]*relay\.sqlite-wal>", call):
            if "unfinished" in call:
                syncing.add(thread)
            else:
                synced = synced or call.endswith(" = 0")
        elif re.match(r"<\.\.\. f(data)?sync resumed", call) and thread in syncing:
            syncing.remove(thread)
            synced = synced or call.endswith(" = 0")
        elif any(f'[\\"{word}\\"' in call for word in words) and call.startswith(("send", "write")):
            told.append(synced)
            synced = False
    return told


def test_ok_and_live_events_come_after_the_disk(tmp_path: Path) -> None:
    """The write-ahead log is synced before OK is said, and before anybody else hears of the event."""
    trace = tmp_path / "trace"
    calls = "trace=fsync,fdatasync,sendto,sendmsg,write,writev"
    strace = (needed("strace"), "-f", "-qqq", "-y", "-s", "64", "-e", calls, "-o", str(trace))

    async def write(url: str) -> None:
        async with client(url) as writer, client(url) as reader:
            assert await reader.ids({"kinds": [1]}) == []
            for number in range(5):
                assert await writer.publish(signed(ALICE, 7, content=str(number))) == (True, "")
            for number in range(5):
                await writer.say("EVENT", signed(ALICE, 1, content=str(number)).to_json())
                assert (await reader.hear())[0] == "EVENT"
                assert (await writer.hear())[0] == "OK"

    with relay_process(tmp_path / "data", "--open", before=strace) as served:
        asyncio.run(write(served.url))
    log = trace.read_text(errors="replace")
    assert synced_before(log, ("OK",)) == [True] * 10
    assert synced_before(log, ("EVENT",)) == [True] * 5
