"""Proof of work for the events a command makes itself: how much, and mined here, before they are signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from powdo import signals
from powdo.errors import ConfigurationError
from powdo.mining import Workshop, seconds, short

if TYPE_CHECKING:
    from powdo.nips.event import Event, Unsigned
    from powdo.run import Run

#: Luck varies: one search in 20 000 takes ten times as long as the average.
_UNLUCKY = 10
_TIMEOUT = 30.0


class Proof:
    """As many *bits* as are asked for; None stands for what the primary relay wants."""

    def __init__(self, run: Run, bits: int | None) -> None:
        self._run = run
        self._bits = bits
        self._workshop = Workshop(run.console)
        self._agreed = False

    def close(self) -> None:
        """Give back what was used."""
        self._workshop.close()

    @property
    def bits(self) -> int:
        """The bits each event gets. Raises: RetryLaterError when the relay cannot be asked."""
        if self._bits is None:
            from powdo.adapters.relay.information import information

            relay = self._run.settings.relays()[0]
            self._bits = max(0, information(relay, timeout=_TIMEOUT).limit("min_pow_difficulty") or 0)
            self._run.console.info(f"'{relay}' wants {self._bits} bits of proof of work")
        return self._bits

    def holds(self, event: Event) -> bool:
        """Return whether *event* has the proof already."""
        from powdo.nips.pow import check

        return check(event, self.bits)

    def prove(self, event: Unsigned) -> Unsigned:
        """Return *event* with its proof, which a signature may cover now.

        Raises: ConfigurationError when it would take too long, RetryLaterError, BadRecordError.
        """
        if not self.bits:
            return event
        limit = self._run.settings.pow.max_seconds
        if not self._agreed:
            self._check(event, limit)
        return self._workshop.mine(event, self.bits, timeout=_UNLUCKY * limit, interrupted=signals.waits)

    def _check(self, event: Unsigned, limit: int) -> None:
        """Refuse what takes too long on average; wraps of one run are about equally long."""
        forecast = self._workshop.forecast(event, self.bits)
        if forecast > limit:
            raise ConfigurationError(
                f"{self.bits} bits would take {seconds(forecast)} on average, more than {seconds(limit)}",
                hint="ask for fewer bits, or raise max_seconds in [pow]",
            )
        self._run.console.info(
            f"{self.bits} bits take {short(2**self.bits)} attempts, about {seconds(forecast)}, on average"
        )
        self._agreed = True
