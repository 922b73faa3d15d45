"""Who is connected, and to whom a new event goes: gift wraps only to their authenticated recipient."""

from __future__ import annotations

from typing import Protocol

from powdo.nips.event import Event
from powdo.servers.relay.policy import WRAPS, recipient_of


class Subscriber(Protocol):
    """One connection, as the hub sees it."""

    def offer(self, event: Event, raw: bytes) -> None:
        """Send *event* on to the subscriptions it matches."""


class Hub:
    """All connections, and those that have authenticated, by public key."""

    def __init__(self) -> None:
        self.connections: set[Subscriber] = set()
        self._readers: dict[str, set[Subscriber]] = {}

    def join(self, connection: Subscriber) -> None:
        """Take a connection in."""
        self.connections.add(connection)

    def authenticated(self, connection: Subscriber, pubkey: str) -> None:
        """Show *connection* the gift wraps for *pubkey* from now on."""
        self._readers.setdefault(pubkey, set()).add(connection)

    def leave(self, connection: Subscriber, pubkeys: set[str]) -> None:
        """Forget a connection that was authenticated as *pubkeys*."""
        self.connections.discard(connection)
        for pubkey in pubkeys:
            readers = self._readers.get(pubkey, set())
            readers.discard(connection)
            if not readers:
                self._readers.pop(pubkey, None)

    def deliver(self, event: Event, raw: bytes) -> None:
        """Offer a new event to everyone who may see it."""
        if event.kind in WRAPS:
            targets = self._readers.get(recipient_of(event) or "", set())
        else:
            targets = self.connections
        for connection in tuple(targets):
            connection.offer(event, raw)
