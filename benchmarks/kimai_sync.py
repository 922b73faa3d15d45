"""kimai-sync beside a bare loop of POSTs to the same server, one client each.

The server is the double of the tests, in a process of its own. It answers faster than any Kimai, so it is
asked as it is, and with the 36 ms more that a POST took at best on a real one. Rates are wall time, since
waiting for the server is what both mostly do; they take turns.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import measure
import requests

from powdo import cli
from powdo.adapters.database import Store
from powdo.adapters.kimai.client import Client
from powdo.adapters.kimai.sync import Syncer, Wishes
from powdo.adapters.kimai.telling import Person
from powdo.worktime.book import Book, chunks
from powdo.worktime.intervals import DAY, Interval
from powdo.worktime.ruleset import parse_rules
from powdo.worktime.timesheets import Limits
from tests.worked import START, add

BLOCKS = 120
ROUNDS = 5
SLOW = 0.036
_RULES = [{"name": "website", "editor_project": "website", "project": "Website", "activity": "Development"}]


@contextmanager
def double(seconds: float) -> Iterator[str]:
    """Give the address of a double that takes *seconds* more for each POST."""
    command = [sys.executable, "-m", "tests.kimai_double", "--listen", "127.0.0.1:0", "--post", str(seconds)]
    with subprocess.Popen(command, cwd=measure.ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield str(json.loads(process.stdout.readline())["url"])
        finally:
            process.terminate()


def post_all(url: str, run: int) -> None:
    """Post BLOCKS timesheets of bob's, one after the other on one connection."""
    with requests.Session() as session:
        session.headers.update({"Authorization": "Bearer bob", "Content-Type": "application/json"})
        session.get(f"{url}/api/version", timeout=10)
        for number in range(BLOCKS):
            begin = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=run, minutes=number)
            body = {
                "project": 1,
                "activity": 1,
                "begin": begin.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "end": (begin + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "description": f"Website [powdo-{uuid.uuid4().hex[:8]}]",
                "tags": "powdo",
            }
            answer = session.post(f"{url}/api/timesheets", data=json.dumps(body), timeout=10)
            if answer.status_code != 200:
                raise RuntimeError(f"the bare POST got {answer.status_code}")


def _refused(error: Exception) -> None:
    raise error


def sync_all(url: str, run: int) -> float:
    """Return the seconds that a run of `kimai-sync` takes for a new worker's BLOCKS timesheets."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/dvm.sqlite")
        worker = store.enroll("ana", pubkeys=[f"{run + 1:064x}"])
        first = run * 14 * 24 * 60  # another fortnight each time: what was sent before is Kimai's
        add(store, worker, "code", *((first + 60 * at, first + 60 * at + 30) for at in range(BLOCKS)))
        client = Client(url, "alice", timeout=30, warn=lambda *_: None)
        syncer = Syncer(
            client,
            store,
            Wishes(tag="powdo"),
            fresh=lambda: uuid.uuid4().hex,
            now=time.time,
            fail=_refused,
        )
        book = Book(rules=parse_rules(_RULES)[0], limits=Limits(), zone=UTC)
        person = Person(id=worker.id, name="ana", kimai_user=None, book=book)
        begin = START + first * 60_000_000
        started = time.perf_counter()
        window = Interval(begin, begin + 7 * DAY)
        made = sum(one.action == "created" for piece in chunks(window) for one in syncer.sync(person, piece))
        taken = time.perf_counter() - started
        client.close()
        store.close()
        if made != BLOCKS:
            raise RuntimeError(f"{made} timesheets were made instead of {BLOCKS}")
        return taken


def timed(url: str, run: int) -> float:
    """Return the seconds that the bare loop takes."""
    started = time.perf_counter()
    post_all(url, run)
    return time.perf_counter() - started


def main() -> None:
    """Run both in turns, against the double as it is and as slow as a Kimai, and write ratios."""
    gc.set_threshold(cli._GARBAGE)
    measure.headline(f"kimai-sync of {BLOCKS} new timesheets, and {BLOCKS} bare POSTs (wall time)")
    for seconds, name, goal in ((SLOW, "as slow as a Kimai", 0.9), (0.0, "as fast as the double", None)):
        with double(seconds) as url:
            ours, bare = [], []
            for run in range(ROUNDS + 1):
                bare.append(timed(url, run))
                ours.append(sync_all(url, run))
        ratio = statistics.median(b / a for a, b in zip(ours[1:], bare[1:], strict=True))
        for who, taken in (("kimai-sync", ours), ("bare POSTs", bare)):
            rate = BLOCKS / statistics.median(taken[1:])
            measure.write(f"{who}, a server {name:<30} {rate:10.1f} a second")
        if goal is None:
            measure.plain(f"rate of kimai-sync / bare, {name}", ratio)
        else:
            measure.at_least(f"rate of kimai-sync / bare, {name}", ratio, goal)


if __name__ == "__main__":
    main()
