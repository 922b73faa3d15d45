"""Bundles of 300 KB taken in by 1, 2 and 4 `powdo ingest` that share one PostgreSQL and one blob folder.

    python benchmarks/workers.py

Each run begins with a new database whose inbox holds all gift wraps, as `listen` leaves it, and ends when the
last worker has; PostgreSQL syncs each commit. Time by the clock counts here, start-up included, so other work
counts too; database and blob server are on the same machine and take their share of its cores.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import ingest
import measure
import sqlalchemy as sa

from tests.dvm import MASTER, BlobServer, JsonEvent, blob_server, operator
from tests.postgresql import empty_database, running

WORKERS = (1, 2, 4)
ROUNDS = 3


@dataclass
class Shared:
    """A server with the bundles, and gift wraps that lead to them."""

    folder: Path
    postgresql: str
    server: BlobServer
    wraps: list[JsonEvent]
    runs: int = 0

    def run(self, workers: int) -> tuple[float, float]:
        """Return how long *workers* take by the clock, and their CPU, in seconds."""
        self.runs += 1
        place = self.folder / f"run{self.runs}"
        place.mkdir()
        dvm = operator(place, self.server, database=empty_database(self.postgresql))
        inbox = dvm.inbox()
        now = int(time.time())
        for wrap in self.wraps:
            inbox.add(wrap, "wss://relay.example", now)
        inbox.close()
        world = measure.environment(place, NSEC_MASTER_KEY=MASTER)
        world["PYTHONPYCACHEPREFIX"] = str(self.folder / "bytecode")
        begin, before = time.monotonic(), os.times()
        processes = [
            subprocess.Popen(
                measure.stage("ingest", "--pending"),
                env=world,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            for _ in range(workers)
        ]
        statuses = [process.wait() for process in processes]
        taken, after = time.monotonic() - begin, os.times()
        if any(statuses):
            raise RuntimeError(f"workers ended with {statuses}")
        store = dvm.store()
        with store.database.read() as connection:
            stored = connection.execute(sa.text("SELECT count(*) FROM bundle")).scalar_one()
        store.close()
        if stored != len(self.wraps):
            raise RuntimeError(f"{stored} bundles are stored, not {len(self.wraps)}")
        shutil.rmtree(place)
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        return taken, cpu


def main() -> None:
    """Run each number of workers in turns and print the curve."""
    ingest.COUNT = 300
    measure.headline(f"Workers on one PostgreSQL: {ingest.COUNT} bundles of 300 KB")
    with tempfile.TemporaryDirectory() as name, running(durable=True) as url, blob_server() as server:
        shared = Shared(Path(name), url, server, ingest.send(Path(name), server))
        shared.run(1)  # what is made at the first use is not what is measured
        taken: dict[int, list[tuple[float, float]]] = {workers: [] for workers in WORKERS}
        for _ in range(ROUNDS):
            for workers in WORKERS:
                taken[workers].append(shared.run(workers))
    for workers, rounds in taken.items():
        clock = statistics.median(time for time, _ in rounds)
        cpu = statistics.median(cpu for _, cpu in rounds)
        measure.write(
            f"{workers} workers: {ingest.COUNT / clock:6.1f} bundles a second, "
            f"{1000 * cpu / ingest.COUNT:5.1f} ms CPU of the workers for each"
        )


if __name__ == "__main__":
    main()
