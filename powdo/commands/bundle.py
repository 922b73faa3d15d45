"""`powdo bundle`: captures become encrypted bundles, each with its link in the device's chain.

Rules:
- links are made in the order of the captures, those of earlier ones too: the chain has no hole;
- link, bundle and key are in the outbox before the record is written; then the plaintext is deleted;
- what is bundled already gives its record again and no work.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from powdo.errors import BadRecordError, BusyError, InputMissingError
from powdo.lines import decode_line, encode_line
from powdo.options import Run, command, filter_options, pending_option

if TYPE_CHECKING:
    from pathlib import Path

    from powdo.adapters.outbox import Entry, Outbox
    from powdo.records import Bundle, Capture
    from powdo.worktime.manifest import Manifest


@command(
    "bundle",
    epilog="powdo capture | powdo bundle | powdo upload\npowdo bundle --pending | powdo upload --pending",
)
@filter_options
@pending_option
@click.option("--with-key", is_flag=True, help="Write the key too: who reads the record can open the bundle.")
def bundle(run: Run, files: tuple[str, ...], pending: bool, with_key: bool) -> None:
    """Encrypt captures into bundles.

    Reads capture records, writes bundle records. The key stays in the outbox unless asked for.
    """
    bundler = _Bundler(run, with_key=with_key)
    run.stage(
        files,
        bundler.handle,
        key=lambda obj: str(obj.get("id")),
        pending=bundler.pending if pending else None,
        next_retry=bundler.next_retry,
    )


class _Bundler:
    """One run of the command over the outbox."""

    def __init__(self, run: Run, *, with_key: bool) -> None:
        from powdo.adapters.outbox import Outbox

        self._run = run
        self._with_key = with_key
        self._outbox: Outbox = Outbox(run.settings.state_dir)
        self._sweep()

    def _sweep(self) -> None:
        """Remove what killed runs left behind; whoever holds the lock now does it anyway."""
        from powdo.settings.paths import sweep

        try:
            with self._outbox.lock("bundle", timeout=0):
                sweep(self._outbox.bundles)
            with self._outbox.lock("capture", timeout=0):
                self._outbox.sweep_captures()
        except BusyError as error:
            self._run.console.debug(f"nothing swept: {error.message}")

    # --- the queue ---

    def pending(self) -> Iterator[dict[str, Any]]:
        """Yield the captures that nothing holds any more, and those that failed once they are due again."""
        now, worker = int(time.time()), self._run.settings.worker
        self._outbox.set_right(now=now)
        made_by = -1 if worker.review else now - worker.hold
        if worker.review and (held := self._outbox.held(0)[0]):
            self._run.console.info(f"captures that wait for review: {held}")
        for entry in self._outbox.waiting("bundle", due=now, made_by=made_by):
            # As lines, since what arrives in a pipe is made of lists, and a record of tuples.
            yield decode_line(encode_line(entry.capture.to_json()))

    def next_retry(self) -> float | None:
        """Return the unix time at which the next capture is due, or None."""
        worker = self._run.settings.worker
        if worker.review:
            return self._outbox.next_release(None)
        return self._outbox.next_release(worker.hold) if worker.hold else self._outbox.next_retry("bundle")

    # --- one capture ---

    def handle(self, obj: dict[str, Any]) -> Iterator[Bundle]:
        """Yield the bundle record of the capture record *obj*, durable by then."""
        from dataclasses import replace

        from powdo.records import Capture

        capture = Capture.from_json(obj)
        with self._outbox.lock("bundle"):
            entry = self._known(capture)
            if entry.bundle is None:
                try:
                    self._make(entry, capture)
                except (BadRecordError, InputMissingError) as error:
                    self._outbox.defer(capture.id, error.message, now=int(time.time()))
                    raise
                entry = self._known(capture)
        if entry.bundle is not None:
            yield replace(entry.bundle, key=entry.key) if self._with_key else entry.bundle

    def _known(self, capture: Capture) -> Entry:
        """Return the outbox's row of *capture*. Raises: InputMissingError, BadRecordError."""
        from pathlib import Path

        entry = self._outbox.get(capture.id)
        if entry is None:
            if not Path(capture.path).is_dir():
                raise InputMissingError(f"cannot open '{capture.path}': no such capture")
            raise BadRecordError(
                f"capture '{capture.id}' is not in the outbox",
                hint="it belongs to another state directory or profile; bundle it there",
            )
        if (entry.capture.device, entry.capture.sequence) != (capture.device, capture.sequence):
            raise BadRecordError(f"capture '{capture.id}' has another device or sequence in the outbox")
        return entry

    def _make(self, entry: Entry, capture: Capture) -> None:
        """Make the bundle of *entry*, and the links it needs, and store both."""
        import secrets

        from powdo.adapters.archive import build, read_manifest
        from powdo.records import Bundle

        if entry.state != "captured":
            raise BadRecordError(f"capture '{capture.id}' is '{entry.state}' and cannot be bundled")
        if entry.proof is None:
            self._link(entry.capture)
            entry = self._known(capture)
        folder, path = self._outbox.capture_path(capture.id), self._outbox.bundle_path(capture.id)
        key = secrets.token_bytes(32)
        proof, told = self._proof(entry)
        built = build(folder, read_manifest(folder), proof, key, path)
        made = Bundle(
            id=capture.id,
            sequence=entry.capture.sequence,
            device=entry.capture.device,
            begin=entry.capture.begin,
            end=entry.capture.end,
            path=str(path),
            sha256=built.sha256,
            ox=built.ox,
            size=built.size,
            salt=built.salt,
            extra=capture.extra,
        )
        self._outbox.add_bundle(made, key.hex())
        self._outbox.mark_told(capture.id, told)
        self._run.console.info(f"bundled '{capture.id}': {built.size} bytes")

    # --- the chain ---

    def _proof(self, entry: Entry) -> tuple[bytes, list[str]]:
        """Return the proof of *entry* with the links of dropped captures not told yet, and their ids."""
        import json

        from powdo.worktime.link import MAX_WITHHELD, proof_to_bytes

        untold = [
            other
            for other in self._outbox.untold(entry.capture.device, limit=MAX_WITHHELD)
            if other.proof is not None
        ]
        own = json.loads(entry.proof or "null")
        links = [json.loads(other.proof or "null") for other in untold]
        return proof_to_bytes(own["link"], own["event"], links), [other.capture.id for other in untold]

    def _link(self, capture: Capture) -> None:
        """Store the links of *capture* and of all earlier captures that have none, in one transaction."""
        from powdo.worktime.link import Link, link_hash, proof_to_bytes
        from powdo.worktime.manifest import manifest_root, micros

        previous: str | None = None
        made: list[tuple[str, str, str]] = []
        for entry in self._outbox.chain(capture.device, capture.sequence):
            content = entry.link
            if content is None:
                own = entry.capture
                root = None
                if entry.state == "captured":
                    data = self._read(own, self._outbox.capture_path(own.id))
                    root = manifest_root(data)
                link = Link(
                    device=own.device,
                    sequence=own.sequence,
                    begin=micros(own.begin),
                    end=micros(own.end),
                    previous=previous,
                    root=root,
                )
                content = link.content
                made.append((own.id, content, proof_to_bytes(content, self._sign(content)).decode()))
            previous = link_hash(content)
        self._outbox.set_links(made)

    def _read(self, capture: Capture, folder: Path) -> bytes:
        """Return the manifest of *capture*. Raises: InputMissingError, BadRecordError when not its own."""
        from powdo.adapters.archive import read_manifest
        from powdo.worktime.manifest import micros, parse_manifest

        try:
            data = read_manifest(folder)
        except InputMissingError as error:
            raise InputMissingError(
                error.message,
                hint=f"later captures wait for its link; 'powdo outbox drop {capture.id}' gives it up",
            ) from None
        manifest: Manifest = parse_manifest(data)
        told = (manifest.id, manifest.device, manifest.sequence, manifest.begin, manifest.end)
        own = (capture.id, capture.device, capture.sequence, micros(capture.begin), micros(capture.end))
        if told != own:
            raise BadRecordError(f"the manifest in '{folder}' is not that of capture '{capture.id}'")
        return data

    def _sign(self, content: str) -> dict[str, object] | None:
        """Return the kind 78 event that signs *content*, or None where the worker wants no proof."""
        if not self._run.settings.worker.proof:
            return None
        import secrets

        from powdo.nips.event import Unsigned, sign
        from powdo.worktime.link import LINK_KIND

        with self._run.key(self._run.settings.user()) as key:
            unsigned = Unsigned(
                pubkey=key.pubkey, created_at=int(time.time()), kind=LINK_KIND, tags=(), content=content
            )
            return sign(unsigned, key, secrets.token_bytes(32)).to_json()
