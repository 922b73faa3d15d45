"""A Wayland compositor in a thread that lists what it is told to, and shows nothing."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

WLR, EXT = "zwlr_foreign_toplevel_manager_v1", "ext_foreign_toplevel_list_v1"
POWER = "zwlr_output_power_manager_v1"
_FIRST = 0xFF000000


def string(text: str) -> bytes:
    """Return *text* as Wayland writes it."""
    data = text.encode() + b"\0"
    return struct.pack("=I", len(data)) + data + bytes(-len(data) % 4)


@dataclass
class Compositor:
    """Listens at *path*: globals, monitors (name, lit), windows (app, title, minimized)."""

    path: Path
    interfaces: Sequence[str] = ()
    outputs: Sequence[tuple[str, bool]] = (("eDP-1", True),)
    windows: Sequence[tuple[str, str, bool]] = ()
    asked: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(self.path))
        self._server.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._server.accept()
            except OSError:
                return
            with link, link.makefile("rb") as requests, contextlib.suppress(OSError):
                _Client(self, link).serve(requests)


class _Client:
    def __init__(self, state: Compositor, link: socket.socket) -> None:
        self._state = state
        self._link = link
        self._bound: dict[int, tuple[str, int]] = {}
        outputs = [("wl_output", number) for number in range(len(state.outputs))]
        self._globals = [*outputs, *((kind, 0) for kind in state.interfaces)]

    def _event(self, target: int, opcode: int, arguments: bytes = b"") -> None:
        self._link.sendall(struct.pack("=II", target, (8 + len(arguments)) << 16 | opcode) + arguments)

    def serve(self, requests: object) -> None:
        """Answer until the client goes."""
        read = requests.read  # type: ignore[attr-defined]  # a file
        while head := read(8):
            target, word = struct.unpack("=II", head)
            data = read((word >> 16) - 8)
            if target == 1 and word & 0xFFFF == 0:
                self._event(struct.unpack("=I", data)[0], 0, bytes(4))
            elif target == 1:
                for name, (kind, _) in enumerate(self._globals):
                    self._event(2, 0, struct.pack("=I", name) + string(kind) + struct.pack("=I", 4))
            elif target == 2:
                self._bind(struct.unpack_from("=I", data)[0], struct.unpack("=I", data[-4:])[0])
            elif self._bound[target][0] == POWER:
                new, output = struct.unpack("=II", data)
                self._event(new, 0, struct.pack("=I", self._state.outputs[self._bound[output][1]][1]))

    def _bind(self, name: int, new: int) -> None:
        kind, number = self._bound[new] = self._globals[name]
        self._state.asked.append(kind)
        if kind == "wl_output":
            self._event(new, 0, bytes(20) + string("make") + string("model") + bytes(4))
            if self._state.outputs[number][0]:
                self._event(new, 4, string(self._state.outputs[number][0]))
        elif kind in (WLR, EXT):
            for place, (app, title, minimized) in enumerate(self._state.windows):
                window = _FIRST + place
                self._event(new, 0, struct.pack("=I", window))
                self._event(window, 0 if kind == WLR else 2, string(title))
                self._event(window, 1 if kind == WLR else 3, string(app))
                if kind == WLR:
                    self._event(window, 4, struct.pack("=III", 8, 2, 1) if minimized else bytes(4))
                self._event(window, 5 if kind == WLR else 1)
