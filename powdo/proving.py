"""Proof of work for events before they are signed: how much, and mined here or bought from a service."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

from powdo import signals
from powdo.errors import ConfigurationError, PeerProtocolError
from powdo.mining import Workshop, seconds, short
from powdo.nips.pow_template import MAX_TARGET

if TYPE_CHECKING:
    from powdo.adapters.relay.provider import Provider
    from powdo.nips.event import Event, Unsigned
    from powdo.run import Run

#: Luck varies: one search in 20 000 takes ten times as long as the average.
_UNLUCKY = 10
_TIMEOUT = 30.0


class Seller(NamedTuple):
    """A service that mines for others, and who asks it: a user in custody, or (None) a key made for this."""

    url: str
    user: str | None
    patience: float = 600.0


class Proof:
    """As many *bits* as are asked for; None stands for what the primary relay wants."""

    def __init__(self, run: Run, bits: int | None, seller: Seller | None = None) -> None:
        self._run = run
        self._bits = bits
        self._seller = seller
        self._workshop = Workshop(run.console)
        self._provider: Provider | None = None
        self._agreed = False

    def close(self) -> None:
        """Give back what was used."""
        self._workshop.close()
        if self._provider is not None:
            self._provider.close()

    @property
    def bits(self) -> int:
        """The bits each event gets. Raises: RetryLaterError, PeerProtocolError of the relay that is asked."""
        if self._bits is None:
            from powdo.adapters.relay.information import information

            relay = self._run.settings.relays()[0]
            wanted = information(relay, timeout=_TIMEOUT).limit("min_pow_difficulty") or 0
            if not 0 <= wanted <= MAX_TARGET:
                raise PeerProtocolError(f"'{relay}' wants {wanted} bits of proof of work, which no id has")
            self._bits = wanted
            self._run.console.info(f"'{relay}' wants {self._bits} bits of proof of work")
        return self._bits

    def holds(self, event: Event) -> bool:
        """Return whether *event* has the proof already."""
        from powdo.nips.pow import check

        return check(event, self.bits)

    def prove(self, event: Unsigned) -> Unsigned:
        """Return *event* with its proof, which a signature may cover now.

        Raises: ConfigurationError when it would take too long here, RetryLaterError, BadRecordError;
        RefusedError and PeerProtocolError of a service.
        """
        if not self.bits:
            return event
        if self._seller is not None:
            return self._buy(self._seller, event)
        limit = self._run.settings.pow.max_seconds
        if not self._agreed:
            self._check(event, limit)
        return self._workshop.mine(event, self.bits, timeout=_UNLUCKY * limit, interrupted=signals.waits)

    def _buy(self, seller: Seller, event: Unsigned) -> Unsigned:
        from powdo.adapters.relay.provider import Provider

        if self._provider is None:
            self._provider = Provider(
                seller.url, self._signer(seller.user), timeout=_TIMEOUT, patience=seller.patience
            )
        return self._provider.mine(event, self.bits, interrupted=signals.waits)

    def _signer(self, user: str | None) -> Callable[[str, str], Event]:
        """Return what signs for *user*, unlocked for a moment each time, or for a key that nobody knows."""
        from powdo.nips.curve import SecretKey
        from powdo.nips.nip42 import auth_event

        thrown_away = nullcontext(SecretKey(os.urandom(32)))

        def sign(challenge: str, url: str) -> Event:
            with thrown_away if user is None else self._run.key(user) as key:
                return auth_event(challenge, url, key, int(time.time()), os.urandom(32))

        return sign

    def _check(self, event: Unsigned, limit: int) -> None:
        """Refuse what takes too long on average; wraps of one run are about equally long."""
        forecast = self._workshop.forecast(event, self.bits)
        if forecast > limit:
            raise ConfigurationError(
                f"{self.bits} bits would take {seconds(forecast)} on average, more than {seconds(limit)}",
                hint="ask for fewer bits, raise max_seconds in [pow], or have them mined with --pow-provider",
            )
        self._run.console.info(
            f"{self.bits} bits take {short(2**self.bits)} attempts, about {seconds(forecast)}, on average"
        )
        self._agreed = True
