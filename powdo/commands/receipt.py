"""`powdo receipt`: gift wraps that tell workers what became of their bundles.

Rules:
- a receipt stays due until `publish` has the primary relay's OK; what is written to a pipe may be lost there;
- statement and gift wrap are in the database before the wrap is written; asked again, the same is written;
- only access keys are written to: a wrap names its recipient to the relay, and no identity is told to it;
- who is not enrolled hears nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from powdo.errors import BadRecordError
from powdo.options import Run, command, dry_run_option, filter_options, pending_option

if TYPE_CHECKING:
    from powdo.adapters.database import Chain, Request
    from powdo.nips.event import Event, Unsigned
    from powdo.nips.nip90 import Feedback

#: How long after it was written a wrap that no relay has is written again, seconds.
_AGAIN = 300
_LONGEST_REASON = 1000


@command(
    "receipt",
    epilog="powdo receipt --pending < /dev/null | powdo publish\n"
    "powdo listen | powdo ingest --pending | powdo receipt --pending | powdo publish",
)
@filter_options
@pending_option
@dry_run_option
def receipt(run: Run, files: tuple[str, ...], pending: bool, dry_run: bool) -> None:
    """Answer workers: what was stored, what was refused and why.

    Reads ingested and rejected records; writes gift wraps to the workers' access keys. With --pending also
    what is marked as due, until `powdo publish` has given it to the relay.
    """
    answerer = _Answerer(run, dry=dry_run)
    try:
        run.stage(
            files,
            answerer.handle,
            key=answerer.key,
            pending=answerer.pending if pending else None,
            next_retry=answerer.next_retry,
        )
    finally:
        answerer.close()


class _Answerer:
    """One run of the command over the database."""

    def __init__(self, run: Run, *, dry: bool) -> None:
        from powdo.adapters.database import Store

        self._run = run
        self._dry = dry
        self._key = run.key(run.settings.user())
        self._store = Store(run.settings.database_url)
        self._taken = 0
        self._written: dict[str, float] = {}
        self._warned: set[str] = set()

    def close(self) -> None:
        """Give the database connections back."""
        self._store.close()

    def key(self, _record: dict[str, Any]) -> str:
        """Return another key each time: what is sent again is answered again, in the same run too."""
        self._taken += 1
        return str(self._taken)

    # --- the queue ---

    def pending(self) -> Iterator[dict[str, Any]]:
        """Yield the requests that wait for an answer."""
        for name in self._store.unreachable():
            self._warn(name)
        for rumor in self._store.requests_due():
            yield _Due(rumor=rumor)

    def next_retry(self) -> float | None:
        """Return the unix time at which to look for what is due."""
        return time.time() + _AGAIN

    # --- one request ---

    def handle(self, record: dict[str, Any]) -> Iterator[dict[str, object]]:
        """Yield the gift wraps that answer *record*, durable by then."""
        rumor = record["rumor"] if isinstance(record, _Due) else self._rumor(record)
        request = None if rumor is None else self._store.request(rumor)
        if request is None:
            if rumor is not None:
                raise BadRecordError(f"the rumor '{rumor}' is not in the database")
            return
        if not request.due and request.id in self._written:
            return  # both ways in one run, and the relay has it already
        if not request.access:
            if not request.removed:
                self._warn(request.worker_name)
            return
        if self._is_fresh(request):
            return
        yield from self._wraps(request)
        self._written[request.id] = time.monotonic()

    def _rumor(self, record: dict[str, Any]) -> str | None:
        """Return the id of *record*'s rumor, None for a stranger's. Raises: BadRecordError."""
        from powdo.records.operator import Ingested, Rejected

        if record.get("type") == Ingested.TYPE:
            return Ingested.from_json(record).rumor
        rejected = Rejected.from_json(record)
        return None if rejected.wrap is None else self._store.refused_rumor(rejected.wrap)

    def _is_fresh(self, request: Request) -> bool:
        """Return whether the answer was written a moment ago and is on its way."""
        return time.monotonic() - self._written.get(request.id, -_AGAIN) < _AGAIN

    def _warn(self, worker: str) -> None:
        if worker not in self._warned:
            self._warned.add(worker)
            self._run.console.warning(
                f"'{worker}' has no access key to which receipts could go",
                hint=f"`powdo users add --name {worker} --access NPUB` names one",
            )

    def _wraps(self, request: Request) -> list[dict[str, object]]:
        """Return a gift wrap for each access key: those that wait already, and what is missing made anew.

        Of what is due none for a key whose answer a relay has; what is asked for again goes to all.
        """
        import json
        import os

        from powdo.nips.giftwrap import enclose

        now = int(time.time())
        waiting = self._store.waiting_receipts(request.id, now)
        new: list[tuple[str, Event]] = []
        answered = self._store.answered(request.id) if request.due else set()
        open_ = [key for key in request.access if key not in answered] or request.access
        if missing := [key for key in open_ if key not in waiting]:
            rumor = self._rumor_for(request)
            new = [(to, enclose(rumor, self._key, to, now=now, fresh=os.urandom)) for to in missing]
        if new and not self._dry:
            self._store.keep_receipts(
                request, [(event.id, to, json.dumps(event.to_json())) for to, event in new], now
            )
        kept = [json.loads(waiting[key]) for key in open_ if key in waiting]
        return kept + [event.to_json() for _, event in new]

    def _rumor_for(self, request: Request) -> Unsigned:
        """Return the answer to *request*: the same rumor each time."""
        from powdo.nips.nip90 import Feedback

        if request.stated is None:
            reason = (request.reason or "refused")[:_LONGEST_REASON]
            feedback = Feedback("error", request.id, request.author, request.blob, reason)
        else:
            feedback = self._stored(request, request.stated.device)
        return feedback.to_rumor(self._key.pubkey, request.at)

    def _stored(self, request: Request, device: str) -> Feedback:
        """Return the answer that *request* is stored, with what its device's chain lacks."""
        from powdo.nips.nip90 import MAX_MISSING, Feedback, Missing

        content = request.statement or self._state(request)
        chain = self._store.chain(request.worker, device)
        if not chain.missing and not chain.forked:
            return Feedback("success", request.id, request.author, request.blob, content=content)
        # The latest are those that the worker may still have.
        asked = tuple(Missing(device, *each) for each in chain.missing[-MAX_MISSING:])
        return Feedback("partial", request.id, request.author, request.blob, _lacking(chain), content, asked)

    def _state(self, request: Request) -> str:
        """Return the statement of *request*, signed now and kept for good."""
        import os

        from powdo.nips.event import Unsigned, sign
        from powdo.worktime.statement import STATEMENT_KIND

        assert request.stated is not None
        unsigned = Unsigned(self._key.pubkey, request.at, STATEMENT_KIND, (), request.stated.content)
        event = sign(unsigned, self._key, os.urandom(32)).to_bytes().decode()
        return event if self._dry else self._store.keep_statement(request.id, event)


def _lacking(chain: Chain) -> str:
    """Return in words what is wrong with *chain*."""
    missing = [str(first) if first == last else f"{first}-{last}" for first, last in chain.missing]
    lists = {"missing": missing, "told in two versions": [str(number) for number in chain.forked]}
    text = "; ".join(f"{what}: {' '.join(numbers)}" for what, numbers in lists.items() if numbers)
    return text[:_LONGEST_REASON]


class _Due(dict[str, Any]):
    """A request that waits for its answer; no line of the input can be one."""
