"""A relay as a list of events, searched from end to end: the real one is held against it (NIP-01, 09, 40)."""

from __future__ import annotations

from typing import Any

from powdo.nips.event import Event

WRAPS = (1059, 21059)


def values(event: Event, name: str) -> list[str]:
    """Return the values of all tags *name*."""
    return [tag[1] for tag in event.tags if tag[0] == name and len(tag) > 1]


def address(event: Event) -> str | None:
    """Return what an `a` tag calls the event, None where a newer one does not replace it."""
    if event.kind in (0, 3) or 10000 <= event.kind < 20000:
        return f"{event.kind}:{event.pubkey}:"
    if 30000 <= event.kind < 40000:
        return f"{event.kind}:{event.pubkey}:{(values(event, 'd') or [''])[0]}"
    return None


def expired(event: Event, now: int) -> bool:
    """Return whether the event's time is over."""
    return any(int(value) <= now for value in values(event, "expiration"))


def matches(event: Event, asked: dict[str, Any]) -> bool:
    """Return whether the event meets every condition of a filter but its limit."""
    plain = {"ids": event.id, "authors": event.pubkey, "kinds": event.kind}
    for name, condition in asked.items():
        if name in plain and plain[name] not in condition:
            return False
        if name[0] == "#" and not set(values(event, name[1:])) & set(condition):
            return False
    return bool(asked.get("since", 0) <= event.created_at <= asked.get("until", 1 << 60))


class Naive:
    """What a relay has, as a list."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def publish(self, event: Event, now: int) -> str:
        """Return the prefix of what OK says."""
        if expired(event, now):
            return "invalid"
        if 20000 <= event.kind < 30000:
            return ""
        if event in self.events:
            return "duplicate"
        if self._is_deleted(event):
            return "blocked"
        place = address(event)
        for other in self.events if place else ():
            if address(other) == place:
                if (-event.created_at, event.id) > (-other.created_at, other.id):
                    return "replaced"
                self.events.remove(other)
                break
        self.events.append(event)
        if event.kind == 5:
            self.events = [other for other in self.events if not self._deletes(event, other)]
        return ""

    def _deletes(self, request: Event, event: Event) -> bool:
        mine = event.pubkey == request.pubkey
        to_me = event.kind in WRAPS and request.pubkey in values(event, "p")
        named = event.id in values(request, "e") and (mine or to_me)
        placed = address(event) in values(request, "a") and event.created_at <= request.created_at and mine
        return event.kind != 5 and (named or placed)

    def _is_deleted(self, event: Event) -> bool:
        return any(self._deletes(other, event) for other in self.events if other.kind == 5)

    def find(self, asked: dict[str, Any], reader: str, now: int) -> list[str]:
        """Return the ids of what *reader* is shown, newest first, then the lowest id."""
        found = [
            event
            for event in self.events
            if matches(event, asked) and not expired(event, now) and visible(event, reader)
        ]
        found.sort(key=lambda event: (-event.created_at, event.id))
        return [event.id for event in found][: asked.get("limit", 500)]


def visible(event: Event, reader: str) -> bool:
    """Return whether *reader* may see the event."""
    return event.kind not in WRAPS or reader in values(event, "p")
