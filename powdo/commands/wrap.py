"""powdo wrap: seal and gift-wrap uploaded bundles for their recipients (NIP-17, NIP-59)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from powdo.options import Run, command, dry_run_option, filter_options, pending_option

if TYPE_CHECKING:
    from powdo.adapters.outbox import Entry, Outbox
    from powdo.nips.curve import SecretKey
    from powdo.nips.event import Event, Unsigned
    from powdo.proving import Proof, Seller
    from powdo.records import Bundle

_MOST_BITS = 128


class _Post(NamedTuple):
    """Who writes, to whom (hex), and how long a wrap may be kept."""

    author: SecretKey
    recipients: tuple[str, ...]
    copies: tuple[str, ...]
    expiration: int | None


def _rumor(post: _Post, bundle: Bundle, key: str, created_at: int) -> Unsigned:
    """Return the rumor of *bundle*: the same one each time, so that a second wrap is no second bundle."""
    from powdo.errors import BadRecordError
    from powdo.nips.nip17 import FileMessage

    urls = [blob["url"] for blob in bundle.blobs if isinstance(blob.get("url"), str)]
    if not urls:
        raise BadRecordError(
            f"bundle '{bundle.id}' has not been uploaded", hint="pipe it through `powdo upload` first"
        )
    return FileMessage(
        url=urls[0],
        fallbacks=tuple(urls[1:]),
        decryption_key=key,
        decryption_nonce=bundle.salt,
        x=bundle.sha256,
        ox=bundle.ox,
        size=bundle.size,
        recipients=post.recipients,
    ).to_rumor(post.author.pubkey, created_at)


def _wrap(post: _Post, rumor: Unsigned, recipient: str, now: int, proof: Proof | None) -> Event:
    from powdo.nips.giftwrap import enclose

    return enclose(
        rumor,
        post.author,
        recipient,
        now=now,
        fresh=os.urandom,
        expiration=None if post.expiration is None else now + post.expiration,
        prove=None if proof is None else proof.prove,
    )


def _recipient(text: str) -> str:
    """Return the hex of what --to says, which is not repeated: it might be an nsec. Raises: UsageError."""
    from powdo.errors import PowdoError, UsageError
    from powdo.nips.bech32 import parse_pubkey

    try:
        return parse_pubkey(text)
    except PowdoError as error:
        raise UsageError(f"--to names nobody: {error.message}", hint=error.hint) from None


def _post(run: Run, to: tuple[str, ...], no_self: bool) -> _Post:
    """Return who writes to whom, from flags and settings."""
    from powdo.errors import ConfigurationError
    from powdo.nips.bech32 import decode_npub

    settings = run.settings
    recipients = tuple(dict.fromkeys(_recipient(text) for text in to))
    if not recipients and settings.worker.dvm:
        recipients = (settings.worker.dvm,)
    if not recipients:
        raise ConfigurationError(
            f"'{settings.config_path}' has no 'dvm' in [worker]", hint="name the recipient with --to NPUB"
        )
    copies: tuple[str, ...] = ()
    if not no_self:
        access = run.keystore.get(settings.access_user())
        copies = (decode_npub(access["nostr"]["npub"]),)
    return _Post(
        author=run.key(settings.user()),
        recipients=recipients,
        copies=tuple(copy for copy in copies if copy not in recipients),
        expiration=settings.worker.expiration,
    )


class _Stage:
    """Wraps bundle records; what the outbox knows already is given out again, not made again."""

    def __init__(self, outbox: Outbox, post: _Post, proof: Proof | None, *, dry_run: bool) -> None:
        self._outbox = outbox
        self._post = post
        self._proof = proof
        self._dry_run = dry_run

    def pending(self) -> Iterator[dict[str, Any]]:
        """Return the bundles that wait to be wrapped, and those whose wraps have grown stale."""
        self._outbox.set_right(now=int(time.time()))
        for entry in self._outbox.waiting("wrap"):
            if entry.bundle is not None:
                yield entry.bundle.to_json()
        for capture_id in self._outbox.stale_captures(now=int(time.time())):
            entry_or_none = self._outbox.get(capture_id)
            if entry_or_none is not None and entry_or_none.bundle is not None:
                yield entry_or_none.bundle.to_json()

    def handle(self, record: dict[str, Any]) -> Iterable[dict[str, Any]]:
        """Return the gift wraps of one bundle record, durable before they are given out."""
        from powdo.errors import BadRecordError
        from powdo.records import Bundle

        bundle = Bundle.from_json(record)
        with self._outbox.lock("wrap"):
            entry = self._outbox.get(bundle.id)
            wanted = self._wanted(bundle.id)
            if entry is not None and (kept := self._kept(entry, wanted)):
                return kept
            if entry is not None and entry.state == "withheld":
                raise BadRecordError(f"capture '{bundle.id}' was dropped")
            key = bundle.key or (entry.key if entry is not None else None)
            if key is None:
                raise BadRecordError(
                    f"no key for bundle '{bundle.id}'",
                    hint="it is not in this outbox; `powdo bundle --with-key` puts the key into the record",
                )
            now = int(time.time())
            created_at = entry.created if entry is not None else int(bundle.end.timestamp())
            rumor = _rumor(self._post, bundle, key, created_at)
            wraps = [
                (recipient, _wrap(self._post, rumor, recipient, now, self._proof).to_json())
                for recipient in wanted
            ]
            if entry is not None and not self._dry_run:
                self._keep_blobs(entry, bundle)
                self._outbox.add_wraps(
                    bundle.id, wraps, now=now, rumor=rumor.id, addressees=self._post.recipients
                )
        return [event for _, event in wraps]

    def _wanted(self, capture_id: str) -> tuple[str, ...]:
        """Return whom to wrap for: not for a DVM that has it, where a copy alone is still on its way."""
        answered = self._outbox.has_it(capture_id)
        return tuple(
            pubkey for pubkey in (*self._post.recipients, *self._post.copies) if pubkey not in answered
        )

    def _keep_blobs(self, entry: Entry, bundle: Bundle) -> None:
        """Keep where another program uploaded *bundle*: once its wraps are stale, nobody else tells."""
        known = entry.bundle
        if known is not None and not known.blobs and known.sha256 == bundle.sha256:
            self._outbox.add_blobs(bundle.id, bundle.blobs)

    def _kept(self, entry: Entry, wanted: Sequence[str]) -> list[dict[str, Any]]:
        """Return the wraps made earlier for the recipients *wanted*.

        None when one is for a new recipient, or waits for so long, or with so little proof of work, that it
        must be made anew.
        """
        from powdo.adapters.outbox import STALE_WRAP_SECONDS

        if entry.state not in ("wrapped", "published", "acknowledged", "rejected"):
            return []
        wraps = self._outbox.wraps(entry.capture.id)
        oldest = time.time() - STALE_WRAP_SECONDS
        if any(item.published is None and item.created < oldest for item in wraps):
            return []
        if any(item.published is None and not self._is_proved(item.event) for item in wraps):
            return []
        if not {item.recipient for item in wraps}.issuperset(wanted):
            return []
        return [item.event for item in wraps if item.recipient in wanted]

    def _is_proved(self, event: dict[str, Any]) -> bool:
        from powdo.nips.event import Event

        return self._proof is None or self._proof.holds(Event.from_json(event))


def _bits(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | str | None:
    """Return what --pow says: a number, `relay` without one. Raises: BadParameter."""
    if value in (None, "relay"):
        return value
    if not value.isascii() or not value.isdigit() or not 0 < int(value) <= _MOST_BITS:
        raise click.BadParameter(f"'{value}' is no number of bits from 1 to {_MOST_BITS}; write --pow=BITS")
    return int(value)


@command(
    "wrap",
    epilog="""powdo bundle --pending | powdo upload --pending | powdo wrap --pending | powdo publish
    powdo wrap --pending --pow=20 | powdo publish --pending --no-auth""",
)
@filter_options
@pending_option
@click.option("--to", multiple=True, metavar="NPUB", help="A recipient instead of the configured DVM.")
@click.option("--no-self", is_flag=True, help="Make no copy for the worker's own access key.")
@click.option(
    "--pow",
    "bits",
    is_flag=False,
    flag_value="relay",
    metavar="[BITS]",
    callback=_bits,
    help="Mine BITS of proof of work for each wrap; without a number what the primary relay wants.",
)
@click.option("--pow-provider", "provider", metavar="URL", help="Have the service at URL mine it.")
@click.option(
    "--throw-away", is_flag=True, help="Ask the service with a key made for this, not the access key."
)
@dry_run_option
def wrap(
    run: Run,
    files: tuple[str, ...],
    pending: bool,
    to: tuple[str, ...],
    no_self: bool,
    bits: int | str | None,
    provider: str | None,
    throw_away: bool,
    dry_run: bool,
) -> None:
    """Seal and gift-wrap uploaded bundles for their recipients.

    Reads bundle records with blobs; writes gift wraps (kind 1059), one a recipient.
    """
    from powdo.adapters.outbox import Outbox

    outbox = Outbox(run.settings.state_dir)
    with ExitStack() as resources:
        seller = _seller(run, provider, throw_away)
        proof = None
        if bits is not None or seller is not None:
            proof = resources.enter_context(_proof(run, bits, seller))
        stage = _Stage(outbox, _post(run, to, no_self), proof, dry_run=dry_run)
        run.stage(
            files,
            stage.handle,
            key=lambda record: str(record.get("id")),
            pending=stage.pending if pending else None,
            next_retry=lambda: outbox.next_retry("wrap"),
        )


def _seller(run: Run, provider: str | None, throw_away: bool) -> Seller | None:
    """Return whom the work is bought from. Raises: UsageError, ConfigurationError."""
    from powdo.errors import UsageError

    if provider is None:
        if throw_away:
            raise UsageError("--throw-away is about a service", hint="name it with --pow-provider URL")
        return None
    from powdo.options import relay_urls
    from powdo.proving import Seller

    return Seller(relay_urls((provider,))[0], None if throw_away else run.settings.access_user())


def _proof(run: Run, bits: int | str | None, seller: Seller | None) -> closing[Proof]:
    from powdo.proving import Proof

    return closing(Proof(run, bits if isinstance(bits, int) else None, seller))
