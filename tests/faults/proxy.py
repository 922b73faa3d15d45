"""A TCP proxy on loopback that cuts, delays and doubles connections, as a seed has it.

A doubled connection sends what the client says to the server twice, over two connections; the answers
of the second one are dropped.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import Self

_CHUNK = 4096
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Weather:
    """The chance that a connection is *cut*, that it is *slow*, and that it is *doubled*."""

    cut: float = 0.0
    slow: float = 0.0
    doubled: float = 0.0


CALM = Weather()


@dataclass(frozen=True, slots=True)
class _Fate:
    """What becomes of one connection: bytes until the cut, seconds a chunk, whether it is doubled."""

    cut_after: int | None
    delay: float
    doubled: bool
    reset: bool


class Proxy:
    """Hands connections on to *port* of 127.0.0.1, once that is set; *weather* may change at any time."""

    def __init__(self, seed: int) -> None:
        self.port = 0
        self.weather = CALM
        self.suffered = 0
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        while self._threads:
            self._threads.pop().join(10)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)  # type: ignore[arg-type]  # only our own
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._carry, client, self._fate())

    def _fate(self) -> _Fate:
        draw, weather = self._random, self.weather
        cut = draw.random() < weather.cut
        fate = _Fate(
            cut_after=int(draw.choice((0, 200, 2000, 20_000, 80_000)) * draw.random()) if cut else None,
            delay=draw.random() / 5 if draw.random() < weather.slow else 0.0,
            doubled=draw.random() < weather.doubled,
            reset=draw.random() < 0.5,
        )
        self.suffered += cut or fate.delay > 0 or fate.doubled
        return fate

    def _carry(self, client: socket.socket, fate: _Fate) -> None:
        """Hand one connection on until it ends or is cut."""
        ends = [client]
        try:
            for _ in range(2 if fate.doubled else 1):
                ends.append(socket.create_connection(("127.0.0.1", self.port), 10))
                ends[-1].settimeout(None)
            with self._lock:
                self._open.update(ends)
            flow = _Flow(fate, ends)
            pumps = [threading.Thread(target=flow.pump, args=(client, ends[1:]))]
            pumps.append(threading.Thread(target=flow.pump, args=(ends[1], [client])))
            if fate.doubled:
                pumps.append(threading.Thread(target=flow.pump, args=(ends[2], [])))
            for pump in pumps:
                pump.start()
            for pump in pumps:
                pump.join()
        except OSError:
            pass  # nobody listens behind: the client is hung up on
        finally:
            with self._lock:
                self._open.difference_update(ends)
            for each in ends:
                each.close()


class _Flow:
    """The bytes of one connection, both ways together."""

    def __init__(self, fate: _Fate, ends: list[socket.socket]) -> None:
        self._fate = fate
        self._ends = ends
        self._passed = 0

    def pump(self, source: socket.socket, sinks: list[socket.socket]) -> None:
        """Carry bytes from *source* to *sinks* until one end closes, or the fate is reached."""
        try:
            while data := source.recv(_CHUNK):
                if self._fate.delay:
                    time.sleep(self._fate.delay)
                limit = self._fate.cut_after
                if limit is not None and self._passed + len(data) > limit:
                    for sink in sinks:
                        sink.sendall(data[: max(0, limit - self._passed)])
                    break
                self._passed += len(data)
                for sink in sinks:
                    sink.sendall(data)
        except OSError:
            pass  # an end is gone
        if sinks:  # the second server's silence ends nothing
            self._end()

    def _end(self) -> None:
        for each in self._ends:
            with contextlib.suppress(OSError):
                if self._fate.cut_after is not None and self._fate.reset:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                each.shutdown(socket.SHUT_RDWR)
