"""What `ingest` hands to the database and gets back: a checked bundle, a stored one, a refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from powdo.adapters.database.buckets import StoredEvent
from powdo.adapters.database.workers import Author
from powdo.worktime.link import Link
from powdo.worktime.manifest import Manifest


class Told(NamedTuple):
    """The link of a capture that the worker destroyed, and the event that signs it, if one does."""

    link: Link
    event: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One checked bundle, ready to be stored; events are JSON texts, *evidence* is on the disk already."""

    worker: Author
    wrap: str
    rumor: str
    pubkey: str
    sha256: str
    ox: str
    size: int
    manifest: Manifest
    manifest_text: str
    link: Link
    link_event: str | None
    wrap_event: str
    seal_event: str
    rumor_event: str
    bucket_events: Mapping[str, Sequence[StoredEvent]]
    withheld: Sequence[Told] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A bundle in the database, as its `ingested` record tells it."""

    wrap: str
    rumor: str
    worker: str
    pubkey: str
    device: str
    sequence: int
    begin_us: int
    end_us: int
    sha256: str
    size: int
    screenshots: int
    bucket_events: int
    root: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a wrap was refused for good, and the exit status that says so."""

    wrap: str
    reason: str
    status: int
    rumor: str | None = None
    pubkey: str | None = None
    sha256: str | None = None
    worker: int | None = None
