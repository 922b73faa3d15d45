"""Reads from a source what was not captured yet: no gap and no duplicate, in whatever slices.

Rules:
- a bucket goes on at its cursor; one without a cursor begins where its source was first captured, so that
  a watcher installed later, or silent until now, has no gap either;
- *since* never goes back before a cursor; what it skips stays skipped;
- a bucket that fails waits for the next time and the others go on, but for browsers': they know which
  windows are incognito, and without them no title may leave.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from powdo.adapters.activitywatch.source import BucketInfo, Source
from powdo.errors import InputMissingError, PeerProtocolError
from powdo.worktime.cutting import clip, settled_until
from powdo.worktime.flood import Bucket
from powdo.worktime.intervals import SECOND

#: The name under which a source's first second is kept among the cursors of its buckets.
FIRST = ""

#: The second up to which a bucket of a source is captured, or None.
Cursor = Callable[[str, str], int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The times asked for, in unix seconds; *today* is where a first capture begins."""

    now: float
    today: int
    settle: int
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A bucket with its events in the seconds [begin, end)."""

    bucket: Bucket
    begin: int
    end: int


@dataclass(slots=True)
class Reading:
    """What was read; the cursors to keep with it; what a person should know; *first* if it is the first."""

    parts: list[Part] = field(default_factory=list)
    cursors: dict[tuple[str, str], int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    incomplete: bool = False
    first: int | None = None


def read(source: Source, wanted: Wanted, cursor: Cursor) -> Reading:
    """Return what is new in *source*. Raises: RetryLaterError, PeerProtocolError; nothing is lost then."""
    reading = Reading()
    for info in source.buckets():
        if info.last_updated is None:
            continue
        end = _end(source, wanted, info.last_updated)
        begin = _begin(source, wanted, info, cursor, reading)
        if end <= begin:
            continue
        try:
            _read_bucket(source, info, begin, end, reading)
        except InputMissingError as error:
            reading.problems.append(error.message)
        except PeerProtocolError as error:
            if info.type == "web.tab.current":
                raise
            reading.problems.append(f"bucket '{info.id}' is left for later: {error.message}")
            reading.incomplete = True
    reading.problems[:0] = source.problems
    return reading


def _end(source: Source, wanted: Wanted, last_updated: int) -> int:
    if source.settles:
        return settled_until(wanted.now, wanted.settle, last_updated, wanted.until)
    return settled_until(last_updated // SECOND, 0, last_updated, wanted.until)


def _begin(source: Source, wanted: Wanted, info: BucketInfo, cursor: Cursor, reading: Reading) -> int:
    """Return the second from which *info* is not captured yet, or a later one that was asked for."""
    known = cursor(info.device, info.id)
    if known is not None:
        return known if wanted.since is None else max(known, wanted.since)
    first = cursor(info.device, FIRST) if source.settles else None
    if first is not None and wanted.since is None:
        return first
    start = wanted.since
    if start is None:
        start = source.first_begin(wanted.today)
    if source.settles and first is None:
        reading.cursors[info.device, FIRST] = start
        reading.first = start
    return start


def _read_bucket(source: Source, info: BucketInfo, begin: int, end: int, reading: Reading) -> None:
    fetched = source.events(info, begin, end)
    if fetched.problems:
        count = f"{len(fetched.problems)} bucket event{'s' if len(fetched.problems) > 1 else ''}"
        reading.problems.append(f"{count} in '{info.id}' left out: {fetched.problems[0]}")
    events = tuple(clip(fetched.events, begin, end))
    bucket = Bucket(info.id, info.type, info.client, info.hostname, events, info.device)
    reading.parts.append(Part(bucket, begin, end))
    reading.cursors[info.device, info.id] = end
