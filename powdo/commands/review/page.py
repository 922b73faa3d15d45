"""`powdo review --html`: what the outbox holds, opened in memory and gathered for a page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from powdo.adapters.contents import Contents, of_capture
from powdo.adapters.page import (
    MOST,
    Card,
    Page,
    Person,
    Shot,
    Thumbnail,
    Thumbnails,
    check_target,
    render,
    save,
    words,
)
from powdo.commands.review.fate import Fates
from powdo.errors import BadRecordError, InputMissingError
from powdo.settings.desktop import time_zone
from powdo.settings.environment import variables
from powdo.worktime.book import Book
from powdo.worktime.days import Days
from powdo.worktime.figures import Label, by_day, in_front
from powdo.worktime.flood import Bucket, joined
from powdo.worktime.intervals import Interval, intersect
from powdo.worktime.journal import Journal
from powdo.worktime.manifest import ScreenshotFile, micros
from powdo.worktime.pieces import Missing, Piece, absences, withheld
from powdo.worktime.telling import told

if TYPE_CHECKING:
    from powdo.adapters.outbox import Entry, Outbox
    from powdo.run import Run
    from powdo.settings.periods import Period
    from powdo.worktime.activity import Slice

_SENT = ("published", "acknowledged", "rejected")
#: How many lines of what it says a capture has on the page; `outbox show` has all.
_LINES = 40
_ABOUT = (
    "What this machine has captured, opened in memory for this page alone. This file is not encrypted: "
    "delete it once you have looked."
)


def write(run: Run, outbox: Outbox, file: Path, period: Period) -> None:
    """Write the page about what is in *outbox* to *file*."""
    target = check_target(file)
    zone = ZoneInfo(time_zone(variables()))
    entries = _entries(outbox, zone, period)
    opened = _Opened(run, outbox, Days(zone), entries)
    person = opened.person(Fates(run, outbox, zone))
    days = [page.day for page in person.pages]
    page = Page(
        title="Before it is sent" if not _is_named(period) else "What was captured",
        period=words.period(min(days), max(days)) if days else "nothing waits to be sent",
        about=_ABOUT,
        made=time.time_ns() // 1000,
        people=[person] if entries else [],
    )
    save(target, render(page))
    run.console.info(f"'{target}' is not encrypted: delete it once you have looked")


def _is_named(period: Period) -> bool:
    return any(text is not None for text in (period.since, period.until, period.last))


def _entries(outbox: Outbox, zone: ZoneInfo, period: Period) -> list[Entry]:
    """Return the captures of *period*, or where none is named those that were not sent, by time."""
    since, until = period.within(zone)
    entries = [
        entry
        for entry in outbox.entries()
        if (since is None or entry.capture.end > since) and (until is None or entry.capture.begin < until)
    ]
    if not _is_named(period):
        waiting = [entry for entry in entries if entry.state not in (*_SENT, "withheld")]
        first = min((entry.capture.begin for entry in waiting), default=None)
        entries = [
            entry
            for entry in entries
            if entry.state not in _SENT
            and (entry.state != "withheld" or (first is not None and entry.capture.end > first))
        ]
    return sorted(entries, key=lambda entry: entry.capture.begin)


class _Opened:
    """The captures of a page, each opened once."""

    def __init__(self, run: Run, outbox: Outbox, days: Days, entries: list[Entry]) -> None:
        self._run, self._outbox, self._days, self._entries = run, outbox, days, entries
        self._buckets: list[Bucket] = []
        self._told: dict[str, tuple[tuple[str, str, int], ...]] = {}
        self._absent: dict[str, tuple[tuple[str, str], ...]] = {}
        self._errors: dict[str, str] = {}
        self._files: list[tuple[str, ScreenshotFile]] = []
        count = sum(entry.capture.screenshots for entry in entries if entry.state != "withheld")
        self._step = -(-count // MOST) or 1
        self._count = count

    def person(self, fates: Fates) -> Person:
        """Return the worker's page."""
        thumbnails = self._thumbnails()  # opens the captures
        book = self._run.settings.book([self._days.zone.key])  # type: ignore[attr-defined]  # it is a ZoneInfo
        slices = book.slices(joined(self._buckets))
        journal = Journal(self._days)
        journal.add_figures(by_day(slices, _labels(book), self._days))
        if book.rules:
            sheet = book.sheet(slices)
            journal.add_sheet(sheet.blocks, sheet.leftovers)
        pieces = [self._piece(entry, fates) for entry in self._entries]
        journal.add_pieces(pieces)
        journal.add_missing([*withheld(pieces), *absences(pieces), *self._pauses()])
        focuses = in_front(slices, (file.time for _, file in self._files))
        shots = [
            _shot(capture, file, thumbnail, "" if focus is None else ": ".join(filter(None, focus[:2])))
            for (capture, file), thumbnail, focus in zip(self._files, thumbnails, focuses, strict=True)
        ]
        journal.add_shots(shot.time for shot in shots)
        return Person(
            name=self._run.settings.identity.user or "you",
            days=self._days,
            by="project" if book.rules else "app",
            pages=journal.pages(),
            shots=shots,
            left_out=self._count - len(shots),
            cards={entry.capture.id: self._card(entry, fates) for entry in self._entries},
            commands=[("Let all go that is held", fates.command("release", "--all"))]
            if any(piece.state.tone == "open" for piece in pieces)
            else (),
        )

    # --- what is in the captures ---

    def _thumbnails(self) -> list[Thumbnail | None]:
        made: list[Thumbnail | None] = []
        failures = 0
        with self._run.progress("screenshots", self._count) as progress:
            for thumbnail in Thumbnails(self._count).of(self._loads()):
                progress.advance(self._step)
                failures += isinstance(thumbnail, BadRecordError)
                made.append(None if isinstance(thumbnail, BadRecordError) else thumbnail)
        if failures:
            self._run.console.warning(f"{words.count(failures, 'screenshot')} cannot be shown")
        return made

    def _loads(self) -> Iterator[Callable[[], bytes]]:
        """Yield what gives each screenshot that is shown; a capture is in memory only as long as needed."""
        place = 0
        for entry in self._entries:
            contents = self._open(entry)
            for file in contents.manifest.screenshots if contents else ():
                if place % self._step == 0:
                    self._files.append((entry.capture.id, file))
                    assert contents is not None
                    yield partial(contents.read, file.file)
                place += 1

    def _open(self, entry: Entry) -> Contents | None:
        """Return what *entry* holds, its buckets taken down; None when it is gone or cannot be opened."""
        name = entry.capture.id
        if entry.state == "withheld":
            return None
        try:
            contents = of_capture(self._outbox.capture_path(name), entry.bundle, entry.key)
            buckets = contents.buckets()
        except (BadRecordError, InputMissingError) as error:
            self._errors[name] = f"It cannot be opened: {error.message}"
            if entry.bundle is None or entry.key is not None:  # else it is as it should be
                self._run.console.warning(f"capture '{name}' is left out: {error.message}")
            return None
        self._buckets += buckets
        lines = [line for line in told(buckets) if line.kind != "afkstatus"]
        self._told[name] = tuple((line.name, line.text, line.length) for line in lines[:_LINES])
        self._absent[name] = tuple((item.what, item.reason) for item in contents.manifest.absent)
        return contents

    # --- what is told of them ---

    def _piece(self, entry: Entry, fates: Fates) -> Piece:
        capture = entry.capture
        return Piece(
            id=capture.id,
            device=capture.device,
            sequence=capture.sequence,
            begin=micros(capture.begin),
            end=micros(capture.end),
            state=fates.of(entry).state,
            screenshots=capture.screenshots,
            bucket_events=capture.bucket_events,
            absent=self._absent.get(capture.id, ()),
        )

    def _card(self, entry: Entry, fates: Fates) -> Card:
        fate, capture = fates.of(entry), entry.capture
        return Card(
            id=capture.id,
            begin=micros(capture.begin),
            end=micros(capture.end),
            word=fate.state.word,
            tone=fate.state.tone,
            fate=fate.told,
            windows=self._told.get(capture.id, ()),
            absent=self._absent.get(capture.id, ()),
            error=self._errors.get(capture.id) or entry.error,
            commands=fate.commands,
        )

    def _pauses(self) -> Iterable[Missing]:
        """Return the pauses between the first capture and now."""
        if not self._entries:
            return ()
        whole = Interval(micros(self._entries[0].capture.begin), time.time_ns() // 1000)
        paused = intersect(self._outbox.pauses(whole.begin), [whole])
        return [Missing(item.begin, item.end, "paused", "paused") for item in paused]


def _labels(book: Book) -> Callable[[Slice], Label]:
    """Return what names the project of a slice, or where there are no rules its app."""
    return book.labels() if book.rules else lambda item: item.focus.app or None


def _shot(capture: str, file: ScreenshotFile, thumbnail: Thumbnail | None, caption: str) -> Shot:
    return Shot(
        time=file.time,
        monitor=file.monitor,
        width=file.width,
        height=file.height,
        caption=caption,
        thumbnail=thumbnail,
        capture=capture,
    )
