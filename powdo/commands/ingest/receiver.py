"""One gift wrap, from its unwrapping to the commit, in the order in which a receiver may trust.

Wrap, seal, rumor and author first; then what the rumor says; only then one request, to a host on the
list; then the bytes, their structure, the link and its signature; last everything in one transaction.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from powdo.adapters.archive_reader import Unsealed, unsealed, write_file
from powdo.adapters.database import (
    Delivery,
    Inbox,
    Item,
    Refusal,
    Store,
    Stored,
    StoredEvent,
    Told,
    stored_event,
)
from powdo.errors import (
    BadRecordError,
    KeyRejectedError,
    OutputError,
    PeerProtocolError,
    RefusedError,
    RetryLaterError,
)
from powdo.lines import MAX_LINE, decode_line
from powdo.nips.blossom import check_address, host_allowed
from powdo.nips.event import Event, Unsigned
from powdo.nips.giftwrap import Unwrapped, unwrap
from powdo.nips.nip17 import ZIP_AES256, FileMessage, blob_named
from powdo.nips.signed import check_signed
from powdo.worktime.flood import parse_bucket_event
from powdo.worktime.link import LINK_KIND, parse_link
from powdo.worktime.manifest import BucketFile

if TYPE_CHECKING:
    from powdo.adapters.blossom import Downloads
    from powdo.adapters.database import Author
    from powdo.adapters.evidence import Evidence
    from powdo.nips.curve import SecretKey

#: What could not be fetched for so long will not be: Blossom servers forget.
GIVE_UP = 30 * 86_400
#: ActivityWatch cuts durations at the millisecond, so an event may reach so far out of its period.
_SLACK = 1_000
#: A year of ActivityWatch has about so many; they are in memory at once.
_MOST_EVENTS = 1_000_000

_FILE_MESSAGE = 15  # NIP-17

Outcome = Stored | Refusal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the operator allows: hosts that may be asked, bytes that may be fetched, seconds of silence."""

    hosts: Collection[str]
    max_bundle: int
    timeout: float


class Receiver:
    """Takes gift wraps for one key."""

    def __init__(
        self, *, key: SecretKey, store: Store, inbox: Inbox, evidence: Evidence, limits: Limits
    ) -> None:
        self._key = key
        self._store = store
        self._inbox = inbox
        self._evidence = evidence
        self._limits = limits

    @cached_property
    def _downloads(self) -> Downloads:
        from powdo.adapters.blossom import Downloads  # only once there is something to fetch

        return Downloads(self._limits.hosts, timeout=self._limits.timeout, key=self._key)

    def close(self) -> None:
        """Close the connections to Blossom servers."""
        if "_downloads" in self.__dict__:
            self._downloads.close()

    def receive(self, item: Item) -> Outcome:
        """Return what became of the claimed *item*; None for what leaves no record.

        Raises: RetryLaterError, RefusedError, KeyRejectedError, OutputError, CannotCreateError: not now.
        """
        try:
            unwrapped = unwrap(Event.from_json(item.event), self._key, now=item.received_at)
        except (BadRecordError, PeerProtocolError) as error:
            return self._refuse(Refusal(wrap=item.wrap, reason=error.message, status=error.status))
        rumor = unwrapped.rumor
        worker = self._store.author(rumor.pubkey)
        if worker is None:
            self._inbox.done(item.wrap, "stranger")
            return None
        if worker.erased_at is not None and rumor.created_at <= worker.erased_at:
            self._inbox.done(item.wrap, "erased")
            return None
        if rumor.kind != _FILE_MESSAGE:
            self._inbox.done(item.wrap, "skipped")
            return None
        try:
            return self._take(unwrapped, worker, item.received_at)
        except (BadRecordError, PeerProtocolError) as error:
            return self._refuse(
                Refusal(
                    wrap=item.wrap,
                    reason=error.message,
                    status=error.status,
                    rumor=rumor.id,
                    pubkey=rumor.pubkey,
                    sha256=blob_named(rumor),
                    worker=worker.id,
                )
            )

    def _refuse(self, refusal: Refusal) -> Refusal:
        self._store.refuse(refusal)
        return refusal

    # --- what came before ---

    def known(self, event: Event) -> Stored | None:
        """Return the stored bundle that the gift wrap *event* brought once more."""
        unwrapped = unwrap(event, self._key)
        worker = self._store.author(unwrapped.rumor.pubkey)
        message = FileMessage.from_rumor(unwrapped.rumor)
        return None if worker is None else self._stored(unwrapped, worker, message)

    def enrolled(self, event: Event) -> bool:
        """Return whether the author of the gift wrap *event* is a worker by now."""
        return self._store.author(unwrap(event, self._key).rumor.pubkey) is not None

    def _stored(self, unwrapped: Unwrapped, worker: Author, message: FileMessage) -> Stored | None:
        return self._store.known(worker.id, unwrapped.rumor.id, message.x)

    # --- one file message ---

    def _take(self, unwrapped: Unwrapped, worker: Author, received_at: int) -> Stored:
        message = FileMessage.from_rumor(unwrapped.rumor)
        known = self._stored(unwrapped, worker, message)
        if known is not None:
            self._store.duplicate(unwrapped.wrap.id, known)
            return known
        urls = self._addresses(message)
        with self._evidence.workspace() as folder:
            blob = folder / "bundle.zip"
            self._fetch(urls, message, blob, received_at)
            with unsealed(
                blob, key_hex=message.decryption_key, salt_hex=message.decryption_nonce, ox=message.ox
            ) as bundle:
                delivery = _delivery(unwrapped, worker, message, bundle)
                screenshots = _write_screenshots(bundle, folder)
            self._evidence.keep(blob, message.x)
            for path, sha256 in screenshots:
                self._evidence.keep(path, sha256)
            stored, _new = self._store.store(delivery)
            for path, sha256 in ((blob, message.x), *screenshots):
                if path.exists():  # the same file was there, and may have been removed until the commit
                    self._evidence.keep(path, sha256)
        return stored

    def _addresses(self, message: FileMessage) -> list[str]:
        """Return where the blob may be fetched. Raises: BadRecordError when nothing there may be."""
        if message.encryption_algorithm != ZIP_AES256 or message.file_type != "application/zip":
            raise BadRecordError("the file message announces no powdo-bundle")
        if message.size > self._limits.max_bundle:
            raise BadRecordError(
                f"the bundle has {message.size} bytes, more than the {self._limits.max_bundle} allowed"
            )
        urls = [url for url in (message.url, *message.fallbacks) if self._may_ask(url)]
        if not urls:
            raise BadRecordError("the bundle lies on no host of [dvm] blossom_hosts")
        return urls

    def _may_ask(self, url: str) -> bool:
        try:
            return host_allowed(check_address(url), self._limits.hosts)
        except BadRecordError:
            return False

    def _fetch(self, urls: Sequence[str], message: FileMessage, blob: Path, received_at: int) -> None:
        try:
            self._downloads.fetch(urls, sha256=message.x, size=message.size, destination=blob)
        except (RetryLaterError, RefusedError, KeyRejectedError) as error:
            if time.time() - received_at < GIVE_UP:
                if isinstance(error, KeyRejectedError):  # of one server, for one blob: the others go on
                    raise RefusedError(error.message, hint=error.hint) from None
                raise
            days = GIVE_UP // 86_400
            raise BadRecordError(f"the bundle was not to be had in {days} days: {error.message}") from None


