"""A bare client of the admin API, and servers that have it as processes of their own, for several tests."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from powdo.nips.curve import SecretKey
from tests.conftest import ROOT

SECRET = "not-guessed-in-a-day"


def pubkeys(count: int) -> list[str]:
    """Return *count* public keys, the same ones each time, sorted."""
    return sorted(SecretKey(number.to_bytes(32, "big")).pubkey for number in range(1, count + 1))


@dataclass
class Reply:
    """One whole answer; *value* is its JSON."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def value(self) -> Any:
        """What the body holds."""
        return json.loads(self.body)


@dataclass
class AdminClient:
    """Asks the server at *url*."""

    url: str
    secret: str | None = SECRET

    def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Return the answer; *body* is sent as it is when it is bytes, else as JSON."""
        parts = urlsplit(self.url)
        sent = {} if self.secret is None else {"Authorization": f"Bearer {self.secret}"}
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        try:
            connection.request(method, path, data, sent | dict(headers or {}))
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    def add(self, pubkey: object) -> int:
        """Return the status of letting *pubkey* in."""
        return self.ask("POST", "/admin/allow", {"pubkey": pubkey}).status

    def remove(self, pubkey: object) -> int:
        """Return the status of shutting *pubkey* out."""
        return self.ask("DELETE", "/admin/allow", {"pubkey": pubkey}).status

    def sync(self, listed: object) -> Reply:
        """Return the answer to a sync."""
        return self.ask("POST", "/admin/allow/sync", {"pubkeys": listed})

    def listed(self) -> list[str]:
        """Return who is let in."""
        reply = self.ask("GET", "/admin/allow")
        assert reply.status == 200, reply
        assert reply.value["count"] == len(reply.value["pubkeys"])
        return list(reply.value["pubkeys"])


class Server:
    """A process of powdo that says when it is *listening*; *told* collects its stderr."""

    def __init__(self, folder: Path, *words: str, env: Mapping[str, str] | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.secret_file = folder / "secret"
        if not self.secret_file.exists():
            self.secret_file.touch(0o600)
            self.secret_file.write_text(SECRET + "\n")
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | dict(env or {})
        command = [sys.executable, "-m", "powdo", *words]
        self.process = subprocess.Popen(
            [word.replace("SECRET_FILE", str(self.secret_file)) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        assert self.process.stdout is not None
        record = self.process.stdout.readline()
        self.url = str(json.loads(record)["url"]) if record else ""

    @property
    def admin(self) -> AdminClient:
        """A client of its admin API."""
        return AdminClient(self.url.replace("ws://", "http://"))

    def end(self, signum: int) -> tuple[int, str]:
        """Return status and stderr after *signum*."""
        self.process.send_signal(signum)
        _, told = self.process.communicate(timeout=30)
        return self.process.returncode, told.decode()


@contextmanager
def server(folder: Path, *words: str, env: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Run `powdo WORDS` until the block ends; SECRET_FILE in a word is a file with SECRET."""
    made = Server(folder, *words, env=env)
    try:
        assert made.url, made.process.communicate()[1].decode()
        yield made
    finally:
        made.process.kill()
        made.process.communicate()


def in_threads(*works: Any) -> None:
    """Do all *works* at the same time and wait for them."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
