"""A real session bus of its own, and services on it that run in a thread."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from jeepney import Message, MessageType, message_bus
from jeepney.io.blocking import Proxy, open_dbus_connection

from tests.capture_helpers import stop
from tests.parts import needed

_CONFIG = """<busconfig>
  <type>session</type>
  <listen>{address}</listen>
  <servicedir>{services}</servicedir>
  <policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
</busconfig>
"""


@contextmanager
def session_bus(folder: Path, variables: Mapping[str, str] | None = None) -> Iterator[str]:
    """Give the address of a session bus in *folder*.

    It starts the services in `folder/services`, with *variables*, and none that this machine has.
    """
    ours, theirs = os.pipe()
    address = f"unix:path={folder / 'bus'}"
    config = folder / "bus.conf"
    (folder / "services").mkdir(exist_ok=True)
    config.write_text(_CONFIG.format(address=address, services=folder / "services"))
    process = subprocess.Popen(
        [needed("dbus-daemon"), f"--config-file={config}", "--nofork", f"--print-address={theirs}"],
        pass_fds=(theirs,),
        env=variables,
    )
    os.close(theirs)
    with os.fdopen(ours) as answer:
        assert answer.readline(), "dbus-daemon did not start"
    try:
        yield address
    finally:
        stop(process)


class Service:
    """Owns *names* on the bus at *address* and sends what `answer` gives for each call."""

    def __init__(self, address: str, *names: str) -> None:
        self._address = address
        self._names = names

    def answer(self, call: Message) -> Iterable[Message]:
        """Return the messages that *call* leads to."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._bus = open_dbus_connection(self._address)
        for name in self._names:
            Proxy(message_bus, self._bus).RequestName(name)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._bus.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._bus.close()

    def _serve(self) -> None:
        while True:
            try:
                message = self._bus.receive()
            except ConnectionResetError:
                return
            if message.header.message_type is MessageType.method_call:
                for answer in self.answer(message):
                    self._bus.send(answer)