# --- from an opened bundle to what is stored -------------------------------------------------------


def _write_screenshots(bundle: Unsealed, folder: Path) -> list[tuple[Path, str]]:
    """Return where each screenshot was written below *folder*, with its sha256. Raises: OutputError."""
    written = []
    for number, screenshot in enumerate(bundle.manifest.screenshots):
        path = folder / f"{number}.screenshot"
        try:
            write_file(path, bundle.chunks(screenshot.file))
        except OSError as error:
            raise OutputError(f"cannot write '{path}': {error.strerror}") from None
        written.append((path, screenshot.sha256))
    return written


def _delivery(unwrapped: Unwrapped, worker: Author, message: FileMessage, bundle: Unsealed) -> Delivery:
    event = bundle.proof["event"]
    if bundle.manifest.bucket_events > _MOST_EVENTS:
        raise BadRecordError(f"the bundle holds more than {_MOST_EVENTS} bucket events")
    told = [bundle.proof, *bundle.proof["withheld"]]
    for one in told:
        if one["event"] is not None:
            check_signed(
                one["event"],
                kind=LINK_KIND,
                content=one["link"],
                author=unwrapped.rumor.pubkey,
                what="link",
            )
    return Delivery(
        worker=worker,
        wrap=unwrapped.wrap.id,
        rumor=unwrapped.rumor.id,
        pubkey=unwrapped.rumor.pubkey,
        sha256=message.x,
        ox=message.ox,
        size=message.size,
        manifest=bundle.manifest,
        manifest_text=bundle.manifest_bytes.decode(),
        link=bundle.link,
        link_event=None if event is None else _json(event),
        withheld=tuple(
            Told(parse_link(one["link"]), None if one["event"] is None else _json(one["event"]))
            for one in bundle.proof["withheld"]
        ),
        wrap_event=_text(unwrapped.wrap),
        seal_event=_text(unwrapped.seal),
        rumor_event=_text(unwrapped.rumor),
        bucket_events={
            item.file: _read_events(bundle.chunks(item.file), item) for item in bundle.manifest.buckets
        },
    )


def _text(event: Event | Unsigned) -> str:
    """Return *event* as ASCII-escaped JSON; most are ASCII as they are."""
    text = event.to_bytes()
    return text.decode("ascii") if text.isascii() else _json(event.to_json())


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _read_events(chunks: Iterable[bytes], item: BucketFile) -> list[StoredEvent]:
    """Return the bucket events in *chunks*. Raises: BadRecordError when one is malformed or out of place."""
    events: list[StoredEvent] = []
    for number, line in enumerate(_lines(chunks), 1):
        try:
            event = parse_bucket_event(_object(line))
            if not item.begin - _SLACK <= event.begin <= event.end <= item.end + _SLACK:
                raise BadRecordError("outside the period of its bucket")
            events.append(stored_event(event))
        except BadRecordError as error:
            raise BadRecordError(f"bucket event {number} in '{item.file}': {error.message}") from None
    return events


def _object(line: bytes) -> dict[str, Any]:
    """Return what `decode_line` returns, sooner: a bundle has hundreds of lines. Raises: BadRecordError."""
    try:
        value = orjson.loads(line) if len(line) <= MAX_LINE else None
    except orjson.JSONDecodeError:
        value = None
    return value if isinstance(value, dict) else decode_line(line)


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of *chunks*; one that is too long comes as it is so far, for nobody reads on."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if len(rest) > MAX_LINE:
            yield rest
    if rest:
        yield rest
