"""Relay and Blossom server killed and started again, time after time, while the lines run."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.faults.harness import RECEIVE, SEND, Kill, Story, run_line
from tests.faults.proxy import Proxy
from tests.faults.world import Server, World, query, world
from tests.parts import need

SEEDS = max(2, int(os.environ.get("POWDO_FAULT_SEEDS", "20")) // 10)
#: Calls of a server between the first byte of a blob or event and the answer, as (name, number in a thread).
_CALLS = (("pwrite64", 1), ("pwrite64", 2), ("pwrite64", 4), ("fdatasync", 1), ("rename", 1), ("unlink", 1))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield a world whose servers keep their addresses when they are started again."""
    need(shutil.which("strace"), "strace")
    both = (Proxy(1), Proxy(2))
    with both[0], both[1], world(tmp_path_factory.mktemp("killed"), proxies=both) as made:
        yield made


def _met(server: Server, draw: random.Random) -> list[str]:
    """Return the words before a server that make it die at one of its calls."""
    name, number = draw.choice(_CALLS)
    before = Kill(call=(name, number)).before
    if name == "pwrite64":  # of the database: a start writes to the index of its log
        before[1:1] = [f"--trace-path={server.data / server.kind}.sqlite-wal"]
    return before


@contextmanager
def _killing(servers: tuple[Server, Server], draw: random.Random) -> Iterator[list[int]]:
    """Kill *servers* again and again until the block ends; the list tells who was dead before."""
    done, ends = threading.Event(), list[int]()

    def kill() -> None:
        while not done.wait(draw.uniform(0.1, 1.0)):
            server = draw.choice(servers)
            assert server.process is not None
            ends.append(server.process.poll() or 0)
            server.end(signal.SIGKILL)
            server.start(_met(server, draw) if draw.random() < 0.7 else [])

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield ends
    finally:
        done.set()
        thread.join(30)
        for server in servers:
            server.end(signal.SIGKILL)
            assert server.start() is not None


def _check_blossom(folder: Path) -> None:
    """Fail unless the files of the Blossom server are those of its rows, and nothing is under way."""
    with closing(sqlite3.connect(folder / "blossom.sqlite", timeout=20)) as db:
        rows = {sha256.hex(): size for sha256, size in db.execute("SELECT sha256, size FROM blob")}
    files = {path.name: path.stat().st_size for path in (folder / "blobs").rglob("*") if path.is_file()}
    assert files == rows
    assert list((folder / "incoming").iterdir()) == []


@pytest.mark.parametrize("seed", range(SEEDS))
def test_servers_killed_while_lines_run_lose_nothing(place: World, seed: int) -> None:
    """The stages end with 75, nothing worse; at last each capture is there once, and no file too many."""
    story = Story(place, seed)
    operator = place.operator
    for cut in story.export.cuts:
        story.side.text(*story.capture(cut))
    with _killing(place.servers, random.Random(seed)) as ends:
        for number in range(10):
            if number > 1 and len(ends) > 1:
                break
            run = run_line(story.side, SEND, patience=3) | run_line(operator, RECEIVE, patience=3)
            assert set(run.values()) <= {0, 75}, (run, story.told())
            due = sqlite3.connect(operator.state / "dvm.sqlite", timeout=20)
            with closing(due), due:
                due.execute("UPDATE inbox SET next_at = 0")
    assert len(ends) > 1
    run = run_line(story.side, SEND) | run_line(operator, RECEIVE)
    assert set(run.values()) == {0}, (run, story.told())
    story.check()
    _check_blossom(place.servers[1].data)
    assert query(operator, "SELECT count(*) FROM bundle") == [(story.slices * (seed + 1),)]
