"""An ActivityWatch server in a thread that answers as aw-server 0.14 was seen to, and can be told to fail.

Start is floored to a millisecond, end raised by one; events are clipped to the range on both sides, come
newest first, and those that began more than a day before the range do not come at all; every answer closes
its connection; a bucket's `last_updated` is the end of its newest event.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

DEVICE = "0d0b4d0c-53a1-4d6c-9a57-6a5d2f8b5a10"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = 1000
_DAY = 86_400_000_000

#: (begin, end) in microseconds and data.
Stored = tuple[int, int, dict[str, Any]]
Fault = Callable[[BaseHTTPRequestHandler], None]


def iso(micros: int) -> str:
    """Return *micros* as the server writes times."""
    return (_EPOCH + timedelta(microseconds=micros)).isoformat(timespec="microseconds")


def _micros(text: str) -> int:
    if not text.endswith("Z"):
        raise ValueError(text)
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


@dataclass(repr=False)
class Double:
    """The server's state: bucket id → (type, events); faults by what the path holds."""

    buckets: dict[str, tuple[str, list[Stored]]] = field(default_factory=dict)
    extra: dict[str, list[Any]] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def __enter__(self) -> Self:
        double = self

        class Handler(_Handler):
            state = double

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def listing(self) -> dict[str, Any]:
        """Return the answer to GET /buckets/."""
        return {
            name: {
                "id": name,
                "type": kind,
                "client": name.partition("_")[0],
                "hostname": "devbox",
                "created": "2026-11-01T00:00:00+00:00",
                "last_updated": iso(max(events, key=lambda item: item[:2])[1]) if events else None,
            }
            for name, (kind, events) in self.buckets.items()
        }

    def events(self, name: str, start: int, end: int) -> list[Any]:
        """Return the answer to GET /buckets/NAME/events."""
        start -= start % _MILLISECOND
        end += _MILLISECOND - end % _MILLISECOND
        found: list[Any] = [
            {
                "id": number,
                "timestamp": iso(max(first, start)),
                "duration": (min(last, end) - max(first, start)) / 1_000_000,
                "data": data,
            }
            for number, (first, last, data) in enumerate(self.buckets[name][1])
            if last >= start and first <= end and first > start - _DAY
        ]
        return sorted(found, key=lambda item: item["timestamp"], reverse=True) + self.extra.get(name, [])


class _Handler(BaseHTTPRequestHandler):
    state: Double

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it so
        """Keep quiet."""

    def do_GET(self) -> None:
        """Answer one request, or fail as told."""
        parts = urlsplit(self.path)
        self.state.requests.append(self.path)
        for text, fault in self.state.faults.items():
            if text in parts.path:
                fault(self)
                return
        path = parts.path.removeprefix("/api/0/").split("/")
        if path == ["info"]:
            self.answer({"hostname": "devbox", "version": "v0.13.2", "testing": False, "device_id": DEVICE})
        elif path == ["buckets", ""]:
            self.answer(self.state.listing())
        elif path[0] == "buckets" and path[-1] == "events":
            self._events(unquote(path[1]), parse_qs(parts.query))
        else:
            self.answer({"message": "not here"}, 404)

    def _events(self, name: str, query: dict[str, list[str]]) -> None:
        if name not in self.state.buckets:
            self.answer({"message": f"There's no bucket named {name}"}, 404)
            return
        try:
            start, end = _micros(query["start"][0]), _micros(query["end"][0])
        except (KeyError, ValueError):
            self.answer({"message": "Internal Server Error"}, 500)
            return
        self.answer(self.state.events(name, start, end))

    def answer(self, value: Any, status: int = 200) -> None:
        """Send *value* as JSON and close."""
        self.raw(json.dumps(value).encode(), status)

    def raw(self, body: bytes, status: int = 200) -> None:
        """Send *body* and close."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def gives(body: bytes, status: int = 200) -> Fault:
    """Return a fault: *body* with *status*."""
    return lambda handler: handler.raw(body, status)  # type: ignore[attr-defined]  # it is our handler


def endless(handler: BaseHTTPRequestHandler) -> None:
    """Send a body that never ends, as fast as it is taken."""
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"[" * 65536)
    except OSError:
        return


def dripping(handler: BaseHTTPRequestHandler) -> None:
    """Send a byte now and then, so that no single read times out."""
    handler.send_response(200)
    handler.end_headers()
    try:
        for _ in range(600):
            handler.wfile.write(b" ")
            time.sleep(0.05)
    except OSError:
        return


def hanging_up(handler: BaseHTTPRequestHandler) -> None:
    """Close without an answer."""
    handler.close_connection = True
