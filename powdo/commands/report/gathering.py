"""What was ingested of one worker in a period, gathered for a page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from powdo.adapters.database import Store, Worker
from powdo.adapters.page import Person, Shot
from powdo.commands.report.lost import lost, remarks
from powdo.worktime.book import MARGIN, Book, chunks
from powdo.worktime.days import Days
from powdo.worktime.figures import by_day, in_front
from powdo.worktime.intervals import Interval
from powdo.worktime.journal import Journal
from powdo.worktime.pieces import Missing, Piece, State, absences, withheld
from powdo.worktime.tally import clipped

if TYPE_CHECKING:
    from powdo.worktime.activity import Slice

#: What `verify` found, by worker, device and number.
Verdicts = Mapping[tuple[str, str, int], State]


class Gathered:
    """One worker's period, read a week of bucket events at a time."""

    def __init__(self, store: Store, worker: Worker, book: Book, window: Interval) -> None:
        self._store, self._worker, self._book, self._window = store, worker, book, window
        self._days = Days(book.zone, book.day_start)
        self._journal = Journal(self._days)
        self.stored = store.shots(worker.id, window.begin, window.end)
        self._captions: dict[int, str] = {}

    def person(self, shots: Iterable[Shot], verdicts: Verdicts) -> Person:
        """Return the worker's part of the page, with those of the screenshots that it shows."""
        self._journal.add_figures(by_day(self._slices(), self._book.labels(), self._days))
        pieces = [self._judged(piece, verdicts) for piece in self._pieces()]
        self._journal.add_pieces(pieces)
        gaps = lost(self._store, self._worker, self._window)
        self._journal.add_missing([*gaps, *withheld(pieces), *absences(pieces), *self._refused()])
        shown = [replace(shot, caption=self._captions.get(shot.time, "")) for shot in shots]
        self._journal.add_shots(shot.time for shot in shown)
        return Person(
            name=self._worker.name,
            days=self._days,
            by="project",
            pages=self._journal.pages(),
            shots=shown,
            left_out=len(self.stored) - len(shown),
            removed=self._store.removed_shots(self._worker.id, self._window.begin, self._window.end),
            lost=sum(gap.captures for gap in gaps),
            notes=[remark.text for remark in remarks(self._store, self._worker, self._window)],
        )

    def _refused(self) -> list[Missing]:
        """Return what came within the period and was refused, by when it came."""
        found = self._store.refusals(self._worker.id, self._window.begin, self._window.end)
        return [Missing(at, at, "refused", reason) for at, reason in found]

    def _pieces(self) -> list[Piece]:
        return self._store.pieces(self._worker.id, self._window.begin, self._window.end)

    def _judged(self, piece: Piece, verdicts: Verdicts) -> Piece:
        """Return *piece* with what `verify` found, beside whether its receipt was sent."""
        verdict = verdicts.get((self._worker.name, piece.device, piece.sequence))
        if verdict is None or piece.state.tone == "gone":
            return piece
        word = f"{verdict.word}{piece.state.word.removeprefix('checked')}"
        return replace(piece, state=State(word, "bad" if verdict.tone == "bad" else piece.state.tone))

    def _slices(self) -> Iterator[Slice]:
        """Yield the active time; on the way note the blocks, and what was in front in screenshots."""
        book, times = self._book, [shot.time for shot in self.stored]
        for piece in chunks(self._window):
            low, high = piece.begin - MARGIN, piece.end + MARGIN
            slices = book.slices(self._store.bucket_events(self._worker.id, low, high, book.needed()))
            sheet = book.sheet(item for item in slices if item.begin < high and item.end > low)
            self._journal.add_sheet(
                (item for item in sheet.blocks if piece.begin <= item.begin < piece.end),
                (item for item in sheet.leftovers if piece.begin <= item.begin < piece.end),
            )
            within = [at for at in times if piece.begin <= at < piece.end]
            for at, focus in zip(within, in_front(slices, within), strict=True):
                if focus is not None:
                    self._captions[at] = ": ".join(filter(None, (focus.app, focus.title)))
            yield from clipped(slices, piece)
