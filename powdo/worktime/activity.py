"""When a person worked and on what: bucket events of ActivityWatch become slices of active time.

Rules:
- only an explicit `not-afk` counts as presence; its absence proves nothing in either direction;
- what *present* names counts as presence too; a tab that plays does not, since nobody need be there;
- a URL counts only while its browser has the focus, an editor's file only while its editor has it;
- at any instant a worker is in one slice, however many devices and watchers report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from powdo.worktime.flood import Bucket, BucketEvent, Span, flood, flooded, parse_bucket_event
from powdo.worktime.intervals import Interval, union
from powdo.worktime.watchers import browser_has_focus, editor_has_focus

__all__ = ["Bucket", "BucketEvent", "Present", "Slice", "active", "flood", "parse_bucket_event"]


class Slice(NamedTuple):
    """A stretch of active time with one window in focus, and what that window held.

    A tuple, since a week holds sixteen thousand of them and a tuple is made in a fifth of the time.
    """

    begin: int
    end: int
    app: str
    title: str
    url: str | None = None
    editor_project: str | None = None
    editor_file: str | None = None
    branch: str | None = None


Present = Callable[[Slice], bool]


def _text(data: Mapping[str, object], key: str) -> str | None:
    value = data.get(key)
    return value if isinstance(value, str) and value else None


def _windows(bucket: Bucket) -> list[Slice]:
    result: list[Slice] = []
    for span in flooded(bucket.events):
        app, title = span.data.get("app"), span.data.get("title")
        app, title = app if isinstance(app, str) else "", title if isinstance(title, str) else ""
        result.append(Slice(span.begin, span.end, app, title))
    return result


def _cut(item: Slice, begin: int, end: int) -> Slice:
    _, _, app, title, url, project, file, branch = item
    return Slice(begin, end, app, title, url, project, file, branch)


def _clip(slices: Sequence[Slice], spans: Sequence[Interval]) -> list[Slice]:
    """Return the parts of sorted *slices* that lie inside sorted *spans*."""
    result: list[Slice] = []
    i = j = 0
    while i < len(slices) and j < len(spans):
        item, span = slices[i], spans[j]
        begin, end = max(item.begin, span.begin), min(item.end, span.end)
        if begin == item.begin and end == item.end:
            result.append(item)
        elif begin < end:
            result.append(_cut(item, begin, end))
        if item.end <= span.end:
            i += 1
        else:
            j += 1
    return result


def _overlay(
    slices: list[Slice], spans: list[Span], focused: Callable[[str], bool], paint: _Paint
) -> list[Slice]:
    """Return *slices*, cut where *spans* begin and end and painted with them where *focused* allows."""
    result: list[Slice] = []
    known: dict[str, bool] = {}
    first = 0
    for item in slices:
        allowed = known.get(item.app)
        if allowed is None:
            allowed = known[item.app] = focused(item.app)
        if not allowed:
            result.append(item)
            continue
        while first < len(spans) and spans[first].end <= item.begin:
            first += 1
        at, begin = first, item.begin
        while at < len(spans) and spans[at].begin < item.end:
            span = spans[at]
            start, stop = max(span.begin, begin), min(span.end, item.end)
            if begin < start:
                result.append(_cut(item, begin, start))
            result.append(paint(item, start, stop, span.data))
            begin, at = stop, at + 1
        if begin == item.begin:
            result.append(item)
        elif begin < item.end:
            result.append(_cut(item, begin, item.end))
    return result


_Paint = Callable[[Slice, int, int, Mapping[str, object]], Slice]


def _paint_url(item: Slice, begin: int, end: int, data: Mapping[str, object]) -> Slice:
    url = item.url or _text(data, "url")
    return Slice(begin, end, item.app, item.title, url, item.editor_project, item.editor_file, item.branch)


def _paint_editor(item: Slice, begin: int, end: int, data: Mapping[str, object]) -> Slice:
    if item.editor_file or item.editor_project:
        return _cut(item, begin, end)
    project, file = _text(data, "project"), _text(data, "file")
    return Slice(begin, end, item.app, item.title, item.url, project, file, _text(data, "branch"))


def _device(buckets: Sequence[Bucket], present: Present | None) -> list[list[Slice]]:
    """Return the active slices of one device, one list for each of its window watchers."""
    presence = [
        Interval(span.begin, span.end)
        for bucket in buckets
        if bucket.type == "afkstatus"
        for span in flooded(bucket.events)
        if span.data.get("status") == "not-afk"
    ]
    webs = [(bucket, flooded(bucket.events)) for bucket in buckets if bucket.type == "web.tab.current"]
    editors = [(bucket, flooded(bucket.events)) for bucket in buckets if bucket.type == "app.editor.activity"]
    result: list[list[Slice]] = []
    for bucket in buckets:
        if bucket.type != "currentwindow":
            continue
        windows = _windows(bucket)
        slices = windows if present else _clip(windows, union(presence))
        for web, spans in webs:
            slices = _overlay(slices, spans, partial(browser_has_focus, web.id), _paint_url)
        for editor, spans in editors:
            slices = _overlay(slices, spans, partial(editor_has_focus, editor.id), _paint_editor)
        if present:
            here = presence + [Interval(item.begin, item.end) for item in slices if present(item)]
            slices = _clip(slices, union(here))
        result.append(slices)
    return result


def _richness(item: Slice) -> tuple[bool, bool, int]:
    return (bool(item.editor_project or item.editor_file), item.url is not None, item.begin)


def _one_at_a_time(slices: list[Slice]) -> list[Slice]:
    """Return *slices* without overlap: what says most about the work wins, then what began later."""
    edges = sorted({edge for item in slices for edge in (item.begin, item.end)})
    slices.sort(key=lambda item: item.begin)
    result: list[Slice] = []
    running: list[Slice] = []
    at = 0
    for begin, end in pairwise(edges):
        while at < len(slices) and slices[at].begin <= begin:
            running.append(slices[at])
            at += 1
        running = [item for item in running if item.end > begin]
        if not running:
            continue
        best = max(running, key=_richness)
        last = result[-1] if result else None
        if last and last.end == begin and last[2:] == best[2:]:
            result[-1] = _cut(last, last.begin, end)
        else:
            result.append(_cut(best, begin, end))
    return result


def active(buckets: Sequence[Bucket], present: Present | None = None) -> list[Slice]:
    """Return the active time in all *buckets* of one worker, sorted and without overlap.

    *present* names slices that count although the watchers saw nobody, such as a meeting.
    """
    devices: dict[str, list[Bucket]] = {}
    for bucket in sorted(buckets, key=lambda item: (item.device, item.id)):
        devices.setdefault(bucket.device or bucket.hostname, []).append(bucket)
    streams = [stream for group in devices.values() for stream in _device(group, present) if stream]
    if len(streams) == 1:
        return streams[0]
    return _one_at_a_time([item for stream in streams for item in stream])
