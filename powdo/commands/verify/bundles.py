"""One stored bundle against all the evidence of it, outermost first: wrap, seal, rumor, link, blob, files.

Rules:
- nothing that is derived is believed: rows are held against what was signed, files against their hashes;
- one check that fails does not keep the others from being made, unless they could only repeat it;
- what retention took is told as absent; what is missing without that note is a failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from powdo.adapters.archive_reader import Unsealed, check_file, unsealed
from powdo.adapters.database import Kept, Picture
from powdo.adapters.evidence import place
from powdo.commands.verify.findings import Findings
from powdo.errors import PeerProtocolError
from powdo.nips import nip44
from powdo.nips.bech32 import encode_npub
from powdo.nips.event import Event, Unsigned
from powdo.nips.giftwrap import SEAL
from powdo.nips.kinds import WRAP_KINDS
from powdo.nips.nip17 import FileMessage
from powdo.nips.signed import check_signed
from powdo.records import JsonObject, decode_json
from powdo.records.operator import Verified
from powdo.worktime.intervals import SECOND
from powdo.worktime.link import LINK_KIND, check_link, parse_link
from powdo.worktime.manifest import Manifest, from_micros, parse_manifest
from powdo.worktime.statement import STATEMENT_KIND, Statement, parse_statement

if TYPE_CHECKING:
    from powdo.nips.curve import SecretKey

#: How far ahead of the DVM's clock a worker's may be, in seconds.
SKEW = 900


class Examiner:
    """Looks at bundles that were wrapped for *key* and whose files lie in *evidence*."""

    def __init__(self, key: SecretKey, evidence: Path) -> None:
        self._key = key
        self._evidence = evidence

    def examine(
        self,
        kept: Kept,
        pictures: Sequence[Picture],
        identities: Sequence[str],
        told: frozenset[str],
        chain: Sequence[str] = (),
    ) -> Verified:
        """Return what is found of *kept*, whose author must be one of *identities*.

        *told* are the withheld links that are stored of the worker, *chain* what is wrong with this link's
        place among the others.
        """
        found = Findings()
        rumor = self._layers(kept, found)
        found.require(
            "author", kept.pubkey in identities, f"its author is no identity of the worker '{kept.worker}'"
        )
        opened = self._blob(kept, rumor, told, found)
        manifest = _manifest(kept, opened, found)
        _link(kept, manifest, opened, found)
        self._screenshots(kept, manifest, pictures, found)
        if manifest is not None:
            _row(kept, manifest, pictures, found)
            latest = (kept.ingested_at + SKEW) * SECOND
            found.require("period", manifest.end <= latest, "it ends after the DVM had received it")
        self._receipt(kept, found)
        for reason in chain:
            found.add("chain", reason)
        return _record(kept, found)

    # --- wrap, seal, rumor ---

    def _layers(self, kept: Kept, found: Findings) -> Unsigned | None:
        """Return the rumor if it is what its author sealed and somebody wrapped for us."""
        wrap = sealed = rumor = None
        with found.check("wrap"):
            wrap = Event.parse(kept.wrap_event)
            _check_wrap(wrap, kept.wrap, self._key.pubkey)
        with found.check("seal"):
            sealed = Event.parse(kept.seal_event)
            _check_seal(sealed, kept.pubkey)
        with found.check("rumor"):
            rumor = Unsigned.parse(kept.rumor_event)
            _check_rumor(rumor, kept)
        if wrap is not None and sealed is not None and not (found.failed("wrap") or found.failed("seal")):
            with found.check("seal"):
                inside = nip44.decrypt(wrap.content, nip44.conversation_key(self._key, wrap.pubkey))
                if Event.parse(inside) != sealed:
                    raise PeerProtocolError("it is not the one in the gift wrap")
        if sealed is not None and rumor is not None and not found.problems:
            with found.check("rumor"):
                inside = nip44.decrypt(sealed.content, nip44.known_key(self._key, sealed.pubkey))
                if Unsigned.parse(inside) != rumor:
                    raise PeerProtocolError("it is not the one in the seal")
        return None if found.failed("rumor") else rumor

    def _receipt(self, kept: Kept, found: Findings) -> None:
        """Look at what this DVM has stated, if it has."""
        if kept.statement is None:
            found.absent.append("receipt")
            return
        with found.check("receipt"):
            event = decode_json(kept.statement.encode())
            content = event.get("content") if isinstance(event, dict) else None
            statement = parse_statement(content if isinstance(content, str) else "")
            check_signed(
                event,
                kind=STATEMENT_KIND,
                content=statement.content,
                author=self._key.pubkey,
                what="receipt",
            )
            own = Statement(
                blob=kept.sha256,
                device=kept.device,
                sequence=kept.sequence,
                root=kept.root,
                received=kept.ingested_at,
            )
            odd = [name for name in Statement.__slots__ if getattr(own, name) != getattr(statement, name)]
            found.require("receipt", not odd, f"{', '.join(odd)}: not what it states")

    # --- what lies in the blob folder ---

    def _blob(
        self, kept: Kept, rumor: Unsigned | None, told: frozenset[str], found: Findings
    ) -> Unsealed | None:
        """Return what the blob holds, if it is there and holds together."""
        message = None
        if rumor is not None:
            with found.check("rumor"):
                message = FileMessage.from_rumor(rumor)
        if message is not None:
            same = (message.x, message.ox, message.size) == (kept.sha256, kept.ox, kept.size)
            found.require("row", same, "hashes and size of its blob are not those in the rumor")
        if kept.blob_removed_at is not None:
            found.absent.append("blob")
            return None
        x, size = (kept.sha256, kept.size) if message is None else (message.x, message.size)
        path = place(self._evidence, x)
        with found.check("blob"):
            check_file(path, x, size)
        if message is None or found.failed("blob"):
            return None
        with found.check("bundle"):
            key, salt = message.decryption_key, message.decryption_nonce
            with unsealed(path, key_hex=key, salt_hex=salt, ox=message.ox) as bundle:
                _inside(kept, bundle, told, found)
            return bundle
        return None

    def _screenshots(
        self, kept: Kept, manifest: Manifest | None, pictures: Sequence[Picture], found: Findings
    ) -> None:
        """Look at the files of the screenshots, by the manifest rather than by rows."""
        listed = pictures if manifest is None else manifest.screenshots
        if kept.screenshots_removed_at is not None:
            if listed:
                found.absent.append("screenshots")
            return
        for item in listed:
            with found.check("screenshots"):
                check_file(place(self._evidence, item.sha256), item.sha256, item.size)


def _check_wrap(wrap: Event, number: str, recipient: str) -> None:
    wrap.verify()
    if wrap.id != number:
        raise PeerProtocolError("it is another event than the row says")
    if wrap.kind not in WRAP_KINDS or wrap.tag_values("p") != (recipient,):
        raise PeerProtocolError("it is no gift wrap for this DVM")


def _check_seal(sealed: Event, author: str) -> None:
    sealed.verify()
    if sealed.kind != SEAL or sealed.tags:
        raise PeerProtocolError("it is no seal")
    if sealed.pubkey != author:
        raise PeerProtocolError("it is signed by another than the author")


def _check_rumor(rumor: Unsigned, kept: Kept) -> None:
    if rumor.id != kept.rumor:
        raise PeerProtocolError("it is another event than the row says")
    if rumor.pubkey != kept.pubkey:
        raise PeerProtocolError("it names another author than the one who sealed it")


def _manifest(kept: Kept, opened: Unsealed | None, found: Findings) -> Manifest | None:
    if opened is not None and opened.manifest_bytes == kept.manifest.encode():
        return opened.manifest  # parsed once already
    with found.check("manifest"):
        return parse_manifest(kept.manifest.encode())
    return None


def _link(kept: Kept, manifest: Manifest | None, opened: Unsealed | None, found: Findings) -> None:
    """Look at link and signature, and whether the link speaks of this manifest."""
    link, same_link = None, opened is not None and opened.proof["link"] == kept.link
    with found.check("link"):
        link = opened.link if opened is not None and same_link else parse_link(kept.link)
        if kept.link_event is None:
            found.absent.append("signature")
        else:
            check_signed(
                decode_json(kept.link_event.encode()),
                kind=LINK_KIND,
                content=kept.link,
                author=kept.pubkey,
                what="link",
            )
    if link is None:
        return
    checked = same_link and opened is not None and manifest is opened.manifest  # when the blob was opened
    if manifest is not None and not checked:
        with found.check("manifest"):
            check_link(link, manifest, kept.manifest.encode())
    same = (link.root, link.previous) == (kept.root, kept.previous)
    found.require("row", same, "root and previous hash are not those in its link")


def _inside(kept: Kept, bundle: Unsealed, told: frozenset[str], found: Findings) -> None:
    """Look at what the opened blob holds: the same manifest and link as the database, and files as listed."""
    found.require(
        "manifest", bundle.manifest_bytes.decode() == kept.manifest, "it is not the one in the blob"
    )
    event = None if kept.link_event is None else decode_json(kept.link_event.encode())
    same = (bundle.proof["link"], bundle.proof["event"]) == (kept.link, event)
    found.require("link", same, "it is not the one in the blob")
    for item in bundle.proof["withheld"]:
        found.require("chain", item["link"] in told, "a withheld link that it tells is not stored")
    with found.check("contents"):
        for name in bundle.manifest.files:
            for _ in bundle.chunks(name):
                pass


def _row(kept: Kept, manifest: Manifest, pictures: Sequence[Picture], found: Findings) -> None:
    """Hold the columns that reports go by against the manifest."""
    told = {
        "device": manifest.device,
        "sequence": manifest.sequence,
        "begin_us": manifest.begin,
        "end_us": manifest.end,
        "timezone": manifest.timezone,
        "screenshots": len(manifest.screenshots),
        "bucket_events": manifest.bucket_events,
    }
    odd = [name for name, value in told.items() if getattr(kept, name) != value]
    found.require("row", not odd, f"{', '.join(odd)}: not what the manifest says")
    listed = {
        Picture(item.file, item.time, item.monitor, item.width, item.height, item.sha256, item.size)
        for item in manifest.screenshots
    }
    found.require("row", listed == set(pictures), "its screenshots are not those in the manifest")


def _record(kept: Kept, found: Findings) -> Verified:
    problems: tuple[JsonObject, ...] = tuple(found.problems)
    return Verified(
        worker=kept.worker,
        npub=encode_npub(kept.pubkey),
        device=kept.device,
        sequence=kept.sequence,
        begin=from_micros(kept.begin_us),
        end=from_micros(kept.end_us),
        root=kept.root,
        sha256=kept.sha256,
        rumor=kept.rumor,
        received=from_micros(kept.ingested_at * SECOND),
        ok=not problems,
        absent=tuple(found.absent),
        problems=problems,
    )
