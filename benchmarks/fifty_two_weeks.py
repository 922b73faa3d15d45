"""A year of ActivityWatch into timesheets and totals beside a week: cost may grow no faster than the work.

The year is the week of the tests fifty-two times, each a week after the one before. The week is one from the
middle of it, which like every other has work before and after, of which a day each is looked at too.
"""

from __future__ import annotations

import gc
import gzip
import json
import tempfile
from pathlib import Path

import measure
from attribution import WEEK, WINDOW, Ours

from powdo import cli
from powdo.adapters.database import stored_event
from powdo.adapters.database.buckets import BucketName, add_events
from powdo.worktime import tally
from powdo.worktime.activity import parse_bucket_event
from powdo.worktime.book import MARGIN, chunks
from powdo.worktime.flood import BucketEvent
from powdo.worktime.intervals import Interval
from powdo.worktime.timesheets import Sheet

WEEKS = 52
ROUNDS = 3
_LENGTH = WINDOW.end - WINDOW.begin


class Year(Ours):
    """powdo with a year in its database."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        export = json.loads(gzip.decompress(WEEK.read_bytes()))
        events = {
            name: [parse_bucket_event(item) for item in bucket["events"]]
            for name, bucket in export["buckets"].items()
        }
        for week in range(1, WEEKS):
            shift = week * _LENGTH
            with self.store.database.write() as connection:
                buckets = [
                    (
                        BucketName("d", name, bucket["type"], bucket["client"], bucket["hostname"]),
                        [
                            stored_event(BucketEvent(a + shift, b + shift, data))
                            for a, b, data in events[name]
                        ],
                    )
                    for name, bucket in export["buckets"].items()
                ]
                add_events(connection, self.store.database, self.worker.id, buckets)

    def blocks(self, first: int, weeks: int) -> int:
        """Return how many blocks there are in *weeks* from the *first* on, as `timesheets` finds them."""
        found = 0
        begin = WINDOW.begin + first * _LENGTH
        for piece in chunks(Interval(begin, begin + weeks * _LENGTH)):
            found += sum(piece.begin <= block.begin < piece.end for block in self._sheet(piece).blocks)
        return found

    def _sheet(self, piece: Interval) -> Sheet:
        low, high = piece.begin - MARGIN, piece.end + MARGIN
        events = self.store.bucket_events(self.worker.id, low, high, self.book.needed())
        return self.book.sheet(self.book.slices(events))

    def apps(self, first: int, weeks: int) -> int:
        """Return how many apps *weeks* from the *first* on have, as `report --by app` counts them."""
        counted: dict[tally.Key, int] = {}
        begin = WINDOW.begin + first * _LENGTH
        for piece in chunks(Interval(begin, begin + weeks * _LENGTH)):
            needed = self.book.needed(booked=False)
            buckets = self.store.bucket_events(self.worker.id, piece.begin, piece.end, needed)
            tally.count(tally.by_app(tally.clipped(self.book.slices(buckets), piece)), counted)
        return len(counted)


def main() -> None:
    """Run both in turns and write ratios."""
    gc.set_threshold(cli._GARBAGE)
    measure.headline(f"A week and {WEEKS} weeks of ActivityWatch: database -> timesheets, totals")
    with tempfile.TemporaryDirectory() as name:
        year = Year(Path(name))
        rounds = measure.in_turns(
            {
                "timesheets of a week": lambda: measure.own(lambda: year.blocks(WEEKS // 2, 1)),
                f"timesheets of {WEEKS} weeks": lambda: measure.own(lambda: year.blocks(0, WEEKS)),
                "totals of a week": lambda: measure.own(lambda: year.apps(WEEKS // 2, 1)),
                f"totals of {WEEKS} weeks": lambda: measure.own(lambda: year.apps(0, WEEKS)),
            },
            ROUNDS,
        )
        year.store.close()
    measure.show(rounds)
    measure.write()
    for what in ("timesheets", "totals"):
        value = measure.ratio(rounds, f"{what} of {WEEKS} weeks", f"{what} of a week")
        measure.at_most(f"{what}, a year / a week", value, 60)


if __name__ == "__main__":
    main()
