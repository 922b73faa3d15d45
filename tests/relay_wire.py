"""The relay as a process of its own, and websocket frames made by hand (RFC 6455).

For tests that break the protocol, kill the relay, or hold more connections than a library is made for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from powdo.nips.event import Event
from tests.conftest import ROOT

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9


@dataclass(frozen=True)
class Served:
    """A relay that runs as a process."""

    url: str
    process: subprocess.Popen[bytes]
    stderr: Path

    @property
    def port(self) -> int:
        """Where it listens on loopback."""
        return int(self.url.rpartition(":")[2])

    def memory(self) -> int:
        """Return what it holds of the machine's memory now, in bytes."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """Return the most it has held of the machine's memory, in bytes."""
        return self._status("VmHWM")

    def _status(self, name: str) -> int:
        found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found
        return int(found[1]) << 10

    def kill(self) -> None:
        """Kill it, and the strace before it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)


@contextmanager
def relay_process(data: Path, *arguments: str, before: tuple[str, ...] = ()) -> Iterator[Served]:
    """Yield `powdo relay serve` on *data*, run by the words *before* it; what is left of it is killed."""
    data.mkdir(parents=True, exist_ok=True)
    stderr = data / "stderr"
    environment = os.environ | {"POWDO_CONFIG": os.devnull, "PYTHONPATH": str(ROOT)}
    command = (*before, sys.executable, "-m", "powdo", "relay", "serve", "--listen", "127.0.0.1:0")
    with stderr.open("ab") as log:
        process = subprocess.Popen(
            (*command, "--data", str(data), *arguments),
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    served = Served(json.loads(line)["url"] if line else "", process, stderr)
    try:
        assert served.url, stderr.read_text()
        yield served
    finally:
        served.kill()
        process.stdout.close()


def frame(
    payload: bytes, opcode: int = TEXT, *, final: bool = True, masked: bool = True, rsv: int = 0
) -> bytes:
    """Return one frame of a client; the mask is all zeros, which hides nothing from a reader of the test."""
    first, mark, size = opcode | rsv << 4 | final << 7, 0x80 if masked else 0, len(payload)
    if size < 126:
        head = struct.pack("!BB", first, mark | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, mark | 126, size)
    else:
        head = struct.pack("!BBQ", first, mark | 127, size)
    return head + (bytes(4) if masked else b"") + payload


def say(*parts: object) -> bytes:
    """Return one message as a frame."""
    return frame(json.dumps(parts, ensure_ascii=False).encode())


def publish(event: Event) -> bytes:
    """Return an EVENT as a frame."""
    return frame(b'["EVENT",' + event.to_bytes() + b"]")


class Line(asyncio.Protocol):
    """A connection whose messages go to *heard* as they come; *lost* is set when it ends."""

    def __init__(self, heard: Callable[[bytes], None]) -> None:
        self.heard = heard
        self.lost = asyncio.Event()
        self.transport: asyncio.Transport
        self._data = bytearray()
        self._shaken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(HANDSHAKE)

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost.set()

    async def cut(self) -> None:
        """End the connection without a word."""
        self.transport.abort()
        await self.lost.wait()

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._shaken:
            head, end, rest = bytes(self._data).partition(b"\r\n\r\n")
            if not end:
                return
            assert b" 101 " in head, head
            self._shaken, self._data = True, bytearray(rest)
        while (message := self._take()) is not None:
            self.heard(message)

    def _take(self) -> bytes | None:
        data = self._data
        if len(data) < 2:
            return None
        size, begin = data[1], 2
        if size > 125:
            begin = 4 if size == 126 else 10
            size = int.from_bytes(data[2:begin]) if len(data) >= begin else 1 << 62
        if len(data) < begin + size:
            return None
        message = bytes(data[begin : begin + size])
        del data[: begin + size]
        return message


async def connect_line(served: Served, heard: Callable[[bytes], None]) -> Line:
    """Return a new connection to *served*."""
    loop = asyncio.get_running_loop()
    _, line = await loop.create_connection(lambda: Line(heard), "127.0.0.1", served.port)
    return line
