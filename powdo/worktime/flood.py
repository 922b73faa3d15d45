"""Bucket events of ActivityWatch, and flooding: gaps and overlaps settled as aw-core 0.5.18 settles them.

Rules:
- a gap up to the pulse time is closed: events of equal data join, others meet in the middle;
- where events overlap, the later one wins; nothing is counted twice;
- one event cut into fragments at the borders of captures gives the same result as the whole event;
- redacted events are alike only on paper: they are held for different ones, except at such a border.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

from powdo.errors import BadRecordError
from powdo.lines import parse_time
from powdo.worktime.intervals import SECOND

PULSETIME = 5 * SECOND
#: What stands in the place of a text that the worker wants left out.
REDACTED = "[redacted]"
#: Overlaps of differing events up to this long are split in the middle, like gaps.
_TRIM = SECOND // 10
_LONGEST = 366 * 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class BucketEvent(NamedTuple):
    """One event of a bucket: *data* held from *begin* to *end*.

    A tuple, since a week holds twenty thousand of them and a tuple is made in a fifth of the time.
    """

    begin: int
    end: int
    data: Mapping[str, object]


#: Makes a bucket event of a tuple of three in half the time that BucketEvent takes for three arguments.
bucket_event_of: Callable[[tuple[int, int, Mapping[str, object]]], BucketEvent]
bucket_event_of = partial(tuple.__new__, BucketEvent)

#: A bucket event in the middle of being counted; a bare tuple, since it is made in half of that time again.
Span = tuple[int, int, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket of one device; *device* tells apart machines that share a host name."""

    id: str
    type: str
    client: str
    hostname: str
    events: tuple[BucketEvent, ...]
    device: str = ""


def joined(buckets: Iterable[Bucket]) -> list[Bucket]:
    """Return each of *buckets* once, with its events from all captures."""
    found: dict[tuple[str, str], Bucket] = {}
    for bucket in buckets:
        known = found.get((bucket.device, bucket.id))
        events = bucket.events if known is None else known.events + bucket.events
        found[bucket.device, bucket.id] = replace(bucket, events=events)
    return list(found.values())


#: Names the kinds of buckets that are needed, told the kind of each.
Needed = Callable[[Sequence[str]], Collection[str]]


def parse_bucket_event(obj: Mapping[str, Any]) -> BucketEvent:
    """Return the bucket event in *obj*, ActivityWatch's JSON. Raises: BadRecordError."""
    stamp, duration, data = obj.get("timestamp"), obj.get("duration"), obj.get("data")
    if not isinstance(stamp, str):
        raise BadRecordError("bucket event without a timestamp")
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        raise BadRecordError("bucket event without a duration")
    if not 0 <= duration <= _LONGEST:
        raise BadRecordError(f"bucket event with a duration of {duration} seconds")
    if not isinstance(data, dict):
        raise BadRecordError("bucket event without data")
    moment = parse_time(stamp)
    begin = (moment - _EPOCH) // _MICROSECOND  # a float has no room for both seconds and microseconds
    return BucketEvent(begin, begin + round(duration * SECOND), data)


# --- flooding ------------------------------------------------------------------------------------


def _identity(data: Mapping[str, object]) -> Hashable:
    try:
        return frozenset(data.items())
    except TypeError:  # a list or an object inside
        return json.dumps(data, sort_keys=True)


def _whole(events: Iterable[BucketEvent]) -> list[Span]:
    """Return *events* sorted, and joined where equal data overlaps or was cut at a whole second.

    Captures are cut at whole seconds only; events that touch elsewhere are the watcher's own.
    """
    spans: list[Span] = []
    latest: dict[Hashable, int] = {}
    first = named = 0  # where the spans begin that may go on, and those of them that are not in *latest*
    reach = -1
    ordered = True
    for event in sorted(events, key=itemgetter(0)):
        begin, end, data = event
        if begin > reach or (begin == reach and begin % SECOND):
            latest.clear()
            first = named = len(spans)
            spans.append(event)
            reach = end
            continue
        if len(spans) - first == 1:  # most overlap only one other; hashing both would take half of all
            at = first if spans[first][2] == data else -1
        else:
            latest.update((_identity(spans[at][2]), at) for at in range(named, len(spans)))
            named = len(spans)
            at = latest.get(_identity(data), -1)
        if at >= 0 and _goes_on(spans[at], begin):
            start, stop, before = spans[at]
            spans[at] = (start, max(stop, end), before)
        else:
            ordered = ordered and spans[-1][0] < begin
            spans.append(event)
        reach = max(reach, end)
    if not ordered:
        spans.sort(key=itemgetter(0, 1))
    return spans


def _is_redacted(data: Mapping[str, object]) -> bool:
    return any(isinstance(value, str) and REDACTED in value for value in data.values())


def _goes_on(before: Span, begin: int) -> bool:
    """Return whether an event of equal data from *begin* on is the same one as *before*."""
    _, end, data = before
    if begin == end:
        return not begin % SECOND
    return begin < end and not _is_redacted(data)


def _filled(spans: list[Span], pulsetime: int) -> Iterator[Span]:
    """Yield *spans* with gaps up to *pulsetime* closed: joined if equal, else split in the middle."""
    if not spans:
        return
    begin, end, data = spans[0]
    for start, stop, other in spans[1:]:
        gap = start - end
        if gap <= pulsetime:
            if data == other and not _is_redacted(data):
                end = max(end, stop)
                continue
            if gap and gap > -_TRIM:
                start = end = end + gap // 2
        yield begin, end, data
        begin, end, data = start, stop, other
    yield begin, end, data


def _settle(spans: Iterable[Span]) -> list[Span]:
    """Return *spans* without overlap: of two that differ the later one wins."""
    result: list[Span] = []
    reach = -1
    for span in spans:
        begin, end, data = span
        if end <= begin:
            continue
        while reach > begin:
            start, stop, before = result.pop()
            if before == data and not _is_redacted(data):
                result.append((start, max(stop, end), before))
                break
            if start < begin:
                result += ((start, begin, before), span)
                break
            reach = result[-1][1] if result else -1
        else:
            result.append(span)
        reach = result[-1][1]
    return result


def flooded(events: Iterable[BucketEvent], pulsetime: int = PULSETIME) -> list[Span]:
    """Return what `flood` returns, as bare tuples."""
    return _settle(_filled(_whole(events), pulsetime))


def flood(events: Iterable[BucketEvent], pulsetime: int = PULSETIME) -> list[BucketEvent]:
    """Return *events* without short gaps and without overlap, as aw-core 0.5.18 floods them."""
    return [BucketEvent(*span) for span in flooded(events, pulsetime)]
