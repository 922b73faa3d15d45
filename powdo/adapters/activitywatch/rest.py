"""A running ActivityWatch server, read over its REST API (aw-server and aw-server-rust).

Rules:
- times are asked for as whole seconds with `Z`: any other form one of the servers misreads or fails on;
- the first second before the period is asked for too: only so an event that merely touches its begin
  can be told from one without duration;
- the server may hang, drip, never end or answer nonsense: each answer has one deadline and one size.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import urllib.parse
from pathlib import Path
from typing import Any, NoReturn

from powdo.adapters.activitywatch.source import BucketInfo, Fetched, bucket_info, check_events, safe_text
from powdo.errors import BadRecordError, InputMissingError, PeerProtocolError, RetryLaterError
from powdo.records import format_time
from powdo.settings.paths import read_secret_file
from powdo.worktime.cutting import clip, day_slices
from powdo.worktime.flood import BucketEvent
from powdo.worktime.intervals import SECOND
from powdo.worktime.manifest import from_micros

MAX_ANSWER = 64 << 20
_CHUNK = 1 << 18


class ActivityWatch:
    """The server at *url*; *key_file* holds its API key where it asks for one."""

    settles = True

    def __init__(self, url: str, *, timeout: float, key_file: Path | None = None) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._headers = {"Accept": "application/json", "Connection": "close"}
        if key_file is not None:
            self._headers["Authorization"] = f"Bearer {read_secret_file(key_file)}"
        self.problems: list[str] = []

    def buckets(self) -> list[BucketInfo]:
        """Return the server's buckets, sorted by id; what is no bucket goes to *problems*.

        Raises: RetryLaterError when the server is away, PeerProtocolError when it answers nonsense.
        """
        info = self._get("info")
        listing = self._get("buckets/")
        if not isinstance(info, dict) or not isinstance(listing, dict):
            self._nonsense("not an object")
        try:
            device = safe_text(info.get("device_id"))
        except BadRecordError:
            device = ""
        if not device:
            self._nonsense("no device_id")
        found = []
        for name, obj in listing.items():
            try:
                found.append(bucket_info(name, obj, device, _last_updated(obj)))
            except BadRecordError as error:
                self.problems.append(f"bucket '{name[:80]}' is left out: {error.message}")
        return sorted(found, key=lambda item: item.id)

    def first_begin(self, today: int) -> int:
        """Return *today*: what was recorded before powdo came is not asked for by itself."""
        return today

    def events(self, bucket: BucketInfo, begin: int, end: int) -> Fetched:
        """Return the events of *bucket* around the seconds [begin, end), asked for a day at a time.

        Raises: InputMissingError when the bucket has gone, RetryLaterError, PeerProtocolError.
        """
        events: list[BucketEvent] = []
        problems: list[str] = []
        name = urllib.parse.quote(bucket.id, safe="")
        for first, last in day_slices(begin, end):
            # One second more in front; clipped again, so that slices of one period do not overlap.
            period = {"start": _second(first - 1), "end": _second(last)}
            answer = self._get(f"buckets/{name}/events?{urllib.parse.urlencode(period)}")
            if not isinstance(answer, list):
                self._nonsense("events are not a list")
            part = check_events(answer)
            problems += part.problems
            events += clip(part.events, first, last)
        return Fetched(events, problems)

    def _get(self, path: str) -> Any:
        body = self._request(path)
        try:
            # NaN is what Python servers write and JSON has not; the event that holds it is judged alone.
            return json.loads(body, parse_constant=lambda _name: None)
        except (ValueError, RecursionError):
            self._nonsense("not JSON")

    def _nonsense(self, what: str) -> NoReturn:
        raise PeerProtocolError(f"'{self._url}' does not answer as ActivityWatch does: {what}")

    def _request(self, path: str) -> bytes:
        parts = urllib.parse.urlsplit(self._url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=self._timeout)
        late = threading.Event()
        links: list[socket.socket] = []  # the connection forgets its socket once an answer has begun

        def expire() -> None:
            late.set()
            for link in links:
                try:
                    link.shutdown(socket.SHUT_RDWR)
                except OSError:
                    return  # it ended by itself in this instant

        timer = threading.Timer(self._timeout, expire)
        timer.daemon = True
        try:
            timer.start()
            connection.connect()
            links.append(connection.sock)
            if late.is_set():
                raise TimeoutError
            connection.request("GET", f"{parts.path}/api/0/{path}", headers=self._headers)
            body = self._read(connection.getresponse(), path)
        except (OSError, http.client.HTTPException) as error:
            self._away(error, late=late.is_set())
        finally:
            timer.cancel()
            connection.close()
        if late.is_set():
            self._away(None, late=True)
        return body

    def _away(self, error: Exception | None, *, late: bool) -> NoReturn:
        if late or isinstance(error, TimeoutError):
            reason = "timed out"
        elif isinstance(error, OSError):
            reason = error.strerror or str(error) or type(error).__name__
        else:
            self._nonsense(f"{type(error).__name__}, not HTTP")
        raise RetryLaterError(
            f"cannot reach '{self._url}': {reason.lower()}", hint="is ActivityWatch running on this machine?"
        )

    def _read(self, response: http.client.HTTPResponse, path: str) -> bytes:
        """Return the body of a good answer."""
        if response.status == 404 and path.startswith("buckets/") and path != "buckets/":
            raise InputMissingError(f"'{self._url}' has no bucket for '{path[:80]}' any more")
        if response.status in (401, 403):
            raise PeerProtocolError(
                f"'{self._url}' asks for an API key", hint="name it with activitywatch_key_file in [capture]"
            )
        if response.status != 200:
            self._nonsense(f"status {response.status}")
        body = bytearray()
        while chunk := response.read(_CHUNK):
            body += chunk
            if len(body) > MAX_ANSWER:
                self._nonsense(f"more than {MAX_ANSWER} bytes")
        return bytes(body)


def _last_updated(obj: object) -> object:
    """Return when a bucket was last updated, in either server's place for it."""
    if not isinstance(obj, dict):
        return None
    metadata = obj.get("metadata")
    fallback = metadata.get("end") if isinstance(metadata, dict) else None
    return obj.get("last_updated") or fallback


def _second(at: int) -> str:
    return format_time(from_micros(max(at, 0) * SECOND))
