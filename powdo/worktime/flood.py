"""Bucket events of ActivityWatch, and flooding: gaps and overlaps settled as aw-core 0.5.18 settles them.

Rules:
- a gap up to the pulse time is closed: events of equal data join, others meet in the middle;
- where events overlap, the later one wins; nothing is counted twice;
- one event cut into fragments at the borders of captures gives the same result as the whole event;
- redacted events are alike only on paper: they are held for different ones, except at such a border.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter, itemgetter
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


class BucketEvent(NamedTuple):
    """One event of a bucket: *data* held from *begin* to *end*.

    A tuple, since a week holds twenty thousand of them and a tuple is made in a fifth of the time.
    """

    begin: int
    end: int
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket of one device; *device* tells apart machines that share a host name."""

    id: str
    type: str
    client: str
    hostname: str
    events: tuple[BucketEvent, ...]
    device: str = ""


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
    begin = (
        int(moment.timestamp()) * SECOND + moment.microsecond
    )  # whole seconds: a float has no room for both
    return BucketEvent(begin, begin + round(duration * SECOND), data)


# --- flooding ------------------------------------------------------------------------------------


def _identity(data: Mapping[str, object]) -> Hashable:
    try:
        return frozenset(data.items())
    except TypeError:  # a list or an object inside
        return json.dumps(data, sort_keys=True)


class Span:
    """An event while its borders still move."""

    __slots__ = ("begin", "data", "end")

    def __init__(self, begin: int, end: int, data: Mapping[str, object]) -> None:
        self.begin, self.end, self.data = begin, end, data


def _whole(events: Iterable[BucketEvent]) -> list[Span]:
    """Return *events* sorted, and joined where equal data overlaps or was cut at a whole second.

    Captures are cut at whole seconds only; events that touch elsewhere are the watcher's own.
    """
    spans: list[Span] = []
    latest: dict[Hashable, Span] = {}
    alone: list[
        Span
    ] = []  # not in *latest* yet: most events meet no other, and hashing them is half the work
    reach = -1
    for begin, end, data in sorted(events, key=itemgetter(0)):
        if begin > reach or (begin == reach and begin % SECOND):
            latest.clear()
            alone.clear()
        else:
            latest.update((_identity(span.data), span) for span in alone)
            alone.clear()
            before = latest.get(_identity(data))
            if before and _goes_on(before, begin):
                before.end = max(before.end, end)
                reach = max(reach, end)
                continue
        span = Span(begin, end, data)
        alone.append(span)
        spans.append(span)
        reach = max(reach, end)
    spans.sort(key=attrgetter("begin", "end"))
    return spans


def _is_redacted(data: Mapping[str, object]) -> bool:
    return any(isinstance(value, str) and REDACTED in value for value in data.values())


def _goes_on(before: Span, begin: int) -> bool:
    """Return whether an event of equal data from *begin* on is the same one as *before*."""
    if begin == before.end:
        return not begin % SECOND
    return begin < before.end and not _is_redacted(before.data)


def _same(one: Span, other: Span) -> bool:
    return one.data == other.data and not _is_redacted(one.data)


def _fill(spans: list[Span], pulsetime: int) -> list[Span]:
    """Return *spans* with gaps up to *pulsetime* closed: joined if equal, else split in the middle."""
    result = spans[:1]
    for span in spans[1:]:
        before = result[-1]
        gap = span.begin - before.end
        if gap <= pulsetime and _same(before, span):
            before.end = max(before.end, span.end)
            continue
        if gap and -_TRIM < gap <= pulsetime:
            before.end = span.begin = before.end + gap // 2
        result.append(span)
    return result


def _settle(spans: Iterable[Span]) -> list[Span]:
    """Return *spans* without overlap: of two that differ the later one wins."""
    result: list[Span] = []
    for span in spans:
        if span.end <= span.begin:
            continue
        while result and result[-1].end > span.begin:
            before = result[-1]
            if _same(before, span):
                before.end = max(before.end, span.end)
                break
            before.end = span.begin
            if before.end > before.begin:
                result.append(span)
                break
            result.pop()
        else:
            result.append(span)
    return result


def flooded(events: Iterable[BucketEvent], pulsetime: int = PULSETIME) -> list[Span]:
    """Return what `flood` returns, as spans."""
    return _settle(_fill(_whole(events), pulsetime))


def flood(events: Iterable[BucketEvent], pulsetime: int = PULSETIME) -> list[BucketEvent]:
    """Return *events* without short gaps and without overlap, as aw-core 0.5.18 floods them."""
    return [BucketEvent(span.begin, span.end, span.data) for span in flooded(events, pulsetime)]
