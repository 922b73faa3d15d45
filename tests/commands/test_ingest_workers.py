"""Several `powdo ingest --pending --follow` that share one database and one blob folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from powdo.commands.ingest import ingest
from powdo.errors import UsageError
from tests.bundles import sample
from tests.conftest import ROOT
from tests.dvm import NOW, BlobServer, Operator, blob_server, operator, parcel
from tests.postgresql import empty_database, postgresql

__all__ = ["postgresql"]

_PATIENCE = 60


@pytest.fixture
def server() -> Iterator[BlobServer]:
    """Return a running blob server."""
    with blob_server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def dvm(request: pytest.FixtureRequest, tmp_path: Path, server: BlobServer) -> Operator:
    """Return an operator whose database may be shared."""
    shared = request.param == "postgresql"
    url = empty_database(request.getfixturevalue("postgresql")) if shared else None
    return operator(tmp_path, server, database=url)


class Workers:
    """Processes that follow the inbox of one operator; what they write goes into files."""

    def __init__(self, dvm: Operator) -> None:
        self.dvm = dvm
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        """Start one more."""
        name = self.dvm.folder / f"worker{len(self.processes)}"
        with name.with_suffix(".out").open("wb") as out, name.with_suffix(".err").open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "powdo", "ingest", "--pending", "--follow", "--timeout", "30"],
                env=os.environ | {"PYTHONPATH": str(ROOT)} | self.dvm.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        self.processes.append(process)
        return process

    def stop(self) -> None:
        """End all by the signal that a service gets."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            process.wait(_PATIENCE)

    def records(self) -> list[dict[str, Any]]:
        """Return all that was written."""
        texts = [path.read_text() for path in sorted(self.dvm.folder.glob("worker*.out"))]
        return [json.loads(line) for text in texts for line in text.splitlines()]

    def errors(self) -> str:
        """Return all that was said to people."""
        return "".join(path.read_text() for path in sorted(self.dvm.folder.glob("worker*.err")))


@pytest.fixture
def workers(dvm: Operator) -> Iterator[Workers]:
    """Return the workers, ended when the test is over."""
    with ExitStack() as stack:
        made = Workers(dvm)
        stack.callback(made.stop)
        yield made


def send(dvm: Operator, server: BlobServer, numbers: range) -> None:
    """Let the bundles with these *numbers* wait in the inbox."""
    inbox = dvm.inbox()
    for number in numbers:
        what = sample(sequence=number, capture_id=f"c{number}")
        inbox.add(parcel(dvm.folder, server, what).wrapped(), "wss://relay", NOW - 100)
    inbox.close()


def count(dvm: Operator, query: str) -> int:
    """Return the number that *query* gives."""
    store = dvm.store()
    with store.database.read() as connection:
        found = connection.execute(sa.text(query)).scalar_one()
    store.close()
    return int(found)


def until(holds: Callable[[], bool]) -> None:
    """Wait until *holds*."""
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.1)


def stored(dvm: Operator) -> int:
    """Return how many bundles are stored."""
    return count(dvm, "SELECT count(*) FROM bundle")


def test_workers_share_what_waits(dvm: Operator, server: BlobServer, workers: Workers) -> None:
    """Each bundle is fetched, stored and told once, what came before the workers and what comes after."""
    send(dvm, server, range(1, 13))
    server.pause = 0.02
    for _ in range(3):
        workers.start()
    until(lambda: stored(dvm) == 12)
    send(dvm, server, range(13, 19))
    until(lambda: stored(dvm) == 18)
    workers.stop()
    assert [process.returncode for process in workers.processes] == [-signal.SIGTERM] * 3
    assert workers.errors() == ""
    assert sorted(record["sequence"] for record in workers.records()) == list(range(1, 19))
    assert len(server.visits) == 18
    assert count(dvm, "SELECT count(*) FROM inbox WHERE lease_by IS NOT NULL") == 0


def test_what_a_killed_worker_held_is_taken(dvm: Operator, server: BlobServer, workers: Workers) -> None:
    """A worker killed in the middle of its downloads costs nothing: another takes its place and its wraps."""
    send(dvm, server, range(1, 4))
    server.pause = 30
    first = workers.start()
    until(lambda: len(server.visits) == 1)
    server.pause = 0
    second = workers.start()
    first.kill()
    first.wait(_PATIENCE)
    until(lambda: stored(dvm) == 3)
    workers.stop()
    assert second.returncode == -signal.SIGTERM
    assert sorted(record["sequence"] for record in workers.records()) == [1, 2, 3]
    assert count(dvm, "SELECT count(*) FROM inbox WHERE outcome = 'ingested'") == 3
    work = dvm.folder / "data" / "evidence" / ".work"
    until(lambda: not list(work.iterdir()) or _swept(dvm))


def _swept(dvm: Operator) -> bool:
    """Let the next run clean up after the killed one; return whether nothing of it is left."""
    from powdo.adapters.evidence import Evidence

    Evidence(dvm.folder / "data" / "evidence").close()
    return not list((dvm.folder / "data" / "evidence" / ".work").iterdir())


def test_the_lease_of_another_host_runs_out(dvm: Operator, server: BlobServer, workers: Workers) -> None:
    """What a host that went down had claimed is left alone until its lease is over, and taken then."""
    send(dvm, server, range(1, 3))
    store = dvm.store()
    end = int(time.time()) + 4
    with store.database.write() as connection:
        connection.execute(
            sa.text("UPDATE inbox SET lease_by = 'elsewhere/pid:[1]/7/8', lease_until = :end"), {"end": end}
        )
    store.close()
    workers.start()
    send(dvm, server, range(3, 4))
    until(lambda: stored(dvm) >= 1)
    if time.time() < end:
        assert {record["sequence"] for record in workers.records()} <= {3}
    until(lambda: stored(dvm) == 3)
    assert time.time() >= end
    assert sorted(record["sequence"] for record in workers.records()) == [1, 2, 3]


def test_a_worker_outlives_its_connections(
    tmp_path: Path, server: BlobServer, request: pytest.FixtureRequest
) -> None:
    """PostgreSQL ends every connection, as it does when it restarts; the worker goes on."""
    url = empty_database(request.getfixturevalue("postgresql"))
    dvm = operator(tmp_path, server, database=url)
    workers = Workers(dvm)
    try:
        send(dvm, server, range(1, 2))
        workers.start()
        until(lambda: stored(dvm) == 1)
        for number in range(2, 5):
            store = dvm.store()
            with store.database.write() as connection:
                connection.execute(
                    sa.text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                )
            store.close()
            send(dvm, server, range(number, number + 1))
            until(lambda expected=number: stored(dvm) == expected)  # type: ignore[misc]  # bound at once
    finally:
        workers.stop()
    assert workers.processes[0].returncode == -signal.SIGTERM


def test_it_follows_the_inbox_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """--follow goes with --pending and without FILE."""
    for flags in (["--follow"], ["--follow", "--pending", "x"]):
        with pytest.raises(UsageError, match="no input but the inbox"):
            ingest.main(flags, standalone_mode=False)
