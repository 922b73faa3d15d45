"""Events to relays: the primary one first, the others at once, and the queues that wait for the primary.

Rules:
- the primary relay must take an event; the others are tried once, all at the same time, and only warned of;
- gift wraps go to no fan-out relay: they say who gets mail and when;
- a reward counted from tracked time goes to no fan-out relay unless it is meant to;
- an event that is no gift wrap is kept before it is sent and forgotten once the primary relay has it or
  refuses it for good: whatever ends the process, a later run with --pending sends it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from powdo.errors import PeerAwayError, PowdoError, RefusedError, RetryLaterError

if TYPE_CHECKING:
    from powdo.adapters.database import Store
    from powdo.adapters.outbox import Delivery, Outbox
    from powdo.adapters.relay.publisher import RelayClient
    from powdo.nips.event import Event
    from powdo.records.network import Published
    from powdo.run import Run

#: For so long a relay that was away is not asked again in the same run.
_REST = 60.0
_SOON = 5.0
_AT_ONCE = 16


class Publisher:
    """Open connections, relays that were away, and the outbox that waits for the primary relay."""

    def __init__(
        self,
        run: Run,
        *,
        relays: tuple[str, ...] = (),
        fan_out: tuple[str, ...] = (),
        timeout: float,
        silent: bool = False,
        public: bool = False,
    ) -> None:
        self._run = run
        self._relays = tuple(dict.fromkeys(relays or run.settings.relays()))
        public_relays = dict.fromkeys(fan_out or run.settings.worker.fan_out)
        self._fan_out = tuple(url for url in public_relays if url not in self._relays)
        self._public = public
        self._timeout = timeout
        identity = run.settings.identity
        # a worker's identity is known only inside the encryption: no relay is told it, not even for lack of
        # an access key
        own = identity.user if run.settings.is_operator else None
        self._signer = None if silent else identity.access_user or own
        self._clients: dict[str, RelayClient] = {}
        self._away: dict[str, tuple[float, PeerAwayError]] = {}
        self._queue: Outbox | None = None
        self._store: Store | None = None

    def close(self) -> None:
        """End all connections."""
        for client in self._clients.values():
            client.close()
        if self._queue is not None:
            self._queue.close()
        if self._store is not None:
            self._store.close()

    # --- the outbox ---

    def _outbox(self, *, create: bool = False) -> Outbox | None:
        """Return the outbox where there is one: an operator's receipts need none."""
        directory = self._run.settings.state_dir
        if self._queue is None and (create or (directory / "outbox.sqlite").exists()):
            from powdo.adapters.outbox import Outbox

            self._queue = Outbox(directory)
        return self._queue

    def pending(self) -> Iterator[dict[str, Any]]:
        """Yield the gift wraps, then the other events, that wait for the primary relay, until it is away."""
        outbox = self._outbox()
        if outbox is None:
            return
        now = int(time.time())
        outbox.set_right(now=now)
        for event in (wrap.event for wrap in outbox.unpublished(now=now)):
            if self._waits():
                return
            yield event
        for waiting in outbox.waiting_events():
            if self._waits():
                return
            yield waiting.event

    def _waits(self) -> bool:
        if self._rest(self._relays[0]) is None:
            return False
        self._run.console.info("the others wait until the relay is back")
        return True

    def next_retry(self) -> float | None:
        """Return when to look into the outbox again."""
        outbox = self._outbox()
        if outbox is None:
            return None
        times = (outbox.next_retry("publish"), outbox.next_event_retry(now=int(time.time())))
        due = min((at for at in times if at is not None), default=None)
        return None if due is None else max(due, time.time() + _SOON)

    # --- one event ---

    def _event(self, obj: dict[str, Any]) -> Event:
        """Return the checked event. Raises: BadRecordError, PeerProtocolError."""
        from powdo.nips.event import Event

        event = Event.from_json(obj)
        event.verify()
        return event

    def show(self, obj: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Return what would be sent."""
        self._event(obj)
        yield obj

    def handle(self, obj: dict[str, Any]) -> Iterator[Published]:
        """Return what each relay said; what is published already is not sent again."""
        from powdo.nips.kinds import WRAP_KINDS
        from powdo.records.network import Published

        event = self._event(obj)
        if event.kind in WRAP_KINDS:
            deliveries, failure = self._wrap(event)
        else:
            deliveries, failure = self._other(event)
        for item in deliveries:
            yield Published(id=event.id, relay=item.relay, accepted=item.accepted, message=item.message)
        if failure is not None:
            raise failure

    def _wrap(self, event: Event) -> tuple[list[Delivery], PowdoError | None]:
        """Deliver a gift wrap: one of the outbox is marked there, any other is its sender's to send again."""
        outbox = self._outbox()
        queued = outbox.wrap(event.id) if outbox else None
        if outbox is not None and queued is not None and queued.published is not None:
            return outbox.deliveries(event.id), None
        deliveries, failure = self._deliver(event, self._relays[1:])
        if outbox is not None and queued is not None:
            self._note(outbox, event, deliveries, failure)
        elif failure is None:
            self._note_receipt(event)
        return deliveries, failure

    def _other(self, event: Event) -> tuple[list[Delivery], PowdoError | None]:
        """Deliver an event that is kept until the primary relay has it."""
        from powdo.nips.actions import is_tracked
        from powdo.nips.event import is_expired

        outbox = self._outbox(create=True)
        assert outbox is not None
        now = int(time.time())
        if is_expired(event, now):
            outbox.forget_event(event.id)
            self._run.console.info(f"event '{event.id}' has expired and is not sent")
            return [], None
        public = outbox.keep_event(event, public=self._public or not is_tracked(event), now=now)
        deliveries, failure = self._deliver(event, self._relays[1:] + (self._fan_out if public else ()))
        if failure is None or isinstance(failure, RefusedError):
            outbox.forget_event(event.id)
        else:
            outbox.defer_event(event.id, failure.message, now=now)
        return deliveries, failure

    def _note(
        self, outbox: Outbox, event: Event, deliveries: list[Delivery], failure: PowdoError | None
    ) -> None:
        now = int(time.time())
        if deliveries:
            outbox.mark_published(event.id, deliveries, done=failure is None, now=now)
        if failure is not None:
            outbox.defer_wrap(event.id, failure.message, now=now)

    def _note_receipt(self, event: Event) -> None:
        """At an operator's, end the wait of the receipt that *event* may be: the primary relay has it."""
        if not self._run.settings.is_operator:
            return
        if self._store is None:
            from powdo.adapters.database import Database, Store
            from powdo.errors import InputMissingError

            try:
                self._store = Store(Database(self._run.settings.database_url, create=False))
            except InputMissingError:
                return  # where nothing was ingested nobody waits for a receipt
        self._store.receipt_published(event.id, int(time.time()))

    def _deliver(self, event: Event, others: Sequence[str]) -> tuple[list[Delivery], PowdoError | None]:
        """Return what the relays said, and why the primary relay has not taken the event."""
        from powdo.adapters.outbox import Delivery

        primary = self._relays[0]
        try:
            deliveries = [Delivery(primary, True, self._send(primary, event))]
        except RetryLaterError as error:
            return [], error
        except PowdoError as error:
            return [Delivery(primary, False, error.message)], error
        for url, answer in zip(others, self._send_all(others, event), strict=True):
            if isinstance(answer, PowdoError):
                self._run.console.warning(answer.message, hint=answer.hint)
                deliveries.append(Delivery(url, False, answer.message))
            else:
                deliveries.append(Delivery(url, True, answer))
        return deliveries, None

    def _send_all(self, urls: Sequence[str], event: Event) -> list[str | PowdoError]:
        """Return what each relay answers or fails with, all asked at once: the slowest one counts."""

        def attempt(url: str) -> str | PowdoError:
            try:
                return self._send(url, event)
            except PowdoError as error:
                return error

        if len(urls) < 2:
            return [attempt(url) for url in urls]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(len(urls), _AT_ONCE)) as pool:
            return list(pool.map(attempt, urls))

    def _send(self, url: str, event: Event) -> str:
        """Return the relay's answer; one that was away a moment ago is not waited for again."""
        if (error := self._rest(url)) is not None:
            raise error
        try:
            return self._client(url).publish(event)
        except PeerAwayError as failure:
            self._away[url] = (time.monotonic() + _REST, failure)
            raise

    def _rest(self, url: str) -> PeerAwayError | None:
        """Return why the relay *url* is left alone for now, or None."""
        until, error = self._away.get(url, (0.0, None))
        return error if time.monotonic() < until else None

    def _client(self, url: str) -> RelayClient:
        if url not in self._clients:
            from powdo.adapters.relay.publisher import RelayClient

            self._clients[url] = RelayClient(
                url,
                timeout=self._timeout,
                sign_auth=self._sign_auth if self._signer else None,
                notice=lambda text: self._run.console.info(f"'{url}' says: {text}"),
            )
        return self._clients[url]

    def _sign_auth(self, challenge: str, url: str) -> Event:
        """Return the answer to a challenge; the key is unlocked for this moment only."""
        import secrets

        from powdo.nips.nip42 import auth_event

        with self._run.key(self._signer or "") as key:
            return auth_event(challenge, url, key, int(time.time()), secrets.token_bytes(32))
