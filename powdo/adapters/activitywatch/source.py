"""What every source of buckets gives, and the checks all of them share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from powdo.errors import BadRecordError
from powdo.records import encode_line, parse_time
from powdo.worktime.flood import BucketEvent, parse_bucket_event
from powdo.worktime.intervals import SECOND
from powdo.worktime.manifest import MAX_TEXT, micros
from powdo.worktime.privacy import check_depth, without_surrogates


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketInfo:
    """A bucket as its source lists it; *device* is the machine, *last_updated* in microseconds or None."""

    id: str
    type: str
    client: str
    hostname: str
    device: str
    last_updated: int | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """Bucket events, and why others were left out."""

    events: Sequence[BucketEvent]
    problems: Sequence[str]


class Source(Protocol):
    """Something that has buckets."""

    settles: bool
    problems: list[str]

    def buckets(self) -> list[BucketInfo]:
        """Return its buckets, sorted by id."""
        ...

    def events(self, bucket: BucketInfo, begin: int, end: int) -> Fetched:
        """Return what may lie in the seconds [begin, end), not yet cut to them."""
        ...

    def first_begin(self, today: int) -> int:
        """Return the second at which a first capture begins."""
        ...


def safe_text(value: object) -> str:
    """Return *value* if it may stand in a manifest, with nothing for null. Raises: BadRecordError."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise BadRecordError("a bucket's name, type, client and host must be short printable strings")
    return value


def bucket_info(name: str, obj: object, device: str, last_updated: object) -> BucketInfo:
    """Return the bucket that *obj* describes. Raises: BadRecordError."""
    if not isinstance(obj, Mapping):
        raise BadRecordError("not an object")
    if last_updated is not None and not isinstance(last_updated, str):
        raise BadRecordError("'last_updated' must be a time")
    return BucketInfo(
        id=safe_text(name),
        type=safe_text(obj.get("type")),
        client=safe_text(obj.get("client")),
        hostname=safe_text(obj.get("hostname")),
        device=device,
        last_updated=None if last_updated is None else micros(parse_time(last_updated)),
    )


def check_events(objects: Iterable[Any]) -> Fetched:
    """Return those of *objects* that are bucket events and can be written again, and what the others lack."""
    events: list[BucketEvent] = []
    problems: list[str] = []
    for obj in objects:
        try:
            if not isinstance(obj, dict):
                raise BadRecordError("not an object")
            event = parse_bucket_event(obj)
            if event.begin < 0 or event.end >= 1 << 57:
                raise BadRecordError("bucket event outside of any calendar")
            check_depth(event.data)
            event = _writable(event)
        except BadRecordError as error:
            problems.append(error.message)
        else:
            events.append(event)
    return Fetched(events, problems)


def _writable(event: BucketEvent) -> BucketEvent:
    """Return *event* so that it can be written as UTF-8. Raises: BadRecordError for infinities and giants."""
    try:
        encode_line(event.data)
    except BadRecordError:
        event = event._replace(data=without_surrogates(event.data))
        encode_line(event.data)
    return event


def latest(events: Iterable[BucketEvent]) -> int:
    """Return the first whole second after all *events*."""
    return max((event.end for event in events), default=-SECOND) // SECOND + 1
