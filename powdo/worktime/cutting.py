"""How far a capture may read a bucket, and how bucket events are cut at the borders of captures.

Rules:
- a capture covers [begin, end) of a bucket, whole unix seconds; the next one goes on at end;
- end stays behind the clock by the settle time, since watchers still change their latest events, and
  behind the bucket's own last update, since a watcher that was offline sends old events late;
- an event that lasts is cut to the period, one without duration belongs to the period it falls in;
  so fragments add up to the whole in any slicing, whatever a server leaves over at the borders;
- what the worker does not allow is cut out to the microsecond, and the period shrinks to what is left.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from powdo.worktime.flood import Bucket, BucketEvent
from powdo.worktime.hours import Control, State
from powdo.worktime.intervals import SECOND, Interval, union

DAY = 86_400


def settled_until(now: float, settle: int, last_updated: int, until: int | None = None) -> int:
    """Return the second up to which a bucket last updated at *last_updated* (microseconds) is final."""
    end = min(int(now) - settle, last_updated // SECOND)
    return end if until is None else min(end, until)


def day_slices(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Return [begin, end) in pieces of at most a day."""
    for start in range(begin, end, DAY):
        yield start, min(start + DAY, end)


def clip(events: Iterable[BucketEvent], begin: int, end: int) -> list[BucketEvent]:
    """Return what of *events* lies in the seconds [begin, end), sorted by time."""
    first, last = begin * SECOND, end * SECOND
    result: list[BucketEvent] = []
    for event in events:
        if event.begin == event.end:
            if first <= event.begin < last:
                result.append(event)
            continue
        start, stop = max(event.begin, first), min(event.end, last)
        if start == event.begin and stop == event.end:
            result.append(event)
        elif start < stop:
            result.append(BucketEvent(start, stop, event.data))
    result.sort(key=lambda item: (item.begin, item.end))
    return result


def inside(events: Iterable[BucketEvent], allowed: Iterable[Interval]) -> list[BucketEvent]:
    """Return what of *events* lies in the times *allowed*; what an event said outside is gone for good."""
    spans = union(allowed)
    begins = [span.begin for span in spans]
    result: list[BucketEvent] = []
    for event in events:
        at = max(bisect_right(begins, event.begin) - 1, 0)
        if event.begin == event.end:
            if spans and spans[at].begin <= event.begin < spans[at].end:
                result.append(event)
            continue
        while at < len(spans) and spans[at].begin < event.end:
            start, stop = max(event.begin, spans[at].begin), min(event.end, spans[at].end)
            if start == event.begin and stop == event.end:
                result.append(event)
            elif start < stop:
                result.append(BucketEvent(start, stop, event.data))
            at += 1
    result.sort(key=lambda item: (item.begin, item.end))
    return result


@dataclass(frozen=True, slots=True)
class Allowed:
    """What is allowed of a bucket, in which seconds [begin, end), and why not all of them are."""

    bucket: Bucket
    begin: int
    end: int
    reasons: tuple[State, ...]


def obeying(bucket: Bucket, begin: int, end: int, control: Control) -> Allowed | None:
    """Return what *control* allows of *bucket* in the seconds [begin, end), or None."""
    allowed = control.allowed(begin * SECOND, end * SECOND)
    if not allowed:
        return None
    first, last = allowed[0].begin, allowed[-1].end
    return Allowed(
        replace(bucket, events=tuple(inside(bucket.events, allowed))),
        first // SECOND,
        -(-last // SECOND),
        tuple(control.reasons(first, last)),
    )
