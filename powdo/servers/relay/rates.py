"""How often a client may do what costs the relay something: token buckets, with the time as argument.

Rules:
- a bucket holds a minute's worth, which may be spent at once, and fills up evenly;
- an event is paid for before its signature is looked at, by the connection and its address; then by the
  public keys that the connection has proved, else by the author, whom others may replay;
- what is asked (REQ, COUNT) is paid for by connection and address too; an AUTH by the connection, and one
  that proves nothing by the address;
- full buckets need no room: only what has been spent lately is remembered, and at most `_MOST` of that.
"""

from __future__ import annotations

from collections.abc import Collection

from powdo.nips.event import Event
from powdo.servers.proxies import network_of
from powdo.servers.relay.limits import Limits
from powdo.servers.relay.policy import WRAPS

_WINDOW = 60.0
_ROUNDING = 1e-6
_MOST = 20_000
#: An address may stand for an office: it has as much as so many connections.
_OFFICE = 5


class Buckets:
    """A bucket a key, of *per_minute* tokens; 0 sets no limit."""

    __slots__ = ("_full_at", "_most", "_step")

    def __init__(self, per_minute: int, *, most: int = _MOST) -> None:
        self._step = _WINDOW / per_minute if per_minute else 0.0
        self._most = most
        #: When each bucket will be full again, those used last at the end.
        self._full_at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def has(self, key: str, now: float) -> bool:
        """Return whether there is a token for *key* at *now*."""
        return max(self._full_at.get(key, now), now) + self._step <= now + _WINDOW + _ROUNDING

    def take(self, key: str, now: float) -> bool:
        """Take a token of *key* at *now*; return False when there is none."""
        if not self._step:
            return True
        if not self.has(key, now):
            return False
        self._full_at[key] = max(self._full_at.pop(key, now), now) + self._step
        if len(self._full_at) > self._most:
            self._forget(now)
        return True

    def _forget(self, now: float) -> None:
        """Forget full buckets, and of too many others those not used for longest: they count as full."""
        kept = [(key, at) for key, at in self._full_at.items() if at > now]
        self._full_at = dict(kept[-(self._most * 7 // 8) :])


class Rates:
    """The buckets of all clients of a relay; *limits* says how large they are."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.events = Buckets(limits.events_per_minute * _OFFICE)
        self.requests = Buckets(limits.requests_per_minute * _OFFICE)
        self.failures = Buckets(limits.auths_per_minute)
        self.pubkeys = Buckets(limits.events_per_minute)


class Meter:
    """What one connection from *address* has spent, together with the others from there."""

    __slots__ = ("_address", "_auths", "_events", "_rates", "_requests")

    def __init__(self, rates: Rates, address: str) -> None:
        self._rates = rates
        self._address = network_of(address)
        self._events = Buckets(rates.limits.events_per_minute)
        self._requests = Buckets(rates.limits.requests_per_minute)
        self._auths = Buckets(rates.limits.auths_per_minute)

    def may_publish(self, now: float) -> bool:
        """Pay for looking at an event; return False when there is nothing left."""
        return self._events.take("", now) and self._rates.events.take(self._address, now)

    def may_store(self, event: Event, authenticated: Collection[str], now: float) -> bool:
        """Pay for a verified *event*; return False when there is nothing left."""
        pubkeys = self._rates.pubkeys
        if authenticated:
            return all(pubkeys.take(f"proved {pubkey}", now) for pubkey in authenticated)
        return event.kind in WRAPS or pubkeys.take(event.pubkey, now)  # a wrap's author is used once

    def may_ask(self, now: float) -> bool:
        """Pay for a REQ or COUNT; return False when there is nothing left."""
        return self._requests.take("", now) and self._rates.requests.take(self._address, now)

    def may_authenticate(self, now: float) -> bool:
        """Pay for an AUTH; return False when there is nothing left, or too many from here proved nothing."""
        return self._auths.take("", now) and self._rates.failures.has(self._address, now)

    def failed(self, now: float) -> None:
        """Count an AUTH that proved nothing."""
        self._rates.failures.take(self._address, now)
