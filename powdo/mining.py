"""Mining for a command: the miner is made when it is needed, and a person sees how it goes.

What is said of the time to come is an average that never shrinks: proof of work has no memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from powdo.console import NORMAL, Console, Progress
from powdo.errors import RetryLaterError
from powdo.nips.pow_odds import expected, likelihood

if TYPE_CHECKING:
    from powdo.nips.event import Unsigned
    from powdo.nips.pow_search import Miner

_TRIAL = 0.05


class MiningLine(Progress):
    """The line on the terminal while one event is mined."""

    def __init__(self, target: int, *, visible: bool) -> None:
        super().__init__(f"mining {target} bits", None, visible=visible)
        self._target = target

    def _text(self) -> str:
        rate = self._done / max(time.monotonic() - self._begin, 1e-6)
        wanted = expected(self._target)
        text = (
            f"{self._label}: {short(rate)}H/s, {short(self._done)} attempts of {short(wanted)} expected, "
            f"{100 * likelihood(self._done, self._target):.0f} % were done by now"
        )
        return f"{text}; on average {seconds(wanted / rate)} from any moment" if rate else text


class Workshop:
    """Mines events one after the other; use it as a context, or close it."""

    def __init__(self, console: Console, *, kernel: str | None = None, threads: int | None = None) -> None:
        self._console = console
        self._kernel = kernel
        self._threads = threads
        self._miner: Miner | None = None

    @property
    def miner(self) -> Miner:
        """The miner, made once. Raises: ConfigurationError."""
        if self._miner is None:
            from powdo.adapters.miner import make_miner

            self._miner = make_miner(self._kernel, self._threads)
            self._console.debug(f"mining with {self._miner.name}, {self._miner.workers} at once")
        return self._miner

    def close(self) -> None:
        """End the work under way, and give back what the miner holds."""
        if self._miner is not None:
            self._miner.close()
            self._miner = None

    def forecast(self, event: Unsigned, target: int) -> float:
        """Return the seconds that *target* bits take for *event* here on average."""
        from powdo.nips.pow_template import MAX_TARGET, make_template

        template = make_template(event, MAX_TARGET)
        begin = time.monotonic()
        done = self.miner.work(template, template.turns.start, _TRIAL)
        return expected(target) * (time.monotonic() - begin) / max(done.attempts, 1)

    def mine(
        self,
        event: Unsigned,
        target: int,
        *,
        timeout: float | None = None,
        interrupted: Callable[[], bool] | None = None,
    ) -> Unsigned:
        """Return *event* with *target* bits.

        Raises: RetryLaterError when *timeout* seconds are over or it was *interrupted*, BadRecordError.
        """
        from powdo.adapters.miner import mine

        with MiningLine(target, visible=self._console.level >= NORMAL) as line:
            mined = mine(
                self.miner, event, target, seconds=timeout, progress=line.advance, interrupted=interrupted
            )
        if mined is not None:
            return mined
        if interrupted is not None and interrupted():
            raise RetryLaterError("interrupted while mining")
        raise RetryLaterError(
            f"no proof of {target} bits within {seconds(timeout or 0)}",
            hint="luck has no memory: try again, with more time or fewer bits",
        )


def short(number: float) -> str:
    """Return *number* with three digits and a prefix: `21.8 M`."""
    for limit, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return (
                f"{number / limit:.3g} {prefix}"
                if number < 999.5 * limit
                else f"{number / limit:.0f} {prefix}"
            )
    return f"{number:.3g} "


def seconds(value: float) -> str:
    """Return a length of time in its largest unit: `0.31 s`, `12 min`, `3.5 years`."""
    for limit, unit in ((365.25 * 86400, "years"), (86400, "days"), (3600, "h"), (60, "min")):
        if value >= 1.5 * limit:
            return f"{value / limit:.2g} {unit}" if value < 100 * limit else f"{value / limit:,.0f} {unit}"
    return f"{value:.2g} s"
