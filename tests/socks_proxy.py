"""A SOCKS5 proxy (RFC 1928, RFC 1929) in a thread, which knows where names lead that nobody else knows."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.tls_proxy import pump

_GRANTED, _UNREACHABLE = 0, 4
_NAME = 3


@dataclass
class Socks:
    """A proxy that runs: *hosts* tells the loopback port behind each name, *asked* what clients wanted."""

    hosts: dict[str, int]
    login: tuple[str, str] | None = None
    asked: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """What POWDO_PROXY is set to."""
        login = f"{self.login[0]}:{self.login[1]}@" if self.login else ""
        return f"socks5h://{login}127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if await self._greet(reader, writer):
                await self._connect(reader, writer)
        writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        _, count = await reader.readexactly(2)
        await reader.readexactly(count)
        writer.write(b"\x05\x02" if self.login else b"\x05\x00")
        if self.login is None:
            return True
        await reader.readexactly(1)
        given = [(await reader.readexactly((await reader.readexactly(1))[0])).decode() for _ in range(2)]
        right = tuple(given) == self.login
        writer.write(b"\x01\x00" if right else b"\x01\x01")
        return right

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        *_, kind = await reader.readexactly(4)
        assert kind == _NAME, "the client looked the name up by itself"
        name = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        await reader.readexactly(2)
        self.asked.append(name)
        port = self.hosts.get(name)
        writer.write(bytes([5, _UNREACHABLE if port is None else _GRANTED, 0, 1, 0, 0, 0, 0, 0, 0]))
        if port is None:
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))


@contextmanager
def socks_proxy(hosts: dict[str, int], login: tuple[str, str] | None = None) -> Iterator[Socks]:
    """Yield a proxy on loopback that lets clients with *login*, or all, reach *hosts*."""
    proxy, started, loop = Socks(hosts, login), threading.Event(), asyncio.new_event_loop()

    async def run() -> None:
        server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        started.set()
        await ended.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    ended = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    started.wait(10)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)
        loop.close()
