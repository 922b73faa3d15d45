"""An export, checked with nothing but the npubs of its workers and its DVM (powdo-export(5)).

Rules:
- whoever wrote the folder may have written anything: lines and files are bounded, and links are not followed;
- a link that has neither a manifest nor a receipt is one without contents: its worker told no more of it;
- what no signature speaks of is told as a fault.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from powdo.adapters.archive_reader import check_file, open_file
from powdo.commands.verify.bundles import SKEW
from powdo.commands.verify.chains import Told, devices
from powdo.commands.verify.findings import Findings
from powdo.errors import BadRecordError, InputMissingError, PeerProtocolError, PowdoError
from powdo.lines import MAX_LINE, JsonObject, decode_line, encode_json
from powdo.nips.bech32 import encode_npub
from powdo.nips.event import Event
from powdo.nips.signed import check_signed
from powdo.records.operator import Chain, Verified
from powdo.worktime.intervals import SECOND
from powdo.worktime.link import LINK_KIND, Link, check_link, parse_link
from powdo.worktime.manifest import MAX_MANIFEST, Manifest, from_micros, parse_manifest
from powdo.worktime.statement import STATEMENT_KIND, Statement, parse_statement

LINKS, RECEIPTS, MANIFESTS, SCREENSHOTS = "links.jsonl", "receipts.jsonl", "manifests", "screenshots"
_MANIFEST = re.compile(r"([0-9a-f]{64})\.json", re.ASCII)
_SCREENSHOT = re.compile(r"([0-9a-f]{64})\.(?:png|webp)", re.ASCII)

_Place = tuple[str, int, str]  # device, sequence, root


class _Line(NamedTuple):
    link: Link
    text: str
    event: object
    author: str | None


class Exported:
    """An export in *folder*, whose links *workers* must have signed, and whose receipts *dvm*.

    *complaints* are what is wrong with no link in particular; they are complete once `records` has ended.
    Raises: InputMissingError when it is no export.
    """

    def __init__(self, folder: Path, workers: Sequence[str], dvm: str) -> None:
        self._folder = folder
        self._workers = workers
        self._dvm = dvm
        self.complaints: list[PowdoError] = []
        self._links = list(self._read_links())
        self._receipts = dict(self._read_receipts())
        self._manifests = self._names(MANIFESTS, _MANIFEST)
        self._screenshots = self._names(SCREENSHOTS, _SCREENSHOT)

    @property
    def count(self) -> int:
        """Return how many records of bundles there will be."""
        return sum(self._has_contents(line.link) for line in self._links)

    def records(self) -> Iterator[Verified | Chain]:
        """Yield what is found of each link that has contents, then of each chain."""
        spoken_of: set[str] = set()
        chains: dict[str | None, list[Told]] = {}
        for line in self._links:
            contents = self._has_contents(line.link)
            event = None if line.event is None else encode_json(line.event)
            chains.setdefault(line.author, []).append(Told(line.text, event, withheld=not contents))
            if contents:
                yield self._bundle(line, spoken_of)
            elif line.author is None:
                self._complain(f"{_name(line.link)} is signed by none of the workers")
        for author, told in chains.items():
            for device in devices(told, self._workers, first=None).values():
                numbers = [link.sequence for link in device.links]
                npub = None if author is None else encode_npub(author)
                yield device.record(min(numbers), max(numbers), npub=npub)
        for kind, names in ((MANIFESTS, self._manifests), (SCREENSHOTS, self._screenshots)):
            for name in sorted(names.keys() - spoken_of):
                self._complain(f"nothing that was signed speaks of '{kind}/{names[name]}'")
        places = {_place(line.link) for line in self._links}
        for name, sequence, _ in sorted(self._receipts.keys() - places):
            self._complain(f"no link is here for the receipt of number {sequence} on device '{name}'")

    # --- one bundle ---

    def _has_contents(self, link: Link) -> bool:
        return link.root is not None and (link.root in self._manifests or _place(link) in self._receipts)

    def _bundle(self, line: _Line, spoken_of: set[str]) -> Verified:
        found, link = Findings(), line.link
        root = link.root or ""
        with found.check("link"):
            self._check_author(line)
        manifest = None
        with found.check("manifest"):
            manifest = self._manifest(link, root)
        spoken_of.add(root)
        for item in () if manifest is None else manifest.screenshots:
            name = self._screenshots.get(item.sha256)
            spoken_of.add(item.sha256)
            if name is None:
                found.absent.append("screenshots")
                continue
            with found.check("screenshots"):
                check_file(self._folder / SCREENSHOTS / name, item.sha256, item.size)
        statement = self._receipt(link, found)
        return Verified(
            npub="" if line.author is None else encode_npub(line.author),
            device=link.device,
            sequence=link.sequence,
            begin=from_micros(link.begin),
            end=from_micros(link.end),
            root=root,
            sha256=None if statement is None else statement.blob,
            received=None if statement is None else from_micros(statement.received * SECOND),
            ok=not found.problems,
            absent=tuple(dict.fromkeys(found.absent)),
            problems=tuple(found.problems),
        )

    def _check_author(self, line: _Line) -> None:
        if line.event is None:
            raise PeerProtocolError("it is not signed")
        if line.author is None:
            raise PeerProtocolError("it is signed by none of the workers")
        check_signed(line.event, kind=LINK_KIND, content=line.text, author=line.author, what="link")

    def _manifest(self, link: Link, root: str) -> Manifest:
        """Return the manifest that *link* speaks of. Raises: InputMissingError, BadRecordError."""
        if root not in self._manifests:
            raise InputMissingError("it is not in the export, though the DVM had the bundle")
        path = self._folder / MANIFESTS / self._manifests[root]
        with open_file(path) as file:
            data = file.read(MAX_MANIFEST + 1)
        manifest = parse_manifest(data)
        check_link(link, manifest, data)
        return manifest

    def _receipt(self, link: Link, found: Findings) -> Statement | None:
        """Return what the DVM states of *link*, if it is the DVM that states it."""
        receipt = self._receipts.get(_place(link))
        if receipt is None:
            found.absent.append("receipt")
            return None
        statement, event = receipt
        with found.check("receipt"):
            check_signed(
                event, kind=STATEMENT_KIND, content=statement.content, author=self._dvm, what="receipt"
            )
            late = link.end <= (statement.received + SKEW) * SECOND
            found.require("period", late, "it ends after the DVM had received it")
            return statement
        return None

    # --- the folder ---

    def _read_links(self) -> Iterator[_Line]:
        for number, obj in self._lines(LINKS, required=True):
            try:
                text = obj.get("link")
                if not isinstance(text, str):
                    raise BadRecordError("'link' must be a string")
                event = obj.get("event")
                pubkey = event.get("pubkey") if isinstance(event, dict) else None
                author = pubkey if isinstance(pubkey, str) and pubkey in self._workers else None
                yield _Line(parse_link(text), text, event, author)
            except BadRecordError as error:
                self._complain(f"{LINKS}: line {number}: {error.message}")

    def _read_receipts(self) -> Iterator[tuple[_Place, tuple[Statement, JsonObject]]]:
        for number, obj in self._lines(RECEIPTS, required=False):
            try:
                statement = parse_statement(Event.from_json(obj).content)
            except BadRecordError as error:
                self._complain(f"{RECEIPTS}: line {number}: {error.message}")
            else:
                yield (statement.device, statement.sequence, statement.root), (statement, obj)

    def _lines(self, name: str, *, required: bool) -> Iterator[tuple[int, JsonObject]]:
        path = self._folder / name
        if not required and not os.path.lexists(path):
            return
        with open_file(path) as file:
            for number in range(1, 1 << 62):
                line = file.readline(MAX_LINE + 1)
                if not line:
                    return
                try:
                    yield number, decode_line(line)
                except BadRecordError as error:
                    self._complain(f"{name}: line {number}: {error.message}")
                    if not line.endswith(b"\n"):
                        return

    def _names(self, folder: str, pattern: re.Pattern[str]) -> dict[str, str]:
        """Return the hash → name of what lies in *folder*; other names are passed over."""
        try:
            names = sorted(os.listdir(self._folder / folder))  # noqa: PTH208 - names, not paths, are compared
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise InputMissingError(f"cannot read '{self._folder / folder}': {error.strerror}") from None
        return {match[1]: name for name in names if (match := pattern.fullmatch(name))}

    def _complain(self, reason: str) -> None:
        self.complaints.append(PeerProtocolError(reason))


def _place(link: Link) -> _Place:
    return link.device, link.sequence, link.root or ""


def _name(link: Link) -> str:
    return f"link {link.sequence} on device '{link.device}'"
