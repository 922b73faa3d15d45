"""Origins for mirrors: servers that answer what a test tells them to, and wishes to fetch from them."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.blossom_server import Blossom, Reply, sha, token

DATA = os.urandom(50_000)


@dataclass
class Origin:
    """A server that answers each connection with *answer* after its request, then closes."""

    url: str
    answer: bytes = b""
    requests: list[bytes] = field(default_factory=list)
    patience: float = 0.0  # seconds between the answer and the end of the connection, unless released
    released: threading.Event = field(default_factory=threading.Event)

    def says(self, body: bytes, *headers: str, status: str = "200 OK", length: object = None) -> None:
        """Set the answer; *length* False leaves Content-Length out."""
        lines = [f"HTTP/1.1 {status}", *headers]
        if length is not False:
            lines.append(f"Content-Length: {len(body) if length is None else length}")
        self.answer = "\r\n".join([*lines, "", ""]).encode() + body


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[Origin]:
    """Run an origin, over TLS with a *certificate*."""
    listener = socket.create_server(("127.0.0.1", 0))
    scheme = "http"
    if certificate is not None:
        scheme, context = "https", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        listener = context.wrap_socket(listener, server_side=True)
    origin = Origin(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}")

    def run() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except ssl.SSLError:
                continue  # it does not trust us
            except OSError:
                return
            with peer:
                peer.settimeout(5)
                request = b""
                while b"\r\n\r\n" not in request and (data := peer.recv(65536)):
                    request += data
                origin.requests.append(request)
                try:
                    peer.sendall(origin.answer)
                except OSError:
                    continue  # it has had enough
                origin.released.wait(origin.patience)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield origin
    finally:
        origin.released.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def mirror(server: Blossom, url: object, *names: str, **headers: str | None) -> Reply:
    """Return what *server* answers to the wish for *url*, with a token for *names*, by default DATA's."""
    told: dict[str, str | None] = {
        "Authorization": token("upload", *(names or (sha(DATA),))),
        "Content_Type": "application/json",
    }
    return server.ask("PUT", "/mirror", json.dumps({"url": url}).encode(), **(told | headers))


def certificate_of(directory: Path) -> Path:
    """Return a file with a new key, and a certificate for 127.0.0.1 signed with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "origin")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(Encoding.PEM)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / "origin.pem").write_bytes(pem + secret)
    return directory / "origin.pem"
