"""What one client has asked for: stored events first, then live ones, each once (NIP-01, 45).

Rules:
- a live event is held back until EOSE of what is stored;
- gift wraps are found, counted and passed on only for the public keys the client has proved.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from powdo.errors import OutputError
from powdo.nips.event import Event
from powdo.nips.filters import Filter
from powdo.nips.relay_messages import Request, encode
from powdo.servers.relay.limits import Limits
from powdo.servers.relay.outgoing import Outgoing, blocks
from powdo.servers.relay.policy import WRAPS
from powdo.servers.relay.store import Store

_MOST_HELD = 4096


@dataclass(slots=True)
class _Subscription:
    filters: tuple[Filter, ...]
    head: bytes
    #: Live events that came before EOSE; None after it.
    held: list[tuple[str, bytes]] | None
    #: Stored events sent already, while the hub may still hand one of them on.
    sent: set[bytes] | None = None
    #: How many transactions must have been handed on before `sent` is forgotten.
    settled: int = 0


class Subscriptions:
    """The subscriptions of one connection, which has proved *keys* and may prove more."""

    __slots__ = ("_keys", "_limits", "_open", "_outgoing", "_store")

    def __init__(self, store: Store, limits: Limits, outgoing: Outgoing, keys: AbstractSet[str]) -> None:
        self._store = store
        self._limits = limits
        self._outgoing = outgoing
        self._keys = keys
        self._open: dict[str, _Subscription] = {}

    def end(self, name: str) -> None:
        """Forget a subscription, known or not."""
        self._open.pop(name, None)

    def refuse(self, name: str, reason: str) -> None:
        """End a subscription, or refuse to begin it."""
        self.end(name)
        self._outgoing.put(encode("CLOSED", name, reason))

    async def answer(self, request: Request) -> None:
        """Answer a REQ or COUNT."""
        refusal = self._refusal(request)
        if refusal:
            self.refuse(request.subscription, refusal)
            return
        try:
            if request.count:
                counted = await self._store.count(request.filters, tuple(self._keys))
                self._outgoing.put(encode("COUNT", request.subscription, {"count": counted}))
            else:
                await self._subscribe(request)
        except OutputError:
            self.refuse(request.subscription, "error: cannot read the store")

    def _refusal(self, request: Request) -> str | None:
        limits = self._limits
        if len(request.filters) > limits.max_filters:
            return f"invalid: at most {limits.max_filters} filters"
        if sum(_size(asked) for asked in request.filters) > limits.max_filter_values:
            return f"invalid: at most {limits.max_filter_values} values in filters"
        is_new = not request.count and request.subscription not in self._open
        if is_new and len(self._open) >= limits.max_subscriptions:
            return f"restricted: at most {limits.max_subscriptions} subscriptions"
        for asked in request.filters:
            if asked.kinds is None or WRAPS.isdisjoint(asked.kinds):
                continue
            if not self._keys:
                return "auth-required: gift wraps are shown to their recipient only"
            recipients = asked.tags.get("p")
            if recipients and WRAPS.issuperset(asked.kinds) and self._keys.isdisjoint(recipients):
                return "restricted: gift wraps are shown to their recipient only"
        return None

    async def _subscribe(self, request: Request) -> None:
        head = encode("EVENT", request.subscription)[:-1] + b","
        subscription = _Subscription(request.filters, head, held=[])
        self._open[request.subscription] = subscription
        sent: set[bytes] = set()
        for asked in request.filters:
            most = self._limits.max_limit
            limit = most if asked.limit is None else min(asked.limit, most)
            found = dict(await self._store.query(asked, tuple(self._keys), limit))
            for block in blocks(head, [raw for event_id, raw in found.items() if event_id not in sent]):
                self._outgoing.put_frames(block)
                await self._outgoing.room()
            sent.update(found)
        self._outgoing.put(encode("EOSE", request.subscription))
        held, subscription.held = subscription.held or [], None
        if self._store.handed_on < self._store.begun:
            subscription.sent, subscription.settled = sent, self._store.begun
        for event_id, raw in held:
            if bytes.fromhex(event_id) not in sent:
                self._outgoing.put(head + raw + b"]")

    def offer(self, event: Event, raw: bytes) -> None:
        """Send a new event on to the subscriptions it matches."""
        for subscription in self._open.values():
            if not any(asked.matches(event) for asked in subscription.filters):
                continue
            if subscription.held is None:
                if not self._is_repeated(subscription, event):
                    self._outgoing.put(subscription.head + raw + b"]")
            elif len(subscription.held) < _MOST_HELD:
                subscription.held.append((event.id, raw))
            else:
                self._outgoing.drop()

    def _is_repeated(self, subscription: _Subscription, event: Event) -> bool:
        """Return whether *event* came among the stored ones: committed before, handed on after."""
        if subscription.sent is None:
            return False
        if self._store.handed_on >= subscription.settled:
            subscription.sent = None
            return False
        return bytes.fromhex(event.id) in subscription.sent


def _size(asked: Filter) -> int:
    values = (asked.ids, asked.authors, asked.kinds, *asked.tags.values())
    return sum(len(item) for item in values if item is not None)
