"""More clients than the system has file descriptors for."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from relay_helpers import client, new_key, signed
from relay_wire import HANDSHAKE, Served, relay_process
from websockets.exceptions import InvalidStatus

from tests.parts import needed

ALICE = new_key()


async def crowd(served: Served, number: int, first_words: bytes) -> list[socket.socket]:
    """Return so many connections that have said their *first_words*."""
    loop = asyncio.get_running_loop()
    sockets = []
    for _ in range(number):
        sockets.append(socket.socket())
        sockets[-1].setblocking(False)
        await asyncio.wait_for(loop.sock_connect(sockets[-1], ("127.0.0.1", served.port)), 5)
        await loop.sock_sendall(sockets[-1], first_words)
    return sockets


async def shut(served: Served, sockets: list[socket.socket]) -> None:
    """End all connections; somebody new is served soon after."""
    for each in sockets:
        each.close()
    for _ in range(200):
        try:
            async with client(served.url) as someone:
                assert await someone.publish(signed(new_key())) == (True, "")
                return
        except (InvalidStatus, TimeoutError):
            await asyncio.sleep(0.05)
    raise AssertionError("the relay did not recover")


def test_there_is_room_for_as_many_as_the_system_lets_in(tmp_path: Path) -> None:
    """The usual soft limit is raised, and a hard limit that is too low is told at the start."""

    async def scenario(served: Served, number: int, room: int) -> None:
        sockets, answers, loop = [], [], asyncio.get_running_loop()
        for _ in range(number):
            sockets += await crowd(served, 1, HANDSHAKE)
            answers.append(await asyncio.wait_for(loop.sock_recv(sockets[-1], 12), 10))
        assert answers.count(b"HTTP/1.1 101") == room
        assert answers.count(b"HTTP/1.1 503") == number - room
        await shut(served, sockets)

    prlimit = needed("prlimit")
    with relay_process(tmp_path / "soft", "--open", before=(prlimit, "--nofile=100:20000")) as served:
        asyncio.run(scenario(served, 200, 200))
        assert served.stderr.read_text() == ""
    with relay_process(tmp_path / "hard", "--open", before=(prlimit, "--nofile=100:200")) as served:
        asyncio.run(scenario(served, 250, 136))
        told = served.stderr.read_text().splitlines()
        assert told[0] == "powdo relay serve: warning: there is room for 136 connections only"
        assert len(told) == 2


@pytest.mark.parametrize("first_words", [b"", b"GET / HT"])
def test_those_who_connect_and_say_nothing_fill_no_journal(tmp_path: Path, first_words: bytes) -> None:
    """Where all descriptors are taken by them, one line says so; who is connected already is served."""

    async def scenario(served: Served) -> None:
        async with client(served.url) as before:
            sockets = await crowd(served, 250, first_words)
            await asyncio.sleep(0.3)
            assert await before.publish(signed(ALICE)) == (True, "")
            assert await before.ask({}) != []
            await shut(served, sockets)

    with relay_process(tmp_path, "--open", before=(needed("prlimit"), "--nofile=200:200")) as served:
        asyncio.run(scenario(served))
        told = served.stderr.read_text().splitlines()
        assert [line for line in told if "too many open files" in line] == told[2:]
        assert len(told) == 3
