"""What a service is given: its books, and who may ask on which terms."""

from __future__ import annotations

import time
from collections.abc import Container
from dataclasses import dataclass, replace
from typing import Protocol

from powdo.nips.event import Unsigned
from powdo.nips.pow_search import Miner
from powdo.nips.pow_template import MAX_TARGET, make_template
from powdo.nips.pow_terms import Terms

_TRIAL = 0.05


class Books(Protocol):
    """What the service needs of the books; see powdo.adapters.database.pow_books."""

    def begin(self, job_id: str, service: str, pubkey: str, fee: int, request: str) -> int | None:
        """Take the fee, or return the balance that does not cover it."""
        ...

    def end(self, job_id: str, charged: int | None = None, result: str | None = None) -> bool:
        """End a job and give back what is not charged."""
        ...

    def recover(self, service: str) -> int:
        """End what a crash left open."""
        ...

    def result(self, pubkey: str, request: str, since: int) -> str | None:
        """Return what an earlier job gave."""
        ...

    def forget_results(self, before: int) -> None:
        """Forget what earlier jobs gave."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Who may ask, who pays, and how much may wait; *members* are on the allowlist."""

    terms: Terms
    members: Container[str]
    members_only: bool = False
    members_pay: bool = False
    jobs_per_pubkey: int = 4
    #: Seconds of expected work that may wait in all.
    backlog: int = 120


def calibrated(terms: Terms, miner: Miner) -> Terms:
    """Return *terms* with the speed of this machine."""
    template = make_template(Unsigned("0" * 64, 0, 1, (), "x" * 600), MAX_TARGET)
    begin = time.monotonic()
    done = miner.work(template, template.turns.start, _TRIAL)
    return replace(terms, speed=done.attempts * template.blocks / (time.monotonic() - begin))
