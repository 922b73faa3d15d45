"""When a person worked and on what: bucket events of ActivityWatch become slices of active time.

Rules:
- only an explicit `not-afk` counts as presence; its absence proves nothing in either direction;
- what *present* names counts as presence too; a tab that plays does not, since nobody need be there;
- a URL counts only while its browser has the focus, an editor's file only while its editor has it;
- at any instant a worker is in one slice, however many devices and watchers report: a manual record goes
  before everything, then what *present* names, an editor's file, a URL, a window, and what began later.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache, partial
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple, TypeVar

from powdo.worktime.flood import Bucket, BucketEvent, Span, flood, flooded, parse_bucket_event
from powdo.worktime.intervals import Interval, subtract, union
from powdo.worktime.manual import APP, BUCKET_TYPE, Manual, parse
from powdo.worktime.watchers import browser_has_focus, editor_has_focus

__all__ = ["Bucket", "BucketEvent", "Focus", "Present", "Slice", "active", "flood", "parse_bucket_event"]

#: The kinds of buckets that say when somebody was there and in which window.
_BASE = frozenset({"currentwindow", "afkstatus", BUCKET_TYPE})
#: What the other kinds add.
_ADDED = {
    "web.tab.current": frozenset({"url"}),
    "app.editor.activity": frozenset({"editor_project", "editor_file", "branch"}),
}


class Focus(NamedTuple):
    """What somebody looked at: the window in focus, and what it held; or what they say they did."""

    app: str
    title: str
    url: str | None = None
    editor_project: str | None = None
    editor_file: str | None = None
    branch: str | None = None
    manual: Manual | None = None


class Slice(NamedTuple):
    """A stretch of active time with one thing in focus.

    Tuples, since a week holds sixteen thousand of them, but only a third as many things to look at.
    """

    begin: int
    end: int
    focus: Focus


Present = Callable[[Slice], bool]
#: Makes a slice of a piece, as `Slice._make` does, in a third of the time.
_slice_of: Callable[[_Piece], Slice] = partial(tuple.__new__, Slice)

_T = TypeVar("_T")
#: What stands after the last of all spans.
_NEVER = (1 << 63, 1 << 63)
_NOTHING: Span = (*_NEVER, {})
#: A slice while it is still cut and painted; a bare tuple is made in a quarter of the time.
_Piece = tuple[int, int, Focus]
_Paint = Callable[[Focus, Mapping[str, object]], Focus]


def kinds_needed(kinds: Sequence[str], asked: Collection[str]) -> frozenset[str]:
    """Return which kinds of buckets matter where only the fields *asked* of a focus do.

    *kinds* has one for each bucket. Where several report windows all matter, since of two at once the one
    wins that says most about the work.
    """
    several = kinds.count("currentwindow") > 1
    return _BASE | {kind for kind, fields in _ADDED.items() if several or not fields.isdisjoint(asked)}


def _text(data: Mapping[str, object], key: str) -> str | None:
    value = data.get(key)
    return value if isinstance(value, str) and value else None


def _focused(spans: Sequence[Span]) -> list[_Piece]:
    """Return *spans* of a window watcher with what was in focus; equal data read once is one object."""
    result: list[_Piece] = []
    known: dict[int, Focus] = {}
    for begin, end, data in spans:
        focus = known.get(id(data))
        if focus is None:
            app, title = _text(data, "app") or "", _text(data, "title") or ""
            focus = known[id(data)] = Focus(app, title)
        result.append((begin, end, focus))
    return result


def _clip(spans: Iterable[tuple[int, int, _T]], allowed: Iterable[Interval]) -> list[tuple[int, int, _T]]:
    """Return the parts of sorted *spans* that lie inside sorted *allowed*."""
    result: list[tuple[int, int, _T]] = []
    windows = iter([(item.begin, item.end) for item in allowed])
    first, last = next(windows, _NEVER)
    for begin, end, what in spans:
        while last < end:
            if begin < last and first < end:
                result.append((max(begin, first), last, what))
            first, last = next(windows, _NEVER)
        if first < end:
            result.append((max(begin, first), end, what))
    return result


def _overlay(
    pieces: list[_Piece], spans: list[Span], has_focus: Callable[[str], bool], paint: _Paint
) -> list[_Piece]:
    """Return *pieces*, cut where *spans* begin and end and painted with them where *has_focus* allows."""
    result: list[_Piece] = []
    known: dict[tuple[int, int], Focus] = {}
    told = iter(spans)
    start, stop, data = next(told, _NOTHING)
    for piece in pieces:
        begin, end, focus = piece
        if not has_focus(focus[0]):
            result.append(piece)
            continue
        while stop <= begin:
            start, stop, data = next(told, _NOTHING)
        while start < end:
            if begin < start:
                result.append((begin, start, focus))
                begin = start
            key = (id(focus), id(data))
            painted = known.get(key) or known.setdefault(key, paint(focus, data))
            until = min(end, stop)
            result.append((begin, until, painted))
            begin = until
            if end < stop:
                break
            start, stop, data = next(told, _NOTHING)
        if begin < end:
            result.append((begin, end, focus))
    return result


def _paint_url(focus: Focus, data: Mapping[str, object]) -> Focus:
    app, title, url, project, file, branch, _ = focus
    return Focus(app, title, url or _text(data, "url"), project, file, branch)


def _paint_editor(focus: Focus, data: Mapping[str, object]) -> Focus:
    app, title, url, project, file, _, _ = focus
    if file or project:
        return focus
    return Focus(app, title, url, _text(data, "project"), _text(data, "file"), _text(data, "branch"))


def _device(buckets: Sequence[Bucket], present: Present | None) -> list[list[_Piece]]:
    """Return the active time of one device, one list for each of its window watchers."""
    presence = [
        Interval(begin, end)
        for bucket in buckets
        if bucket.type == "afkstatus"
        for begin, end, data in flooded(bucket.events)
        if data.get("status") == "not-afk"
    ]
    webs = [(bucket, flooded(bucket.events)) for bucket in buckets if bucket.type == "web.tab.current"]
    editors = [(bucket, flooded(bucket.events)) for bucket in buckets if bucket.type == "app.editor.activity"]
    result: list[list[_Piece]] = []
    for bucket in buckets:
        if bucket.type != "currentwindow":
            continue
        windows = flooded(bucket.events)
        pieces = _focused(windows if present else _clip(windows, union(presence)))
        for web, spans in webs:
            pieces = _overlay(pieces, spans, cache(partial(browser_has_focus, web.id)), _paint_url)
        for editor, spans in editors:
            pieces = _overlay(pieces, spans, cache(partial(editor_has_focus, editor.id)), _paint_editor)
        if present:
            here = [Interval(begin, end) for begin, end, focus in pieces if present(Slice(begin, end, focus))]
            pieces = _clip(pieces, union(presence + here))
        result.append(pieces)
    return result


_Rank = tuple[bool, bool, bool, int]


def _richness(item: _Piece, present: Present | None) -> _Rank:
    begin, _, focus = item
    always = present is not None and present(Slice._make(item))
    return (always, bool(focus.editor_project or focus.editor_file), focus.url is not None, begin)


def _one_at_a_time(pieces: list[_Piece], present: Present | None = None) -> list[_Piece]:
    """Return *pieces* without overlap: what says most about the work wins, then what began later."""
    edges = sorted({edge for begin, end, _ in pieces for edge in (begin, end)})
    pieces.sort(key=lambda item: item[0])
    result: list[_Piece] = []
    running: list[tuple[_Rank, _Piece]] = []
    at = 0
    for begin, end in pairwise(edges):
        while at < len(pieces) and pieces[at][0] <= begin:
            running.append((_richness(pieces[at], present), pieces[at]))
            at += 1
        running = [item for item in running if item[1][1] > begin]
        if not running:
            continue
        _, (_, _, focus) = max(running, key=itemgetter(0))
        if result and result[-1][1:] == (begin, focus):
            begin = result.pop()[0]
        result.append((begin, end, focus))
    return result


def _stated(buckets: Iterable[Bucket]) -> list[_Piece]:
    """Return the manual records in *buckets*, one at a time."""
    pieces: list[_Piece] = []
    for bucket in buckets:
        for begin, end, data in bucket.events if bucket.type == BUCKET_TYPE else ():
            record = parse(data)
            if record is not None and begin < end:
                pieces.append((begin, end, Focus(APP, record.description, manual=record)))
    return _one_at_a_time(pieces)


def _laid_over(pieces: list[_Piece], stated: list[_Piece]) -> list[_Piece]:
    """Return *stated*, and what of *pieces* lies outside it."""
    if not stated or not pieces:
        return stated or pieces
    covered = [Interval(begin, end) for begin, end, _ in stated]
    free = subtract([Interval(pieces[0][0], pieces[-1][1])], covered)
    return sorted([*stated, *_clip(pieces, free)], key=itemgetter(0))


def active(buckets: Sequence[Bucket], present: Present | None = None) -> list[Slice]:
    """Return the active time in all *buckets* of one worker, sorted and without overlap.

    *present* names slices that count although the watchers saw nobody, such as a meeting. What the worker
    states by hand is part of it, and its focus says so (`manual`).
    """
    devices: dict[str, list[Bucket]] = {}
    for bucket in sorted(buckets, key=lambda item: (item.device, item.id)):
        devices.setdefault(bucket.device or bucket.hostname, []).append(bucket)
    streams = [stream for group in devices.values() for stream in _device(group, present) if stream]
    if len(streams) == 1:
        pieces = streams[0]
    else:
        pieces = _one_at_a_time([item for stream in streams for item in stream], present)
    return list(map(_slice_of, _laid_over(pieces, _stated(buckets))))
