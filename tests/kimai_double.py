"""A Kimai 2.65 to test against: its statuses, shapes, silent filters and limits, as observed on a real one.

Runs in a thread (`Double`) or by itself: `python -m tests.kimai_double --listen 127.0.0.1:0 --post 0.036`,
where a POST takes that many seconds more.
Beside the API it can lose answers, be slow, fail, and be edited behind the caller's back.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.kimai_rules import FORBIDDEN, NOT_FOUND, Kimai, Reply, Row, User

__all__ = ["Double", "Fault", "Row", "User"]

_UNAUTHORIZED = Reply(401, {"code": 401, "message": "Unauthorized"})
_BAD_TOKEN = Reply(
    401, None, {"WWW-Authenticate": 'Bearer error="invalid_token",error_description="Invalid credentials."'}
)
_LEGACY = Reply(403, {"message": "Invalid credentials"})
_HTML = "<!DOCTYPE html><html><head><title>Redirecting</title></head><body>Redirecting</body></html>"


@dataclass
class Fault:
    """What goes wrong with the next match: `lose`, `fail` (before), `fail after`, `gone`, `delay`."""

    kind: str
    method: str
    path: str = ""
    seconds: float = 0.0
    times: int = 1
    status: int = 500


@dataclass
class Call:
    """One request as it came in, and what was answered."""

    method: str
    path: str
    body: Any
    status: int
    authorization: str | None = field(repr=False, default=None)


class Double:
    """A running double at *url*; `kimai` is its state, `calls` what it was asked."""

    def __init__(
        self, listen: tuple[str, int] = ("127.0.0.1", 0), now: Callable[[], float] = time.time
    ) -> None:
        self.kimai = Kimai(now)
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.redirect: str | None = None
        self.post_seconds = 0.0
        self.on_lost: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30
            disable_nagle_algorithm = True

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def _handle(self) -> None:
                double._serve(self)

        for method in ("GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS"):
            setattr(Handler, f"do_{method}", Handler._handle)
        self._server = ThreadingHTTPServer(listen, Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Double:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self.close()
        self._thread.join(5)

    def close(self) -> None:
        """Free the port."""
        self._server.server_close()

    def count(self, method: str, path: str = "/api/timesheets") -> int:
        """Return how many requests of *method* went to *path* or below."""
        return sum(1 for call in self.calls if call.method == method and call.path.startswith(path))

    def _fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and fault.method == method and fault.path in path:
                fault.times -= 1
                return fault
        return None

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        raw = handler.rfile.read(length)
        parts = urlsplit(handler.path)
        fault = self._fault(handler.command, parts.path)
        if fault and fault.kind == "delay":
            time.sleep(fault.seconds)
        if handler.command == "POST" and self.post_seconds:
            time.sleep(self.post_seconds)
        with self._lock:
            if fault and fault.kind == "gone":  # a person was faster
                self.kimai.rows.pop(int(parts.path.rsplit("/", 1)[1]))
            if fault and fault.kind == "fail":
                reply = Reply(fault.status, {"code": fault.status, "message": "Internal Server Error"})
            else:
                reply = self._answer(handler, parts.path, parts.query, raw)
            if fault and fault.kind == "fail after":
                reply = Reply(fault.status, {"code": fault.status, "message": "Internal Server Error"})
            body = _json(raw)
            self.calls.append(
                Call(handler.command, parts.path, body, reply.status, handler.headers.get("Authorization"))
            )
        if fault and fault.kind == "lose":
            self.on_lost()
            handler.close_connection = True
            handler.connection.close()
            return
        try:
            self._send(handler, reply)
        except OSError:
            handler.close_connection = True  # the client went away

    @staticmethod
    def _send(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        data = b"" if reply.data is None else reply.body()
        handler.send_response(reply.status)
        kind = "text/html; charset=utf-8" if isinstance(reply.data, str) else "application/json"
        if reply.status != 204:
            handler.send_header("Content-Type", kind)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(data)

    def _answer(self, handler: BaseHTTPRequestHandler, path: str, query: str, raw: bytes) -> Reply:
        if self.redirect is not None:
            return Reply(302, _HTML, {"Location": self.redirect + path})
        if path.endswith("/") and len(path) > 1:
            return Reply(301, _HTML, {"Location": self.url + path.rstrip("/")})
        user = self._user(handler)
        if isinstance(user, Reply):
            return user
        return self.route(user, handler.command, path, query, raw)

    def _user(self, handler: BaseHTTPRequestHandler) -> User | Reply:
        given = handler.headers.get("Authorization")
        if given is None:
            return _LEGACY if handler.headers.get("X-AUTH-USER") else _UNAUTHORIZED
        if not given.startswith("Bearer "):
            return _UNAUTHORIZED
        user = self.kimai.users.get(given.removeprefix("Bearer "))
        if user is None or not user.enabled:
            return _BAD_TOKEN
        return user if user.api_access else FORBIDDEN

    def route(self, user: User, method: str, path: str, query: str, raw: bytes) -> Reply:
        """Return the answer to one request of *user*."""
        if not path.startswith("/api/"):
            return NOT_FOUND
        name = path.removeprefix("/api/")
        body = _json(raw)
        if method in {"POST", "PATCH"} and raw and body is None:
            form = dict(parse_qsl(raw.decode("utf-8", "replace"))) if b"=" in raw else None
            if form is None:
                return Reply(400, {"code": 400, "message": "Bad Request"})
            body = form
        pairs = [(unquote(key), value) for key, value in parse_qsl(query, keep_blank_values=True)]
        number = re.fullmatch(r"timesheets/(\d+)(/export|/stop|/meta|/duplicate)?", name)
        if number:
            return self.kimai.one(user, method, int(number[1]), number[2] or "", body)
        return self.kimai.named(user, method, name, pairs, body)


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def main() -> None:
    """Serve until killed; says where in a `listening` record."""
    flags = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    host, _, port = flags.get("--listen", "127.0.0.1:0").rpartition(":")
    with Double((host, int(port))) as double:
        double.kimai.seed()
        double.post_seconds = float(flags.get("--post", "0"))
        print(json.dumps({"type": "listening", "v": 1, "url": double.url}), flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
