"""The same write policy for strfry: its plugin protocol, one request to one answer (its docs/plugins.md).

Rules:
- whatever names the id of an event is answered with that id: until then strfry stores nothing at all;
- strfry has verified id and signature before it asks, so they are not verified again;
- strfry tells who sends only of events of NIP-70, so a gift wrap is let in by its recipient;
- nobody reads why an event from a file or another relay is refused, so strfry's log is spared the reason;
- gift wraps that are stored here are not handed on to other relays (a router's pluginUp).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from powdo.errors import BadRecordError, ConfigurationError, PowdoError
from powdo.nips.event import Event
from powdo.servers.relay.policy import WRAPS, Policy, Verdict, decide

#: strfry reads answers of up to 8192 bytes. What it takes for an id has 64 characters.
_LONGEST_ID = 256
_LONGEST_MESSAGE = 512
#: Events that are stored already, on their way to another relay; strfry has no word for that yet: "?".
_STORED = ("Stored", "?")
_UNREAD = ("Import", "Stream", "Sync", *_STORED)
_LOOK_AGAIN = 1.0


def answer(request: Mapping[str, object], policy: Policy, now: int) -> dict[str, str] | None:
    """Return the answer to *request*, None when strfry asks something that we do not know.

    Time is when strfry received the event, else *now*. Raises: BadRecordError when there is no id to answer.
    """
    if request.get("type", "new") != "new":
        return None
    event = request.get("event")
    event_id = event.get("id") if isinstance(event, Mapping) else None
    if not isinstance(event_id, str) or not 0 < len(event_id) <= _LONGEST_ID or not event_id.isprintable():
        raise BadRecordError("a request without the id of an event")
    verdict = _verdict(request, event, policy, now)
    if verdict.accepted:
        return {"id": event_id, "action": "accept"}
    message = "" if request.get("sourceType") in _UNREAD else verdict.message[:_LONGEST_MESSAGE]
    return {"id": event_id, "action": "reject", "msg": message}


def _verdict(request: Mapping[str, object], claimed: object, policy: Policy, now: int) -> Verdict:
    try:
        event = Event.from_json(claimed)
    except BadRecordError as error:
        return Verdict(False, f"invalid: {error.message}")
    if request.get("sourceType") in _STORED and event.kind in WRAPS:
        return Verdict(False, "restricted: gift wraps are not handed on")
    received, authed = request.get("receivedAt"), request.get("authed")
    return decide(
        event,
        policy,
        authenticated=(authed,) if isinstance(authed, str) else (),
        now=received if type(received) is int else now,
    )


class Rules:
    """The policy that *make* returns, made anew when *file* changes; a bad one leaves the old in force."""

    def __init__(self, file: Path, make: Callable[[], Policy], warn: Callable[[str], None]) -> None:
        self._file, self._make, self._warn = file, make, warn
        self._signature = self._look()
        self._looked = time.monotonic()
        self._policy = make()

    def policy(self) -> Policy:
        """Return the policy in force; the file is looked at once a second at most."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_AGAIN:
            self._looked = now
            signature = self._look()
            if signature != self._signature:
                self._signature = signature
                try:
                    self._policy = self._make()
                except PowdoError as error:
                    problems = error.problems if isinstance(error, ConfigurationError) else ()
                    told = "; ".join((error.message, *problems))
                    self._warn(f"{told}; the last good configuration stays in force")
        return self._policy

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns
