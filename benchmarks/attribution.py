"""A week of ActivityWatch (20 737 bucket events, five buckets) counted: powdo beside aw-server's own query.

    python benchmarks/attribution.py

Both sides begin with the week in their SQLite database, and end with objects in memory. aw-server (0.12,
aw-core 0.5.18, from .venv-activitywatch, see bin/test) runs `aw_query.query2.query` over its datastore,
which is what its POST /api/0/query/ does before it writes JSON:

- totals: flood windows and presence, intersect, merge by app; powdo: `report --by app`, from the same
  buckets;
- desktop: the query of ActivityWatch's own pages (`aw_client.queries.fullDesktopQuery`) with the rules of
  the sample as classes; powdo: `timesheets`, blocks in whole minutes, by the same rules.

Totals must agree to the second, or the benchmark fails.
"""

from __future__ import annotations

import gc
import gzip
import json
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

import measure

from powdo import cli
from powdo.adapters.database import Store, stored_event
from powdo.adapters.database.buckets import BucketName, add_events
from powdo.worktime import tally
from powdo.worktime.activity import parse_bucket_event
from powdo.worktime.book import MARGIN, Book
from powdo.worktime.intervals import SECOND, Interval
from powdo.worktime.ruleset import parse_rules
from powdo.worktime.timesheets import Limits, Sheet

ROUNDS = 7
WEEK = measure.ROOT / "tests/data/activitywatch-week.json.gz"
PEER = measure.ROOT / ".venv-activitywatch/bin/python"
BEGIN, END = datetime(2026, 11, 14, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC)
WINDOW = Interval(int(BEGIN.timestamp()) * SECOND, int(END.timestamp()) * SECOND)


def rules() -> list[dict[str, Any]]:
    """Return the rules of the sample; none counts time without presence, which ActivityWatch does not."""
    text = (measure.ROOT / "powdo/sample/rules.toml").read_text()
    tables: list[dict[str, Any]] = tomllib.loads(text)["rule"]
    return [{key: value for key, value in table.items() if key != "always_active"} for table in tables]


def classes() -> list[Any]:
    """Return the rules as ActivityWatch's classes: one regular expression for all texts of an event."""
    conditions = ("editor_project", "url", "title", "app")
    return [
        [[table["name"]], {"type": "regex", "regex": next(table[key] for key in conditions if key in table)}]
        for table in rules()
    ]


class Ours:
    """powdo with the week in its database."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(f"sqlite:///{folder / 'dvm.sqlite'}")
        self.store.enroll("ana", pubkeys=["ab" * 32], timezone="UTC")
        (self.worker,) = self.store.workers()
        parsed, problems = parse_rules(rules())
        assert not problems
        self.book = Book(rules=parsed, limits=Limits(), zone=ZoneInfo("UTC"))
        self._fill(json.loads(gzip.decompress(WEEK.read_bytes())))

    def _fill(self, export: dict[str, Any]) -> None:
        database = self.store.database
        buckets = [
            (
                BucketName("d", name, bucket["type"], bucket["client"], bucket["hostname"]),
                [stored_event(parse_bucket_event(item)) for item in bucket["events"]],
            )
            for name, bucket in export["buckets"].items()
        ]
        with database.write() as connection:
            add_events(connection, database, self.worker.id, buckets)

    def totals(self) -> dict[str | None, int]:
        """Return microseconds by app."""
        buckets = self.store.bucket_events(
            self.worker.id, WINDOW.begin, WINDOW.end, self.book.needed(booked=False)
        )
        counted: dict[str | None, int] = {}
        tally.count(tally.by_app(tally.clipped(self.book.slices(buckets), WINDOW)), counted)
        return counted

    def timesheets(self) -> Sheet:
        """Return the blocks of the week."""
        buckets = self.store.bucket_events(
            self.worker.id, WINDOW.begin - MARGIN, WINDOW.end + MARGIN, self.book.needed()
        )
        return self.book.sheet(self.book.slices(buckets))


class Theirs:
    """aw-server's query in its own interpreter."""

    def __init__(self, stdin: IO[str], stdout: IO[str]) -> None:
        self._stdin, self._stdout = stdin, stdout
        self.sums: dict[str, float] = json.loads(stdout.readline())

    def run(self, name: str) -> float:
        """Return the CPU seconds of the query *name*."""
        self._stdin.write(f"{name}\n")
        self._stdin.flush()
        return float(self._stdout.readline())


@contextmanager
def theirs(folder: Path) -> Iterator[Theirs]:
    """Return aw-server's query over the same week."""
    script = Path(__file__).with_name("attribution_peer.py")
    period = (BEGIN.isoformat(), END.isoformat())
    command = [str(PEER), str(script), str(WEEK), *period, json.dumps(classes())]
    environment = measure.environment(folder) | {"PYTHONPATH": ""}
    with subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Theirs(process.stdin, process.stdout)
        process.stdin.close()


def agree(ours: dict[str | None, int], sums: dict[str, float]) -> None:
    """Return if both count the same seconds of each app. Raises: RuntimeError."""
    odd = [app for app in {*ours, *sums} if abs(ours.get(app, 0) / SECOND - sums.get(app or "", 0)) > 1]
    if odd:
        raise RuntimeError(f"the totals differ: {odd}")


def main() -> None:
    """Run all in turns and print ratios."""
    if not PEER.exists():
        raise SystemExit(f"{PEER} is missing: bin/test sets it up")
    gc.set_threshold(cli._GARBAGE)  # as `powdo` runs its commands; aw-server leaves it to the interpreter
    measure.headline("A week of ActivityWatch: database -> totals, timesheets")
    with tempfile.TemporaryDirectory() as name, theirs(Path(name)) as peer:
        ours = Ours(Path(name))
        agree(ours.totals(), peer.sums)
        rounds = measure.in_turns(
            {
                "powdo: totals by app": lambda: measure.own(ours.totals),
                "aw-server: totals by app": lambda: peer.run("totals"),
                "powdo: timesheets": lambda: measure.own(ours.timesheets),
                "aw-server: desktop query": lambda: peer.run("desktop"),
            },
            ROUNDS,
        )
        ours.store.close()
    measure.show(rounds)
    measure.write()
    for one, other in (
        ("aw-server: totals by app", "powdo: totals by app"),
        ("aw-server: totals by app", "powdo: timesheets"),
        ("aw-server: desktop query", "powdo: timesheets"),
    ):
        measure.at_least(f"{one} / {other}", measure.ratio(rounds, one, other), 20)


if __name__ == "__main__":
    main()
