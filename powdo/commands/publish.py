"""`powdo publish`: signed events to the relays, the primary one first."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from powdo.errors import PeerAwayError, PowdoError, RetryLaterError
from powdo.options import (
    Run,
    command,
    dry_run_option,
    filter_options,
    network_options,
    pending_option,
    relay_urls,
)

if TYPE_CHECKING:
    from powdo.adapters.database import Store
    from powdo.adapters.outbox import Delivery, Outbox
    from powdo.adapters.relay.publisher import RelayClient
    from powdo.nips.event import Event
    from powdo.records.network import Published

#: For so long a relay that was away is not asked again in the same run.
_REST = 60.0
_SOON = 5.0


@command(
    "publish",
    epilog="powdo bundle --pending | powdo upload --pending | powdo wrap --pending | powdo publish --pending",
)
@filter_options
@pending_option
@network_options
@dry_run_option
@click.option(
    "--relay", "relays", metavar="URL", multiple=True, help="Send to URL; the first is the primary."
)
@click.option("--fan-out", "fan_out", metavar="URL", multiple=True, help="Send to URL too, if it is there.")
@click.option("--no-auth", is_flag=True, help="Never tell a relay who publishes.")
def publish(
    run: Run,
    files: tuple[str, ...],
    pending: bool,
    timeout: float,
    dry_run: bool,
    relays: tuple[str, ...],
    fan_out: tuple[str, ...],
    no_auth: bool,
) -> None:
    """Send signed events to the relays.

    Reads Nostr events and writes one record for each relay with what it said. The primary relay must
    take an event; the others are tried once. Gift wraps never go to fan-out relays.
    """
    publisher = _Publisher(
        run,
        relays=relay_urls(relays) or run.settings.relays(),
        fan_out=relay_urls(fan_out) or run.settings.worker.fan_out,
        timeout=timeout,
        silent=no_auth,
    )
    try:
        run.stage(
            files,
            publisher.show if dry_run else publisher.handle,
            key=lambda obj: str(obj.get("id")),
            pending=publisher.pending if pending else None,
            next_retry=publisher.next_retry,
        )
    finally:
        publisher.close()


class _Publisher:
    """Open connections, relays that were away, and the outbox that waits for the primary relay."""

    def __init__(
        self, run: Run, *, relays: tuple[str, ...], fan_out: tuple[str, ...], timeout: float, silent: bool
    ) -> None:
        self._run = run
        self._relays = tuple(dict.fromkeys(relays))
        self._fan_out = tuple(url for url in dict.fromkeys(fan_out) if url not in relays)
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
        """Return the outbox where there is one: an operator publishes receipts without."""
        directory = self._run.settings.state_dir
        if self._queue is None and (create or (directory / "outbox.sqlite").exists()):
            from powdo.adapters.outbox import Outbox

            self._queue = Outbox(directory)
        return self._queue

    def pending(self) -> Iterator[dict[str, Any]]:
        """Yield the gift wraps that wait for the primary relay, until it is found away."""
        outbox = self._outbox(create=True)
        if outbox is None:
            return
        now = int(time.time())
        outbox.set_right(now=now)
        for wrap in outbox.unpublished(now=now):
            if self._rest(self._relays[0]) is not None:
                self._run.console.info("the other gift wraps wait until the relay is back")
                return
            yield wrap.event

    def next_retry(self) -> float | None:
        """Return when to look into the outbox again."""
        outbox = self._outbox()
        due = outbox.next_retry("publish") if outbox else None
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
        from powdo.records.network import Published

        event = self._event(obj)
        outbox = self._outbox()
        queued = outbox.wrap(event.id) if outbox else None
        if outbox is None or queued is None:
            deliveries, failure = self._deliver(event)
            if failure is None:
                self._note_receipt(event)
        elif queued.published is not None:
            deliveries, failure = outbox.deliveries(event.id), None
        else:
            deliveries, failure = self._deliver(event)
            self._note(outbox, event, deliveries, failure)
        for item in deliveries:
            yield Published(id=event.id, relay=item.relay, accepted=item.accepted, message=item.message)
        if failure is not None:
            raise failure

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
        from powdo.nips.kinds import WRAP_KINDS

        if not self._run.settings.is_operator or event.kind not in WRAP_KINDS:
            return
        if self._store is None:
            from powdo.adapters.database import Database, Store
            from powdo.errors import InputMissingError

            try:
                self._store = Store(Database(self._run.settings.database_url, create=False))
            except InputMissingError:
                return  # where nothing was ingested nobody waits for a receipt
        self._store.receipt_published(event.id, int(time.time()))

    def _deliver(self, event: Event) -> tuple[list[Delivery], PowdoError | None]:
        """Return what the relays said, and why the primary relay has not taken the event."""
        from powdo.adapters.outbox import Delivery
        from powdo.nips.kinds import WRAP_KINDS

        primary, *others = self._relays
        try:
            deliveries = [Delivery(primary, True, self._send(primary, event))]
        except RetryLaterError as error:
            return [], error
        except PowdoError as error:
            return [Delivery(primary, False, error.message)], error
        # gift wraps say who gets mail and when: they go to the recipient's own relays and nowhere else
        if event.kind not in WRAP_KINDS:
            others += [url for url in self._fan_out if url not in others]
        for url in others:
            try:
                deliveries.append(Delivery(url, True, self._send(url, event)))
            except PowdoError as error:
                self._run.console.warning(error.message, hint=error.hint)
                deliveries.append(Delivery(url, False, error.message))
        return deliveries, None

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
