"""The visible windows of an X display, and whether it is lit, asked for in the X protocol itself.

Few requests are needed (X Window System Protocol, X11R6.8, appendix B), so no library and no child process
is: InternAtom, QueryTree, GetWindowAttributes, GetProperty, and DPMSInfo of the DPMS extension. Requests are
sent a level of the tree at a time and answered in order; a window that vanished meanwhile is an error reply,
and simply gone.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from powdo.errors import RetryLaterError

_TIMEOUT = 5.0
_DISPLAY = re.compile(r"(?:(?P<host>[^:/]*)(?:/unix)?):(?P<number>\d+)(?:\.(?P<screen>\d+))?", re.ASCII)
_COOKIE = b"MIT-MAGIC-COOKIE-1"
_LOCAL, _WILD = 256, 65535
_VIEWABLE = 2
#: Frames of window managers around the windows proper; deeper lie only buttons and fields.
_DEEPEST = 4
_BATCH = 200
_LONGEST = 2048

_INTERN, _TREE, _ATTRIBUTES, _PROPERTY = 16, 15, 3, 20
_WM_NAME, _WM_CLASS = 39, 67
_EXTENSION, _DPMS_INFO, _DPMS_ON = 98, 7, 0


@dataclass(frozen=True, slots=True)
class Screen:
    """(instance, class, title) of each visible window, and whether the monitors are *lit*."""

    windows: list[tuple[str, ...]]
    lit: bool


def ask(display: str, authority: Path) -> Screen:
    """Return what *display* shows. Raises: RetryLaterError."""
    match = _DISPLAY.fullmatch(display)
    if match is None:
        raise RetryLaterError(f"'{display}' is not an X display")
    host, number = match["host"], int(match["number"])
    try:
        with _connect(host, number) as link:
            connection = _Connection(link, _cookie(authority, number))
            root = connection.root(int(match["screen"] or 0))
            return Screen(_Lister(connection).windows(root), _is_lit(connection))
    except (OSError, struct.error, IndexError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise RetryLaterError(f"cannot list the windows of display '{display}': {reason.lower()}") from None


def _connect(host: str, number: int) -> socket.socket:
    if host not in ("", "unix"):
        return socket.create_connection((host, 6000 + number), _TIMEOUT)
    path = f"/tmp/.X11-unix/X{number}"  # noqa: S108  # where X keeps its sockets
    for address in (f"\0{path}", path):
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.settimeout(_TIMEOUT)
        try:
            link.connect(address)
        except OSError:
            link.close()
            if address == path:
                raise
        else:
            return link
    raise OSError("no socket")


def _cookie(authority: Path, number: int) -> bytes:
    """Return the cookie for display *number* in the file *authority*; empty when it has none."""
    try:
        data = authority.read_bytes()
    except OSError:
        return b""
    here = socket.gethostname().encode()
    found = b""
    at = 0
    while at + 2 <= len(data):
        family = int.from_bytes(data[at : at + 2], "big")
        at += 2
        fields = []
        for _ in range(4):
            size = int.from_bytes(data[at : at + 2], "big")
            fields.append(data[at + 2 : at + 2 + size])
            at += 2 + size
        address, display, name, value = fields
        if name == _COOKIE and display in (b"", str(number).encode()):
            if family == _WILD or (family == _LOCAL and address == here):
                return value
            found = found or value
    return found


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


class _Connection:
    """A set-up connection: requests out, the same number of replies in."""

    def __init__(self, link: socket.socket, cookie: bytes) -> None:
        self._file = link.makefile("rb")
        self._link = link
        name = _COOKIE if cookie else b""
        link.sendall(
            struct.pack("<BxHHHHxx", 0x6C, 11, 0, len(name), len(cookie)) + _padded(name) + _padded(cookie)
        )
        status, length = struct.unpack("<BxxxxxH", self._read(8))
        self._setup = self._read(4 * length)
        if status != 1:
            raise OSError(self._setup.decode("latin-1").strip("\0 \n") or "refused")

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise OSError("the X server hung up")
        return data

    def root(self, screen: int) -> int:
        """Return the root window of *screen*, from the setup the server sent."""
        vendor, screens, formats = struct.unpack_from("<16xHxxBB", self._setup)
        at = 32 + vendor + -vendor % 4 + 8 * formats
        for _ in range(min(screen, screens - 1)):
            depths = self._setup[at + 39]
            at += 40
            for _ in range(depths):
                at += 8 + 24 * struct.unpack_from("<xxH", self._setup, at)[0]
        return int(struct.unpack_from("<L", self._setup, at)[0])

    def ask(self, requests: Sequence[bytes]) -> list[bytes | None]:
        """Return the reply to each of *requests*, None where the server has only an error for it."""
        replies: list[bytes | None] = []
        for first in range(0, len(requests), _BATCH):
            batch = requests[first : first + _BATCH]
            self._link.sendall(b"".join(batch))
            replies += [self._reply() for _ in batch]
        return replies

    def _reply(self) -> bytes | None:
        while True:
            head = self._read(32)
            more = 4 * struct.unpack_from("<4xL", head)[0]
            if head[0] == 0:
                return None
            if head[0] == 1:
                return head + self._read(more)
            if head[0] & 0x7F == 35:  # an event of an extension may be longer; no event was asked for
                self._read(more)


def _is_lit(connection: _Connection) -> bool:
    """Return whether DPMS has the monitors on; without DPMS they always are."""
    name = b"DPMS"
    query = struct.pack("<BxHHxx", _EXTENSION, 2 + len(name) // 4, len(name)) + name
    (known,) = connection.ask([query])
    if known is None or not known[8]:
        return True
    (info,) = connection.ask([struct.pack("<BBH", known[9], _DPMS_INFO, 1)])
    if info is None:
        return True
    level, enabled = struct.unpack_from("<8xHB", info)
    return not enabled or level == _DPMS_ON


class _Lister:
    """Walks the tree of windows."""

    def __init__(self, connection: _Connection) -> None:
        self._ask = connection.ask
        names = (b"_NET_WM_NAME", b"_NET_WM_STATE", b"_NET_WM_STATE_HIDDEN")
        requests = [
            struct.pack("<BBHHxx", _INTERN, 1, 2 + len(_padded(name)) // 4, len(name)) + _padded(name)
            for name in names
        ]
        self._net_name, self._state, self._hidden = (
            struct.unpack_from("<8xL", reply)[0] if reply else 0 for reply in self._ask(requests)
        )

    def windows(self, root: int) -> list[tuple[str, ...]]:
        found: list[tuple[str, ...]] = []
        level = self._children([root])
        for _ in range(_DEEPEST):
            level = self._visible(level)
            level = self._children(self._describe(level, found))
        return found

    def _children(self, parents: Sequence[int]) -> list[int]:
        result: list[int] = []
        for reply in self._ask([struct.pack("<BxHL", _TREE, 2, parent) for parent in parents]):
            if reply:
                count = struct.unpack_from("<16xH", reply)[0]
                result += struct.unpack_from(f"<{count}L", reply, 32)
        return result

    def _visible(self, level: Sequence[int]) -> list[int]:
        replies = self._ask([struct.pack("<BxHL", _ATTRIBUTES, 2, window) for window in level])
        return [
            window for window, reply in zip(level, replies, strict=True) if reply and reply[26] == _VIEWABLE
        ]

    def _describe(self, level: Sequence[int], found: list[tuple[str, ...]]) -> list[int]:
        """Add what is known of the windows in *level* to *found*; return those to look into."""
        deeper = []
        classes = self._properties(level, _WM_CLASS)
        titles = self._properties(level, self._net_name)
        plain = self._properties(level, _WM_NAME)
        states = self._properties(level, self._state)
        for window, name, title, old, state in zip(level, classes, titles, plain, states, strict=True):
            atoms = struct.unpack_from(f"<{len(state) // 4}L", state)
            if self._hidden and self._hidden in atoms:
                continue  # minimized, though still mapped for a preview
            if not name:
                deeper.append(window)
            if name or title or old:
                text = title.decode("utf-8", "replace") or old.decode("latin-1")
                found.append((*(part.decode("latin-1") for part in name.split(b"\0") if part), text))
        return deeper

    def _properties(self, level: Sequence[int], atom: int) -> list[bytes]:
        """Return the property *atom* of each window in *level*; empty where it has none."""
        if not atom:
            return [b""] * len(level)
        query = struct.Struct("<BBHLLLLL")
        requests = [query.pack(_PROPERTY, 0, 6, window, atom, 0, 0, _LONGEST) for window in level]
        result = []
        for reply in self._ask(requests):
            kind, length = struct.unpack_from("<xB14xL", reply) if reply else (0, 0)
            result.append(reply[32 : 32 + length * kind // 8] if reply else b"")
        return result
