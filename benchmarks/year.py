"""A day's report from a database with one year of ten workers, beside one with their last week.

    python benchmarks/year.py

Ten workers work on weekdays, eight hours a day, a capture every ten minutes: 48 bundles a day and worker,
each with 41 bucket events and the texts that are kept as evidence. The rows are written as `ingest` leaves
them, in the order in which they come in. What is counted is the CPU of `powdo report` over one day of all
ten, by project, and the same without Python's start, imports and settings, which an empty database takes.
"""

from __future__ import annotations

import os
import random
import sqlite3
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import measure

from powdo.adapters.database import Database
from powdo.worktime.intervals import SECOND

WORKERS = 10
ROUNDS = 7
LAST = datetime(2026, 10, 30, 8, tzinfo=UTC)  # a Friday
YEAR, WEEK = 365, 7
CAPTURES = 48
TICK = 600
RULES = """
[[rule]]
name = "shop"
title = "acme-shop"
project = "Shop"
activity = "Development"
"""
#: What a bundle of 300 KB leaves in its row: wrap, seal, rumor and manifest, in characters.
TEXTS = {"wrap_event": 4200, "seal_event": 2900, "rumor_event": 1500, "manifest": 2600}
TITLES = [f"{name} - acme-shop" for name in ("checkout.py", "cart.py", "README.md")] + ["Inbox", "Wiki"]


class Filling:
    """A database that is being filled."""

    def __init__(self, folder: Path, days: int) -> None:
        self.folder = folder
        (folder / "state").mkdir(parents=True)
        (folder / "powdo.toml").write_text(f"[dvm]\n{RULES}")
        (folder / "powdo.toml").chmod(0o600)
        file = folder / "state" / "dvm.sqlite"
        Database(f"sqlite:///{file}").close()
        self.db = sqlite3.connect(file, isolation_level=None)
        self.db.execute("PRAGMA synchronous=OFF")
        self.db.execute("BEGIN")
        self.numbers = [self._worker(number) for number in range(1, WORKERS + 1)]
        self.chance = random.Random(1)  # noqa: S311 - the same titles each time
        self.bundles = self.sequence = 0
        for back in range(days - 1, -1, -1):
            day = LAST - timedelta(days=back)
            if day.weekday() < 5:
                self._day(int(day.timestamp()))
        self.db.execute("COMMIT")
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.db.close()

    def _worker(self, number: int) -> tuple[int, list[int]]:
        """Return the numbers of a new worker and of their three buckets."""
        self._insert(
            "worker", [{"id": number, "name": f"w{number}", "disabled": 0, "added_at": 0, "timezone": None}]
        )
        buckets = []
        for offset, kind in enumerate(("currentwindow", "afkstatus", "web.tab.current")):
            buckets.append(number * 10 + offset)
            row = {"id": buckets[-1], "worker_id": number, "device_id": f"d{number}", "bucket": kind}
            row |= {"type": kind, "client": "c", "hostname": "h", "longest_us": TICK * SECOND}
            self._insert("bucket", [row])
        return number, buckets

    def _day(self, begin: int) -> None:
        for capture in range(CAPTURES):
            at = begin + capture * TICK
            self.sequence += 1
            for worker, buckets in self.numbers:
                self.bundles += 1
                self._insert("bundle", [self._bundle(worker, at)])
                self._insert("screenshot", [self._screenshot(worker, at)])
                rows = [row for number in buckets for row in self._events(number, at)]
                self.db.executemany("INSERT INTO bucket_event VALUES (?, ?, ?, ?, ?)", rows)

    def _events(self, number: int, at: int) -> Iterator[tuple[int, int, str, int, str]]:
        count = {0: 30, 1: 1, 2: 10}[number % 10]
        step = TICK // count
        for place in range(count):
            begin = (at + place * step) * SECOND
            data = '{"status":"not-afk"}'
            if number % 10 != 1:
                data = f'{{"app":"code","title":"{self.chance.choice(TITLES)} {self.chance.randrange(9)}"}}'
            digest = sha256(data.encode()).hexdigest()[:32]
            yield number, begin, digest, begin + (step - 1) * SECOND, data

    def _bundle(self, worker: int, at: int) -> dict[str, Any]:
        name = f"{self.bundles:064x}"
        row: dict[str, Any] = dict.fromkeys(("wrap", "rumor", "pubkey", "sha256", "ox", "root"), name)
        row |= {column: "x" * length for column, length in TEXTS.items()}
        row |= {"id": self.bundles, "worker_id": worker, "device": f"d{worker}", "sequence": self.sequence}
        row |= {"begin_us": at * SECOND, "end_us": (at + TICK) * SECOND, "timezone": "Europe/Berlin"}
        row |= {"size": 294_912, "link": "x" * 300, "link_event": "x" * 700, "previous": name}
        return row | {"screenshots": 1, "bucket_events": 41, "ingested_at": at, "receipt_due": 0}

    def _screenshot(self, worker: int, at: int) -> dict[str, Any]:
        row = {"bundle_id": self.bundles, "worker_id": worker, "file": "screenshots/0.png", "monitor": 1}
        row |= {"width": 1920, "height": 1080, "sha256": f"{self.bundles:064x}", "size": 270_000}
        return row | {"time_us": at * SECOND}

    def _insert(self, table: str, rows: list[dict[str, Any]]) -> None:
        names = ", ".join(rows[0])
        places = ", ".join(f":{name}" for name in rows[0])
        self.db.executemany(f"INSERT INTO {table} ({names}) VALUES ({places})", rows)  # noqa: S608 - names of ours


def report(folder: Path) -> float:
    """Return the CPU seconds of the report of one day in *folder*."""
    since, until = LAST.date(), LAST.date() + timedelta(days=1)
    world = measure.environment(folder)
    flags = ("--by", "project", "--since", f"{since}", "--until", f"{until}")
    return measure.child(measure.stage("report", *flags), world)


def main() -> None:
    """Fill three databases, report in turns and print the ratios."""
    measure.headline(f"A day's report: one year of {WORKERS} workers beside one week")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        filled = {days: Filling(folder / f"{days}", days) for days in (YEAR, WEEK, 0)}
        for days in (YEAR, WEEK):
            size = (folder / f"{days}" / "state" / "dvm.sqlite").stat().st_size
            measure.write(f"{days} days: {filled[days].bundles:,} bundles, {size / 1e6:,.0f} MB")
        rounds = measure.in_turns(
            {
                "powdo report, a database of one year": lambda: report(folder / f"{YEAR}"),
                "powdo report, a database of one week": lambda: report(folder / f"{WEEK}"),
                "powdo report, an empty database": lambda: report(folder / "0"),
            },
            ROUNDS,
        )
    year, week, empty = rounds.values()
    rounds["one year, without the start"] = [a - b for a, b in zip(year, empty, strict=True)]
    rounds["one week, without the start"] = [a - b for a, b in zip(week, empty, strict=True)]
    measure.show(rounds)
    measure.write()
    for one, other in (
        ("powdo report, a database of one year", "powdo report, a database of one week"),
        ("one year, without the start", "one week, without the start"),
    ):
        measure.at_most(f"{one} / {other}"[:52], measure.ratio(rounds, one, other), 1.5)


if __name__ == "__main__":
    main()
