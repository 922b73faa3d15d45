"""Whose turn it is: jobs in the order they came for each payer, and payers in turn, a slice each."""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from powdo.nips.event import Unsigned
from powdo.nips.pow_search import Search
from powdo.nips.pow_session import Request
from powdo.nips.pow_template import DATED_BACK, without_nonce
from powdo.nips.relay_messages import encode

#: Told the mined event, or the words of a NOTICE.
Listener = Callable[[Unsigned | str], None]


def request_id(request: Request) -> str:
    """Return what names a request when its payer makes it again: a fresh date and nonces do not count."""
    event = request.event
    date = event.created_at if event.kind in DATED_BACK else None
    tags = without_nonce(event.tags)
    return sha256(
        encode(request.payer, event.pubkey, date, event.kind, tags, event.content, request.target)
    ).hexdigest()


@dataclass(slots=True, eq=False)
class Job:
    """One search that is paid for, and who waits for it; *spent* seconds have been mined."""

    request: Request
    name: str
    fee: int
    expected: float
    limit: float
    search: Search
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    listeners: list[Listener] = field(default_factory=list)
    spent: float = 0.0

    def tell(self, outcome: Unsigned | str) -> None:
        """Tell everybody who waits, once."""
        listeners, self.listeners = self.listeners, []
        for listener in listeners:
            listener(outcome)


class Turns:
    """The jobs that are to be worked on."""

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[Job]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __contains__(self, job: Job) -> bool:
        return job in self._queues.get(job.request.payer, ())

    def all(self) -> list[Job]:
        """Return all jobs."""
        return [job for queue in self._queues.values() for job in queue]

    def add(self, job: Job) -> None:
        """Put *job* behind those of its payer."""
        self._queues.setdefault(job.request.payer, deque()).append(job)

    def next(self) -> Job | None:
        """Return the job whose turn it is, and put its payer behind the others."""
        if not self._queues:
            return None
        payer = next(iter(self._queues))
        self._queues.move_to_end(payer)
        return self._queues[payer][0]

    def remove(self, job: Job) -> None:
        """Take *job* out, if it is there."""
        if job not in self:
            return
        queue = self._queues[job.request.payer]
        queue.remove(job)
        if not queue:
            del self._queues[job.request.payer]
