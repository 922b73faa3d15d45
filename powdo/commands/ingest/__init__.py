"""`powdo ingest`: gift wraps become stored bundles, each fetched, checked and committed before its record.

Rules:
- a gift wrap from stdin is in the inbox, on the disk, before anything is done about it;
- what fails for now waits in the inbox for its next try; what fails for good is refused, once and for all;
- a wrap of a stranger leaves an id and no record; other rumors than file messages leave no record either.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from powdo.errors import BadRecordError, BusyError, PeerProtocolError, PowdoError, UsageError
from powdo.options import Run, command, filter_options, network_options, pending_option

if TYPE_CHECKING:
    from powdo.adapters.database import Item, Refusal, Stored
    from powdo.lines import JsonObject
    from powdo.nips.event import Event
    from powdo.records.operator import Ingested, Rejected

    Records = Iterator[Ingested | Rejected]

#: How long a wrap waits after each failed try, in seconds; the last stands for all that follow.
_BACK_OFF = (60, 300, 1800, 7200, 43_200)
_BATCH = 8
#: How often the inbox is looked into with --follow, in seconds.
_EVERY = 2.0


@command(
    "ingest",
    epilog="powdo listen | powdo ingest --pending\n"
    "powdo ingest --pending < /dev/null\n"
    "powdo ingest --pending --follow",
)
@filter_options
@pending_option
@click.option("--follow", is_flag=True, help="Go on taking what waits in the inbox, until a signal.")
@network_options
def ingest(run: Run, files: tuple[str, ...], pending: bool, follow: bool, timeout: float) -> None:
    """Fetch, check and store what gift wraps announce.

    Reads gift wraps; writes an ingested or a rejected record for each, after the commit.
    """
    if follow and (files or not pending):
        raise UsageError(
            "--follow takes no input but the inbox", hint="use --pending --follow, and leave FILE out"
        )
    ingester = _Ingester(run, timeout)
    try:
        if follow:
            run.follow(ingester.handle, key=_id, pending=ingester.pending, every=_EVERY)
        run.stage(
            files,
            ingester.handle,
            key=_id,
            pending=ingester.pending if pending else None,
            next_retry=ingester.next_retry,
            prepare=ingester.prepare,
        )
    finally:
        ingester.close()


def _id(event: dict[str, Any]) -> str:
    return str(event.get("id"))


class _Ingester:
    """One run of the command over the inbox."""

    def __init__(self, run: Run, timeout: float) -> None:
        from powdo.adapters.database import Inbox, Store
        from powdo.adapters.evidence import Evidence
        from powdo.commands.ingest.receiver import Limits, Receiver

        settings = run.settings
        self._run = run
        self._store = Store(settings.database_url)
        self._inbox = Inbox(self._store.database)
        self._evidence = Evidence(settings.data_dir / "evidence")
        self._receiver = Receiver(
            key=run.key(settings.user()),
            store=self._store,
            inbox=self._inbox,
            evidence=self._evidence,
            limits=Limits(
                hosts=settings.dvm.blossom_hosts, max_bundle=settings.dvm.max_bundle, timeout=timeout
            ),
        )
        self._claimed: dict[str, Item] = {}
        self._arrived: dict[str, tuple[dict[str, Any], Item]] = {}

    def close(self) -> None:
        """Give back what was claimed and not handled, so that other hosts need not wait for the lease."""
        for wrap in (*self._claimed, *self._arrived):
            self._inbox.release(wrap)
        self._receiver.close()
        self._evidence.close()
        self._store.close()

    # --- the queue ---

    def pending(self) -> Iterator[dict[str, Any]]:
        """Yield the gift wraps that are due, claimed so that no other run takes them."""
        self._inbox.free_the_dead()
        while items := self._inbox.claim(int(time.time()), limit=_BATCH):
            self._claimed = {item.wrap: item for item in items}
            for item in items:
                yield dict(item.event)

    def next_retry(self) -> float | None:
        """Return the unix time at which the next gift wrap is due, or None."""
        return self._inbox.next_retry()

    # --- lines ---

    def prepare(self, records: Sequence[dict[str, Any]]) -> None:
        """Take the gift wraps among *records* into the inbox with one commit; `handle` tells of the rest."""
        from powdo.nips.event import Event

        checked: dict[str, tuple[dict[str, Any], JsonObject]] = {}
        for record in records:
            try:
                event = Event.from_json(record)
                _check(event)
            except PowdoError:
                continue
            checked.setdefault(event.id, (record, event.to_json()))
        events = [event for _, event in checked.values()]
        for item in self._inbox.accept_all(events, int(time.time())):
            self._arrived[item.wrap] = (checked[item.wrap][0], item)

    # --- one gift wrap ---

    def handle(self, obj: dict[str, Any]) -> Records:
        """Yield what became of the gift wrap *obj*, which is committed by then."""
        item = self._claimed.pop(str(obj.get("id")), None)
        if item is not None:
            yield from self._process(item, queued=True)
            return
        record, item = self._arrived.get(str(obj.get("id")), (None, None))
        if item is not None and record is obj:  # a forged line may have the same id
            del self._arrived[item.wrap]
            yield from self._process(item)
            return
        from powdo.nips.event import Event
        from powdo.records.operator import Rejected

        event = Event.from_json(obj)
        try:
            _check(event)
        except PeerProtocolError as error:
            yield Rejected(wrap=event.id, reason=error.message)
            raise PeerProtocolError(f"rejected: {error.message}") from None
        item = self._inbox.accept(event.to_json(), int(time.time()))
        if item is not None:
            yield from self._process(item)
        else:
            yield from self._again(event)

    def _process(self, item: Item, *, queued: bool = False) -> Records:
        """Do all there is to do about a claimed gift wrap; a second copy from the queue is no news."""
        from powdo.adapters.database import Stored

        try:
            outcome = self._receiver.receive(item)
        except Exception as error:
            # Whatever it is, the wrap must not keep the others from their turn.
            retry_at = int(time.time()) + _BACK_OFF[min(item.attempts, len(_BACK_OFF) - 1)]
            self._inbox.defer(item.wrap, str(error), retry_at)
            raise
        if not (queued and isinstance(outcome, Stored) and outcome.wrap != item.wrap):
            yield from self._tell(outcome)

    def _again(self, event: Event) -> Records:
        """Yield what was said of *event* when it came first."""
        outcome = self._inbox.outcome(event.id)
        if outcome is None:
            raise BusyError(f"another run is at the gift wrap '{event.id}'")
        if outcome == "rejected":
            yield from self._tell(self._store.refusal(event.id))
        elif outcome == "ingested":
            yield from self._tell(self._store.find(event.id))
        elif outcome == "duplicate":
            yield from self._tell(self._receiver.known(event))
        elif outcome == "stranger" and self._receiver.enrolled(event):
            self._inbox.reopen(event.to_json(), int(time.time()))
            item = self._inbox.accept(event.to_json(), int(time.time()))
            if item is not None:
                yield from self._process(item)

    def _tell(self, outcome: Stored | Refusal | None) -> Records:
        from powdo.adapters.database import Refusal

        if isinstance(outcome, Refusal):
            yield _rejected(outcome)
            raise _error(outcome)
        if outcome is not None:
            yield _ingested(outcome)


def _check(event: Event) -> None:
    """Raise PeerProtocolError for what is no gift wrap or forged, which is not remembered.

    Its id may be that of a genuine one.
    """
    from powdo.nips.kinds import WRAP_KINDS

    if event.kind not in WRAP_KINDS:
        raise PeerProtocolError(f"kind {event.kind} is no gift wrap")
    event.verify()


def _error(refusal: Refusal) -> PowdoError:
    kind = BadRecordError if refusal.status == BadRecordError.status else PeerProtocolError
    return kind(f"rejected: {refusal.reason}")


def _rejected(refusal: Refusal) -> Rejected:
    from powdo.nips.bech32 import encode_npub
    from powdo.records.operator import Rejected

    return Rejected(
        wrap=refusal.wrap,
        reason=refusal.reason,
        rumor=refusal.rumor,
        npub=None if refusal.pubkey is None else encode_npub(refusal.pubkey),
    )


def _ingested(stored: Stored) -> Ingested:
    from powdo.nips.bech32 import encode_npub
    from powdo.records.operator import Ingested
    from powdo.worktime.manifest import from_micros

    return Ingested(
        wrap=stored.wrap,
        rumor=stored.rumor,
        worker=stored.worker,
        npub=encode_npub(stored.pubkey),
        device=stored.device,
        sequence=stored.sequence,
        begin=from_micros(stored.begin_us),
        end=from_micros(stored.end_us),
        sha256=stored.sha256,
        size=stored.size,
        screenshots=stored.screenshots,
        bucket_events=stored.bucket_events,
    )
