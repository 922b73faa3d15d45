"""A Wayland compositor, asked in the Wayland protocol itself: its monitors, its windows, what it offers.

Rules:
- only what lists is asked for (wl_output, wlr or ext foreign toplevels, wlr output power), so no library
  and no child process is needed; pixels are left to the compositor's own tools;
- a compositor that lists no windows gives None, which is not the same as no windows.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from powdo.errors import RetryLaterError

_TIMEOUT = 5.0
#: More than any compositor says about its windows.
_LARGEST = 1 << 24
#: Version of wl_output that has names.
_NAMED = 4
_DISPLAY, _REGISTRY = 1, 2
_SYNC, _GET_REGISTRY, _BIND, _GET_POWER = 0, 1, 0, 0
_OUTPUT_NAME = 4
_MINIMIZED = 1

_OUTPUT = "wl_output"
_POWER = "zwlr_output_power_manager_v1"
_WLR, _EXT = "zwlr_foreign_toplevel_manager_v1", "ext_foreign_toplevel_list_v1"
#: Events of a window: title, app id, state (None where there is none), closed.
_WINDOW_EVENTS = {_WLR: (0, 1, 4, 6), _EXT: (2, 3, None, 0)}

Handler = Callable[[int, bytes], None]


@dataclass(slots=True)
class Output:
    """A monitor: its name where it has one, and whether it is lit."""

    name: str = ""
    lit: bool = True


@dataclass(slots=True)
class _Window:
    title: str = ""
    app: str = ""
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Compositor:
    """What a compositor offers and shows; *windows* (app, title) that are not minimized, None if unlisted.

    Some take a monitor that is off from their *outputs*, others only say that it is not lit.
    """

    interfaces: frozenset[str]
    outputs: tuple[Output, ...]
    windows: tuple[tuple[str, ...], ...] | None


def ask(path: str) -> Compositor:
    """Return what the compositor listening at the socket *path* shows. Raises: RetryLaterError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(_TIMEOUT)
            link.connect(path)
            return _Asker(link).ask()
    except (OSError, ValueError, struct.error, IndexError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise RetryLaterError(f"cannot ask the compositor at '{path}': {reason.lower()}") from None


def _text(data: bytes, at: int = 0) -> str:
    size = int(struct.unpack_from("=I", data, at)[0])
    return data[at + 4 : at + 4 + size].rstrip(b"\0").decode("utf-8", "replace")


def _string(text: str) -> bytes:
    data = text.encode() + b"\0"
    return struct.pack("=I", len(data)) + data + bytes(-len(data) % 4)


@dataclass(slots=True)
class _Asker:
    """One conversation: requests out, events to the handlers of their objects."""

    link: socket.socket
    handlers: dict[int, Handler] = field(default_factory=dict)
    globals: list[tuple[int, str, int]] = field(default_factory=list)
    windows: list[_Window] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    last: int = _REGISTRY
    end: float = 0.0
    size: int = 0

    def ask(self) -> Compositor:
        self.end = time.monotonic() + _TIMEOUT
        self.handlers = {_DISPLAY: self._failed, _REGISTRY: self._global}
        self._send(_DISPLAY, _GET_REGISTRY, struct.pack("=I", _REGISTRY))
        self._settle()
        outputs = [self._output(name, version) for name, kind, version in self.globals if kind == _OUTPUT]
        listed = self._bind_windows()
        self._bind_power(outputs)
        self._settle()
        windows = tuple((item.app, item.title) for item in self.windows if not item.gone)
        return Compositor(
            interfaces=frozenset(kind for _, kind, _ in self.globals),
            outputs=tuple(sorted(self.outputs, key=lambda output: output.name)),
            windows=windows if listed else None,
        )

    # --- requests ---

    def _send(self, target: int, opcode: int, arguments: bytes) -> None:
        self.link.sendall(struct.pack("=II", target, (8 + len(arguments)) << 16 | opcode) + arguments)

    def _new(self, handler: Handler) -> int:
        self.last += 1
        self.handlers[self.last] = handler
        return self.last

    def _bind(self, name: int, interface: str, version: int, handler: Handler) -> int:
        new = self._new(handler)
        arguments = struct.pack("=I", name) + _string(interface) + struct.pack("=II", version, new)
        self._send(_REGISTRY, _BIND, arguments)
        return new

    def _output(self, name: int, version: int) -> int:
        output = Output()
        self.outputs.append(output)

        def told(opcode: int, data: bytes) -> None:
            if opcode == _OUTPUT_NAME:
                output.name = _text(data)

        return self._bind(name, _OUTPUT, min(version, _NAMED), told)

    def _bind_windows(self) -> bool:
        offers = {kind: name for name, kind, _ in self.globals}
        for kind, (title, app, state, closed) in _WINDOW_EVENTS.items():
            if kind not in offers:
                continue

            def told(
                opcode: int,
                data: bytes,
                events: tuple[int, int, int | None, int] = (title, app, state, closed),
            ) -> None:
                if opcode == 0:  # toplevel: the server made a new object; 1 is that it stops
                    self._window(int(struct.unpack("=I", data)[0]), events)

            self._bind(offers[kind], kind, 1, told)
            return True
        return False

    def _window(self, new: int, events: tuple[int, int, int | None, int]) -> None:
        window = _Window()
        self.windows.append(window)
        title, app, state, closed = events

        def told(opcode: int, data: bytes) -> None:
            if opcode == title:
                window.title = _text(data)
            elif opcode == app:
                window.app = _text(data)
            elif opcode == closed:
                window.gone = True
            elif opcode == state:
                window.gone = _MINIMIZED in struct.unpack(f"={len(data) // 4 - 1}I", data[4:])

        self.handlers[new] = told

    def _bind_power(self, outputs: list[int]) -> None:
        manager = next((name for name, kind, _ in self.globals if kind == _POWER), None)
        if manager is None:
            return
        bound = self._bind(manager, _POWER, 1, lambda _opcode, _data: None)
        for number, output in zip(outputs, self.outputs, strict=True):

            def told(opcode: int, data: bytes, output: Output = output) -> None:
                if opcode == 0:
                    output.lit = bool(struct.unpack("=I", data)[0])

            self._send(bound, _GET_POWER, struct.pack("=II", self._new(told), number))

    # --- events ---

    def _settle(self) -> None:
        """Hear all events until the compositor has worked through what was asked."""
        done: list[int] = []
        self._send(_DISPLAY, _SYNC, struct.pack("=I", self._new(lambda opcode, _: done.append(opcode))))
        while not done:
            target, word = struct.unpack("=II", self._read(8))
            data = self._read((word >> 16) - 8)
            handler = self.handlers.get(target)
            if handler is not None:
                handler(word & 0xFFFF, data)

    def _read(self, size: int) -> bytes:
        self.size += size
        if size < 0 or self.size > _LARGEST:
            raise ValueError("it does not speak Wayland")
        data = b""
        while len(data) < size:
            left = self.end - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self.link.settimeout(left)
            part = self.link.recv(size - len(data))
            if not part:
                raise ValueError("it hung up")
            data += part
        return data

    def _failed(self, opcode: int, data: bytes) -> None:
        if opcode == 0:
            raise ValueError(_text(data, 8) or "it refused")

    def _global(self, opcode: int, data: bytes) -> None:
        if opcode == 0:
            kind = _text(data, 4)
            version = struct.unpack_from("=I", data, len(data) - 4)[0]
            self.globals.append((struct.unpack_from("=I", data)[0], kind, int(version)))
