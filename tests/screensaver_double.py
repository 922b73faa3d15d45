"""A screen saver on a real session bus: it owns a name and answers every call with one boolean."""

from __future__ import annotations

import os
import socket
import struct
import threading
from types import TracebackType
from typing import Self

_CALL, _RETURN = 1, 2
_PATH, _INTERFACE, _MEMBER, _REPLY, _DESTINATION, _SIGNATURE = 1, 2, 3, 5, 6, 8
_BUS = {
    _PATH: "/org/freedesktop/DBus",
    _INTERFACE: "org.freedesktop.DBus",
    _DESTINATION: "org.freedesktop.DBus",
}


def _text(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode() + b"\0"


def _message(kind: int, serial: int, fields: dict[int, str | int], body: bytes = b"") -> bytes:
    """Return a D-Bus message (D-Bus Specification 0.43, "Message Format")."""
    array = b""
    for code, value in fields.items():
        array += bytes(-len(array) % 8) + bytes([code])
        if isinstance(value, int):
            array += b"\1u\0" + struct.pack("<I", value)
        elif code == _SIGNATURE:
            array += b"\1g\0" + bytes([len(value)]) + value.encode() + b"\0"
        else:
            array += (b"\1o\0" if code == _PATH else b"\1s\0") + _text(value)
    head = struct.pack("<cBBBIII", b"l", kind, 0, 1, len(body), serial, len(array)) + array
    return head + bytes(-len(head) % 8) + body


class ScreenSaver:
    """Owns *name* on the bus at *address* (`unix:path=…`); *active* is what it answers."""

    def __init__(self, address: str, name: str, *, active: bool) -> None:
        self._path = address.partition("path=")[2].partition(",")[0]
        self._name = name
        self.active = active

    def __enter__(self) -> Self:
        self._link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._link.connect(self._path)
        self._file = self._link.makefile("rb")
        self._link.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
        assert self._file.readline().startswith(b"OK ")
        self._link.sendall(b"BEGIN\r\n")
        self._link.sendall(_message(_CALL, 1, _BUS | {_MEMBER: "Hello"}))
        name = _text(self._name)
        body = name + bytes(-len(name) % 4) + struct.pack("<I", 4)
        self._link.sendall(_message(_CALL, 2, _BUS | {_MEMBER: "RequestName", _SIGNATURE: "su"}, body))
        while self._read()[:2] != (_RETURN, 2):
            pass
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._link.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._file.close()
        self._link.close()

    def _read(self) -> tuple[int, int, int, str]:
        """Return (type, serial replied to, serial, sender) of the next message; type 0 at the end."""
        head = self._file.read(16)
        if len(head) < 16:
            return 0, 0, 0, ""
        _, kind, _, _, size, serial, length = struct.unpack("<cBBBIII", head)
        fields = self._file.read(length + -length % 8)
        self._file.read(size)
        # The sender's unique name is the only text with a colon in front; a reply's serial has code 5.
        at = fields.find(b"\x07\x01s\0")
        sender = fields[at + 8 : fields.index(b"\0", at + 8)].decode() if at >= 0 else ""
        at = fields.find(b"\x05\x01u\0")
        replied = struct.unpack_from("<I", fields, at + 4)[0] if at >= 0 else 0
        return kind, replied, serial, sender

    def _serve(self) -> None:
        number = 2
        while (message := self._read())[0]:
            kind, _, serial, sender = message
            if kind == _CALL:
                number += 1
                fields: dict[int, str | int] = {_REPLY: serial, _DESTINATION: sender, _SIGNATURE: "b"}
                self._link.sendall(_message(_RETURN, number, fields, struct.pack("<I", self.active)))
