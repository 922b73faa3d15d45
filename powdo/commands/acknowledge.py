"""`powdo acknowledge`: receipts end the wait of the bundles they are about.

Rules:
- what a receipt says is believed of the DVM that the bundle was wrapped for, and of nobody else;
- "stored" is believed only with a statement that the DVM signed, over the very blob, link and number;
- the outbox is changed before the record is written; what comes twice gives the same record;
- own copies, receipts for other machines, and what strangers send are passed over.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from powdo.errors import BadRecordError, BusyError, PeerProtocolError, RefusedError
from powdo.options import Run, command, filter_options, pending_option

if TYPE_CHECKING:
    from powdo.adapters.database import Item
    from powdo.adapters.outbox import Entry
    from powdo.nips.event import Event, Unsigned
    from powdo.nips.nip90 import Feedback
    from powdo.records.receipt import Receipt
    from powdo.worktime.statement import Statement

_BATCH = 64
#: Only the outbox or the database can fail, and both do not for long.
_BACK_OFF = 300
_TOLD = 10


@command(
    "acknowledge",
    epilog="powdo listen --until-eose | powdo acknowledge --pending\n"
    "powdo acknowledge --pending < /dev/null | jq -r 'select(.status == \"error\") | .reason'",
)
@filter_options
@pending_option
def acknowledge(run: Run, files: tuple[str, ...], pending: bool) -> None:
    """Take receipts: note in the outbox what the DVM has and what it refuses.

    Reads gift wraps addressed to the access key; writes a receipt record for each receipt of a bundle of
    this outbox. With --pending also what `listen` took in and nobody opened yet.
    """
    taker = _Taker(run)
    try:
        taker.expire()
        run.stage(
            files,
            taker.handle,
            key=lambda event: str(event.get("id")),
            pending=taker.pending if pending else None,
            next_retry=taker.next_retry,
        )
        taker.tell()
    finally:
        taker.close()


class _Taker:
    """One run of the command over inbox and outbox."""

    def __init__(self, run: Run) -> None:
        from powdo.adapters.database import Inbox
        from powdo.adapters.outbox import Outbox

        self._run = run
        self._key = run.key(run.settings.access_user())
        self._inbox = Inbox(run.settings.database_url)
        self._outbox = Outbox(run.settings.state_dir)
        self._claimed: dict[str, Item] = {}

    def close(self) -> None:
        """Give back what was claimed and not handled."""
        for wrap in self._claimed:
            self._inbox.release(wrap)
        self._inbox.close()
        self._outbox.close()

    # --- what receipts, and their absence, lead to ---

    def expire(self) -> None:
        """Destroy bundles and keys whose receipt came [worker] keep_days ago; what is in use waits."""
        now = int(time.time())
        self._outbox.set_right(now=now)
        before = now - self._run.settings.worker.keep_days * 86_400
        try:
            with self._outbox.lock("upload", timeout=0), self._outbox.lock("wrap", timeout=0):
                gone = self._outbox.expire(before=before)
        except BusyError as error:
            self._run.console.debug(f"nothing removed: {error.message}")
            return
        if gone:
            self._run.console.info(f"bundles that the DVM has, removed here: {len(gone)}")

    def tell(self) -> None:
        """Tell a person, once, of bundles for which no receipt came however often they were sent."""
        from powdo.adapters.outbox import RESENDS

        after = self._run.settings.worker.resend_after
        late = [
            item.id
            for item in self._outbox.unanswered(now=int(time.time()), after=after)
            if item.overdue and not item.told
        ]
        if late:
            self._run.fail(
                RefusedError(
                    f"no receipt came for {len(late)} bundles, each sent {RESENDS + 1} times",
                    hint="ask the operator; `powdo status --bundles` names them, "
                    "`powdo outbox resend ID` sends one again",
                )
            )
            self._outbox.mark_person_told(late)

    # --- the queue ---

    def pending(self) -> Iterator[dict[str, Any]]:
        """Yield the gift wraps that `listen` took in, claimed so that no other run takes them."""
        while items := self._inbox.claim(int(time.time()), limit=_BATCH):
            self._claimed = {item.wrap: item for item in items}
            for item in items:
                yield dict(item.event)

    def next_retry(self) -> float | None:
        """Return the unix time at which the next gift wrap is due, or None."""
        return self._inbox.next_retry()

    # --- one gift wrap ---

    def handle(self, obj: dict[str, Any]) -> Iterator[Receipt]:
        """Yield the receipt in the gift wrap *obj*, which is in the outbox by then."""
        from powdo.nips.event import Event

        item = self._claimed.pop(str(obj.get("id")), None)
        event = Event.from_json(obj)
        if item is None:
            _check(event)  # in the inbox the id of a forged one would be taken for the genuine one's
            item = self._inbox.accept(event.to_json(), int(time.time()))
        if item is not None:
            yield from self._process(event, item)
        elif (outcome := self._inbox.outcome(event.id)) is None:
            raise BusyError(f"another run is at the gift wrap '{event.id}'")
        elif outcome == "receipt":
            yield from self._take(self._rumor(event))

    def _process(self, event: Event, item: Item) -> Iterator[Receipt]:
        """Do all there is to do about a claimed gift wrap."""
        try:
            rumor = self._rumor(event)
            receipts = list(self._take(rumor))
            self._inbox.done(item.wrap, "receipt" if receipts else "skipped")
        except (BadRecordError, PeerProtocolError):
            self._inbox.done(item.wrap, "rejected")
            raise
        except Exception as error:
            self._inbox.defer(item.wrap, str(error), int(time.time()) + _BACK_OFF)
            raise
        yield from receipts

    def _rumor(self, event: Event) -> Unsigned | None:
        """Return what is in *event*, None where it cannot be opened: strangers may send what they like."""
        from powdo.nips.giftwrap import unwrap

        try:
            return unwrap(event, self._key).rumor
        except (BadRecordError, PeerProtocolError) as error:
            self._run.console.info(f"gift wrap '{event.id}' is passed over: {error.message}")
            return None

    def _take(self, rumor: Unsigned | None) -> Iterator[Receipt]:
        """Yield the receipt that *rumor* is, stored by then, if it is about a bundle of ours.

        Raises: BadRecordError, PeerProtocolError when it is not what its bundle's DVM may say.
        """
        from powdo.nips.nip90 import KIND, Feedback

        requests = rumor.tag_values("e") if rumor is not None and rumor.kind == KIND else ()
        sent = self._outbox.sent(requests[0]) if requests else None
        if rumor is None or sent is None:
            return  # a copy for ourselves, or a receipt for another machine with this key
        entry = self._outbox.known(sent.capture)
        if rumor.pubkey not in sent.recipients:
            raise PeerProtocolError(
                f"a receipt for '{entry.capture.id}' is by another than the DVM it was wrapped for"
            )
        receipt = _checked(Feedback.from_rumor(rumor), rumor.pubkey, entry)
        self._outbox.add_receipt(receipt, rumor.pubkey, now=int(time.time()))
        if receipt.received is not None:
            self._send_what_is_missing(receipt, rumor.pubkey)
        yield receipt

    def _send_what_is_missing(self, receipt: Receipt, dvm: str) -> None:
        """Let wait again what *dvm* asks for, and tell a person of what cannot be sent any more."""
        device, at = receipt.device, receipt.received
        assert at is not None
        ranges = [(item["first"], item["last"]) for item in receipt.missing if item["device"] == device]
        if not (ranges or self._outbox.count_gone()) or not self._outbox.is_own_device(device):
            return
        try:
            with self._outbox.lock("upload"), self._outbox.lock("wrap"):
                asked = self._outbox.asked_for(
                    dvm, device, ranges, at=int(at.timestamp()), now=int(time.time())
                )
        except BusyError as error:  # the next receipt asks again
            self._run.console.info(f"what the DVM asks for waits: {error.message}")
            return
        if asked.sent:
            self._run.console.info(f"captures that the DVM asks for, sent again: {len(asked.sent)}")
        if asked.gone:
            numbers = " ".join(map(str, asked.gone[:_TOLD])) + (" …" if len(asked.gone) > _TOLD else "")
            self._run.fail(
                RefusedError(
                    f"the DVM asks for captures that are not kept for it: numbers {numbers} of '{device}'",
                    hint="tell the operator that they cannot be sent any more",
                )
            )


def _check(event: Event) -> None:
    """Raise PeerProtocolError for what is no gift wrap or forged."""
    from powdo.nips.kinds import WRAP_KINDS

    if event.kind not in WRAP_KINDS:
        raise PeerProtocolError(f"kind {event.kind} is no gift wrap")
    event.verify()


def _checked(feedback: Feedback, dvm: str, entry: Entry) -> Receipt:
    """Return the receipt that *feedback* by *dvm* is of *entry*. Raises: PeerProtocolError."""
    from datetime import UTC, datetime

    from powdo.nips.bech32 import encode_npub
    from powdo.records import decode_line
    from powdo.records.receipt import Receipt

    assert entry.bundle is not None  # there was one to be sent
    blob = entry.bundle.sha256
    if feedback.blob is not None and feedback.blob != blob:
        raise PeerProtocolError(f"a receipt for '{entry.capture.id}' is of another blob")
    stated = None if feedback.status == "error" else _stated(feedback, dvm, entry)
    return Receipt(
        id=entry.capture.id,
        sequence=entry.capture.sequence,
        device=entry.capture.device,
        status=feedback.status,
        rumor=feedback.request,
        sha256=blob,
        dvm=encode_npub(dvm),
        received=None if stated is None else datetime.fromtimestamp(stated.received, UTC),
        reason=feedback.reason or None,
        statement=None if stated is None else decode_line(feedback.content.encode()),
        missing=tuple(item._asdict() for item in feedback.missing),
    )


def _stated(feedback: Feedback, dvm: str, entry: Entry) -> Statement:
    """Return what *dvm* states in *feedback*, signed and of *entry*. Raises: PeerProtocolError."""
    from powdo.errors import PowdoError
    from powdo.nips.event import Event
    from powdo.worktime.link import parse_link
    from powdo.worktime.statement import STATEMENT_KIND, parse_statement

    try:
        event = Event.parse(feedback.content)
        event.verify()
        statement = parse_statement(event.content)
    except PowdoError as error:
        raise PeerProtocolError(f"the statement about '{entry.capture.id}': {error.message}") from None
    if event.kind != STATEMENT_KIND or event.pubkey != dvm:
        raise PeerProtocolError(f"the statement about '{entry.capture.id}' is not signed by its DVM")
    own = entry.capture
    root = None if entry.link is None else parse_link(entry.link).root
    told = (statement.blob, statement.device, statement.sequence, statement.root)
    if told != (feedback.blob, own.device, own.sequence, root):
        raise PeerProtocolError(f"the statement about '{own.id}' is of something else")
    return statement
