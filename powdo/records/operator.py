"""The records that the operator's side writes: what was ingested and proved, timesheets, the allowlist."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from powdo.records import (
    JsonObject,
    Record,
    checked,
    flag,
    fragment,
    hex32,
    integer,
    moment,
    objects,
    text,
    texts,
)


@dataclass(frozen=True, kw_only=True)
class Ingested(Record):
    """One bundle the DVM has checked and stored; *wrap* and *rumor* are event ids."""

    TYPE = "ingested"

    wrap: str = checked(hex32)
    rumor: str = checked(hex32)
    worker: str = checked(text)
    npub: str = checked(text)
    device: str = checked(text)
    sequence: int = checked(integer)
    begin: datetime = checked(moment)
    end: datetime = checked(moment)
    sha256: str = checked(hex32)
    size: int = checked(integer)
    screenshots: int = checked(integer)
    bucket_events: int = checked(integer)


@dataclass(frozen=True, kw_only=True)
class Rejected(Record):
    """One gift wrap the DVM refuses for good, and why."""

    TYPE = "rejected"

    wrap: str | None = checked(text, None)
    reason: str = checked(text)
    rumor: str | None = checked(text, None)
    npub: str | None = checked(text, None)


@dataclass(frozen=True, kw_only=True)
class Verified(Record):
    """One bundle that `verify` has looked at, with what is wrong and what is not there to be looked at.

    *problems* are {"check", "reason"}; *received* is when the DVM says it had the bundle.
    """

    TYPE = "verified"

    npub: str = checked(text)
    device: str = checked(text)
    sequence: int = checked(integer)
    begin: datetime = checked(moment)
    end: datetime = checked(moment)
    ok: bool = checked(flag)
    root: str = checked(text)
    sha256: str | None = checked(text, None)
    worker: str | None = checked(text, None)
    rumor: str | None = checked(text, None)
    received: datetime | None = checked(moment, None)
    absent: tuple[str, ...] = checked(texts, ())
    problems: tuple[JsonObject, ...] = checked(objects, ())


@dataclass(frozen=True, kw_only=True)
class Chain(Record):
    """The links of one device, as far as they were looked at: how many, and which numbers lack one.

    *missing* are {"first", "last"}; *problems* are texts.
    """

    TYPE = "chain"

    device: str = checked(text)
    first: int = checked(integer)
    last: int = checked(integer)
    bundles: int = checked(integer)
    withheld: int = checked(integer)
    ok: bool = checked(flag)
    worker: str | None = checked(text, None)
    npub: str | None = checked(text, None)
    missing: tuple[JsonObject, ...] = checked(objects, ())
    problems: tuple[str, ...] = checked(texts, ())


@dataclass(frozen=True, kw_only=True)
class Timesheet(Record):
    """One timesheet and, after `kimai-sync`, what became of it in Kimai."""

    TYPE = "timesheet"

    begin: datetime = checked(moment)
    end: datetime = checked(moment)
    seconds: int = checked(integer)
    user: str = checked(text)
    project: str = checked(text)
    activity: str = checked(text)
    customer: str | None = checked(text, None)
    tags: tuple[str, ...] = checked(texts, ())
    billable: bool | None = checked(flag, None)
    description: str = checked(text, "")
    source: str = checked(text)
    algorithm: str = checked(text)
    manual: bool | None = checked(flag, None)
    action: str | None = checked(text, None)
    reason: str | None = checked(text, None)
    kimai_id: int | None = checked(integer, None)
    was: JsonObject | None = checked(fragment, None)
    there: JsonObject | None = checked(fragment, None)


@dataclass(frozen=True, kw_only=True)
class Synced(Record):
    """What a sync of the allowlist changed on the relay, and how many keys it lets in now."""

    TYPE = "synced"

    added: int = checked(integer)
    removed: int = checked(integer)
    total: int = checked(integer)
