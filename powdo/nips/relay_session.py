"""The client's side of one connection to one relay, as a state machine without I/O.

`receive` takes what the relay sent and returns what happened; `outgoing` gives what to send now. Rules:
- an event is published until the relay answers OK; `auth-required:` is answered by AUTH and one repeat;
- a challenge is answered when the relay wants it, or at once when *eager*: a reader of gift wraps must be
  authenticated before the relay shows them, and everything asked before is asked again afterwards;
- a subscription pages back through old events with `until`, since `limit` cuts where it likes
  (gift wraps are dated at random), while its first request stays open for live events;
- every event is checked: it matches the asked, its id and its signature are right. One that fails is
  reported and left out; a message that is none ends the session (PeerProtocolError).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from powdo.errors import PeerProtocolError
from powdo.nips.event import Event
from powdo.nips.filters import Filter
from powdo.nips.relay_happenings import (
    Answered,
    Authenticated,
    AuthRefused,
    Challenged,
    Forged,
    Happening,
    Noticed,
    Received,
    SubscriptionRefused,
    Synced,
)
from powdo.nips.relay_messages import (
    BadEventError,
    ChallengeMessage,
    ClosedMessage,
    EoseMessage,
    EventMessage,
    NoticeMessage,
    OkMessage,
    encode,
    parse_relay_message,
    prefix,
)
from powdo.nips.relay_paging import History

#: Stands for a page where there is none any more.
_DONE = "-"


@dataclass(slots=True)
class _Publication:
    event: Event
    repeated: bool = False
    waiting: bool = False


@dataclass(slots=True)
class _Subscription:
    """One filter: its open request, and the page of old events being read."""

    filter: Filter
    history: History
    live: str = ""
    page: str = ""
    repeated: bool = False
    waiting: bool = False


class RelaySession:
    """One connection; *eager* answers a challenge before the relay insists."""

    def __init__(self, *, eager: bool = False) -> None:
        self._eager = eager
        self._outgoing: list[str] = []
        self._challenge: str | None = None
        self._asked = False
        self._auth_id: str | None = None
        self._authenticated = False
        self._declined: str | None = None
        self._publications: dict[str, _Publication] = {}
        self._subscriptions: dict[str, _Subscription] = {}
        self._wire: dict[str, str] = {}
        self._counter = 0

    # --- what the driver wants ---

    def outgoing(self) -> list[str]:
        """Return the messages to send now, each once."""
        messages, self._outgoing = self._outgoing, []
        return messages

    def publish(self, event: Event) -> None:
        """Send *event*; an Answered will follow."""
        self._publications[event.id] = _Publication(event)
        self._send("EVENT", event.to_json())

    def forget(self, event_id: str) -> None:
        """Stop waiting for the answer to a published event."""
        self._publications.pop(event_id, None)

    def subscribe(self, key: str, asked: Filter) -> None:
        """Ask for stored and live events; Received, one Synced and again Received will follow."""
        self._subscriptions[key] = _Subscription(asked, History(asked))
        self._request(key)

    def authenticate(self, event: Event) -> None:
        """Answer the last challenge with a signed kind 22242 event."""
        self._auth_id = event.id
        self._send("AUTH", event.to_json())

    def decline(self, reason: str) -> list[Happening]:
        """Leave the challenge unanswered: what waits for it is answered with *reason*."""
        self._asked = False
        self._declined = reason
        return self._give_up(f"auth-required: {reason}")

    # --- what the relay says ---

    def receive(self, data: str | bytes) -> list[Happening]:
        """Return what one message means. Raises: PeerProtocolError when it is not of this protocol."""
        try:
            message = parse_relay_message(data)
        except BadEventError as error:
            return [Forged(error)]
        match message:
            case EventMessage():
                return self._on_event(message)
            case OkMessage():
                return self._on_ok(message)
            case EoseMessage():
                return self._on_eose(message.subscription)
            case ClosedMessage():
                return self._on_closed(message)
            case ChallengeMessage():
                return self._on_challenge(message.challenge)
            case NoticeMessage():
                return [Noticed(message.message)]
        return []

    def _on_challenge(self, challenge: str) -> list[Happening]:
        self._challenge = challenge
        waiting = any(item.waiting for item in self._publications.values()) or any(
            item.waiting for item in self._subscriptions.values()
        )
        return self._ask() if self._eager or waiting else []

    def _ask(self) -> list[Happening]:
        """Have the driver answer the challenge, once a challenge."""
        if self._challenge is None or self._declined is not None:
            return []
        challenge, self._challenge = self._challenge, None
        self._asked = True
        return [Challenged(challenge)]

    def _on_ok(self, message: OkMessage) -> list[Happening]:
        if self._auth_id is not None and message.id == self._auth_id:
            return self._on_auth_ok(message)
        publication = self._publications.get(message.id)
        if publication is None:
            return []
        kind = prefix(message.message)
        if not message.accepted and kind == "auth-required" and not publication.repeated:
            return self._hold_publication(publication, message)
        del self._publications[message.id]
        return [Answered(message.id, message.accepted or kind == "duplicate", message.message)]

    def _hold_publication(self, publication: _Publication, message: OkMessage) -> list[Happening]:
        if self._declined is not None:
            del self._publications[message.id]
            return [Answered(message.id, False, message.message)]
        publication.waiting = True
        if self._authenticated and not self._asked and self._challenge is None:
            self._repeat_publication(publication)  # the OK to our AUTH overtook this refusal
            return []
        return self._ask()

    def _on_auth_ok(self, message: OkMessage) -> list[Happening]:
        self._auth_id = None
        self._asked = False
        if not message.accepted:
            return [AuthRefused(message.message), *self._give_up(message.message)]
        self._authenticated = True
        for publication in self._publications.values():
            if publication.waiting:
                self._repeat_publication(publication)
        for key in self._subscriptions:
            self._subscriptions[key].repeated = True
            self._request(key)
        return [Authenticated()]

    def _repeat_publication(self, publication: _Publication) -> None:
        publication.waiting, publication.repeated = False, True
        self._send("EVENT", publication.event.to_json())

    def _give_up(self, message: str) -> list[Happening]:
        happenings: list[Happening] = []
        for event_id in [key for key, item in self._publications.items() if item.waiting]:
            del self._publications[event_id]
            happenings.append(Answered(event_id, False, message))
        for key in [key for key, item in self._subscriptions.items() if item.waiting]:
            del self._subscriptions[key]
            happenings.append(SubscriptionRefused(key, message))
        return happenings

    # --- subscriptions ---

    def _request(self, key: str) -> None:
        """Begin *key* anew: whatever was asked under older names is closed and forgotten."""
        subscription = self._subscriptions[key]
        self._close(subscription.live)
        self._close(subscription.page)
        subscription.history, subscription.waiting = History(subscription.filter), False
        subscription.live, subscription.page = self._name(key), ""
        # One stored event at most: `limit` 0 means "no limit" to some relays.
        self._send("REQ", subscription.live, replace(subscription.filter, limit=1).to_json())

    def _next_page(self, key: str) -> None:
        subscription = self._subscriptions[key]
        subscription.page = self._name(key)
        self._send("REQ", subscription.page, subscription.history.request().to_json())

    def _name(self, key: str) -> str:
        self._counter += 1
        name = f"{self._counter}"
        self._wire[name] = key
        return name

    def _close(self, name: str) -> None:
        if self._wire.pop(name, None) is not None:
            self._send("CLOSE", name)

    def _on_event(self, message: EventMessage) -> list[Happening]:
        key = self._wire.get(message.subscription)
        if key is None:
            return []
        subscription, event = self._subscriptions[key], message.event
        if not subscription.filter.matches(event):
            return [Forged(PeerProtocolError(f"event '{event.id[:16]}…' was not asked for"))]
        try:
            event.verify()
        except PeerProtocolError as error:
            return [Forged(error)]
        history = subscription.history
        if message.subscription == subscription.live:
            if subscription.page not in ("", _DONE):
                history.live(event.id)
            return [Received(key, event)]
        if not history.asked_for(event):
            return [Forged(PeerProtocolError(f"event '{event.id[:16]}…' is newer than asked for"))]
        return [Received(key, event)] if history.take(event) else []

    def _on_eose(self, name: str) -> list[Happening]:
        key = self._wire.get(name)
        if key is None:
            return []
        subscription = self._subscriptions[key]
        if name == subscription.live:
            if not subscription.page:
                self._next_page(key)
            return []
        self._close(name)
        if subscription.history.end_of_page():
            self._next_page(key)
            return []
        subscription.page = _DONE
        subscription.history = History(subscription.filter)  # what it remembers is needed no more
        return [] if self._asked else [Synced(key)]

    def _on_closed(self, message: ClosedMessage) -> list[Happening]:
        key = self._wire.pop(message.subscription, None)
        if key is None:
            return []
        subscription = self._subscriptions[key]
        if (
            prefix(message.message) == "auth-required"
            and not subscription.repeated
            and self._declined is None
        ):
            subscription.waiting = True
            return self._ask()
        del self._subscriptions[key]
        self._close(subscription.live)
        self._close(subscription.page)
        return [SubscriptionRefused(key, message.message)]

    def _send(self, *parts: object) -> None:
        self._outgoing.append(encode(*parts).decode())
