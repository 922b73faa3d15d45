"""The bare loop: receive, sha256, write, fsync, and no more; a thread for each connection.

python benchmarks/blossom_bare.py FOLDER writes the port it listens on. It reads Content-Length and nothing
else of HTTP, asks nobody who they are, keeps no list and gives the file no name of its own.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import sys
import threading
from pathlib import Path

_BUFFER = 1 << 20
_LENGTH = re.compile(rb"\r\nContent-Length: ([0-9]+)\r\n")
_ANSWER = b"HTTP/1.1 201 Created\r\nContent-Length: 64\r\n\r\n"


def serve(connection: socket.socket, folder: Path) -> None:
    """Keep each blob that comes, until the client hangs up."""
    buffer = memoryview(bytearray(_BUFFER))
    while received := connection.recv_into(buffer):
        head = bytes(buffer[:received])
        at = head.index(b"\r\n\r\n") + 4
        match = _LENGTH.search(head)
        assert match
        connection.sendall(_ANSWER + _keep(connection, folder, buffer, at, received, int(match[1])))


def _keep(
    connection: socket.socket, folder: Path, buffer: memoryview, at: int, received: int, left: int
) -> bytes:
    digest = hashlib.sha256()
    file = os.open(folder / os.urandom(16).hex(), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    while True:
        part = buffer[at:received]
        digest.update(part)
        os.write(file, part)
        left -= len(part)
        if left <= 0:
            break
        at, received = 0, connection.recv_into(buffer)
        if not received:
            raise ConnectionResetError
    os.fsync(file)
    os.close(file)
    return digest.hexdigest().encode()


def main() -> None:
    """Serve for good."""
    folder = Path(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=[connection, folder], daemon=True).start()


if __name__ == "__main__":
    main()
