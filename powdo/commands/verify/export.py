"""A folder that proves to a third party what was sent, written while it is verified (powdo-export(5)).

Rules:
- it holds what was signed, and what that speaks of by a hash: links, receipts, manifests, screenshots; no
  wrap, no seal and no rumor, since the key of a bundle is in them;
- of an event only the fields of NIP-01 are written, of a manifest only one that its link speaks of;
- the folder gets its name once all of it is on the disk.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from powdo import __version__
from powdo.adapters.archive_reader import check_file
from powdo.adapters.database import Kept, StoredLink
from powdo.adapters.evidence import place
from powdo.commands.verify.choice import Choice
from powdo.commands.verify.exported import LINKS, MANIFESTS, RECEIPTS, SCREENSHOTS
from powdo.errors import (
    BadRecordError,
    CannotCreateError,
    InputMissingError,
    OutputError,
    PeerProtocolError,
)
from powdo.lines import decode_json, encode_line, format_time
from powdo.nips.bech32 import encode_npub
from powdo.nips.event import Event
from powdo.settings.paths import fsync_path
from powdo.worktime.link import check_link, parse_link
from powdo.worktime.manifest import Manifest, parse_manifest

ABOUT = "export.json"
EXPORT_VERSION = 1


class Export:
    """An export under construction; it becomes *target* when the block ends without an error."""

    def __init__(self, target: Path, evidence: Path, chosen: Choice) -> None:
        if os.path.lexists(target):
            raise CannotCreateError(
                f"'{target}' is there already", hint="name a folder that is not there yet"
            )
        self._target = target
        self._evidence = evidence
        self._chosen = chosen
        self._folder = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
        self._open = ExitStack()
        self._files: dict[str, IO[bytes]] = {}
        self._pictures: set[str] = set()
        self._counts = dict.fromkeys(("links", "receipts", "manifests", "screenshots"), 0)

    def __enter__(self) -> Self:
        try:
            for path in (self._folder, self._folder / MANIFESTS, self._folder / SCREENSHOTS):
                path.mkdir(mode=0o700)
            for name in (LINKS, RECEIPTS):
                self._files[name] = self._open.enter_context(_create(self._folder / name))
        except OSError as error:
            self._discard()
            raise CannotCreateError(f"cannot create '{self._target}': {error.strerror}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            self._open.close()
            os.sync()  # once for thousands of files
            if os.path.lexists(self._target):
                raise CannotCreateError(f"'{self._target}' is there already")
            self._folder.rename(self._target)
            fsync_path(self._target.parent)
        except OSError as error:
            raise OutputError(f"cannot write '{self._target}': {error.strerror}") from None
        finally:
            self._discard()

    def _discard(self) -> None:
        with suppress(OSError):
            self._open.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- what goes in ---

    def links(self, links: Iterable[StoredLink]) -> None:
        """Add *links*, in their order."""
        for link in links:
            self._line(LINKS, {"link": link.link, "event": _event(link.event)})
            self._counts["links"] += 1

    def bundle(self, kept: Kept) -> None:
        """Add receipt, manifest and chosen screenshots of *kept*."""
        statement = _event(kept.statement)
        if statement is not None:
            self._line(RECEIPTS, statement)
            self._counts["receipts"] += 1
        try:
            manifest, root = _manifest(kept)
        except BadRecordError:
            return  # what is wrong with it is told where it is verified
        self._write(f"{MANIFESTS}/{root}.json", kept.manifest.encode())
        self._counts["manifests"] += 1
        for item in manifest.screenshots:
            if self._chosen(item) and item.sha256 not in self._pictures:
                self._picture(item.sha256, item.size, item.file.rpartition(".")[2])

    def _picture(self, sha256: str, size: int, kind: str) -> None:
        source = place(self._evidence, sha256)
        with suppress(InputMissingError, BadRecordError, PeerProtocolError):  # told where it is verified
            check_file(source, sha256, size)
            self._write(f"{SCREENSHOTS}/{sha256}.{kind}", source.read_bytes())
            self._pictures.add(sha256)
            self._counts["screenshots"] += 1

    def about(self, dvm: str, workers: Iterable[str], period: Mapping[str, str | None]) -> None:
        """Say what this is, for people; nothing in it is proved."""
        obj = {
            "type": "export",
            "v": EXPORT_VERSION,
            "powdo": __version__,
            "made": format_time(datetime.now(UTC).replace(microsecond=0)),
            "dvm": encode_npub(dvm),
            "workers": [encode_npub(pubkey) for pubkey in workers],
            **{name: value for name, value in period.items() if value is not None},
            **self._counts,
        }
        self._write(ABOUT, encode_line(obj))

    def _line(self, name: str, obj: Mapping[str, object]) -> None:
        try:
            self._files[name].write(encode_line(obj))
        except OSError as error:
            raise OutputError(f"cannot write '{self._folder / name}': {error.strerror}") from None

    def _write(self, name: str, data: bytes) -> None:
        try:
            with _create(self._folder / name) as file:
                file.write(data)
        except FileExistsError:
            return  # two bundles of one manifest: a row was copied
        except OSError as error:
            raise OutputError(f"cannot write '{self._folder / name}': {error.strerror}") from None


def _create(path: Path) -> IO[bytes]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def _event(text: str | None) -> dict[str, object] | None:
    """Return the event in *text*, nothing but its own fields; None where there is none."""
    if text is None:
        return None
    try:
        return Event.from_json(decode_json(text.encode())).to_json()
    except BadRecordError:
        return None


def _manifest(kept: Kept) -> tuple[Manifest, str]:
    """Return the manifest of *kept* and its root. Raises: BadRecordError when its link speaks of another."""
    data = kept.manifest.encode()
    manifest, link = parse_manifest(data), parse_link(kept.link)
    check_link(link, manifest, data)
    assert link.root is not None  # `check_link` has seen to it
    return manifest, link.root
