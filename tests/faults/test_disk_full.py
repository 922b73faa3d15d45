"""Disks and pipes that take no more: status 74, nothing lost, and work goes on once there is space again."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.blossom_server import begun, running, sha
from tests.faults.harness import RECEIVE, SEND, Story, run_line
from tests.faults.world import Side, World, query, world
from tests.parts import need

_FULL = 74


@contextmanager
def small_disk(folder: Path, size: str = "1m") -> Iterator[Path]:
    """Give *folder* a file system of its own, of *size*."""
    need(os.geteuid() == 0 and shutil.which("mount"), "the right to mount")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={size},mode=700", "powdo-test", str(folder)]
    mounted = subprocess.run(["mount", *options], capture_output=True)
    need(mounted.returncode == 0, "the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def filled(folder: Path, *, left: int) -> Iterator[None]:
    """Fill the disk of *folder* but for *left* bytes."""
    ballast = folder / "ballast"
    free = shutil.disk_usage(folder).free
    with suppress(OSError):  # somebody else has taken some of it meanwhile: as full as it gets
        ballast.write_bytes(bytes(max(0, free - left)))
    try:
        yield
    finally:
        ballast.unlink()


@pytest.fixture(scope="module")
def cramped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield a world whose DVM keeps its evidence on a small disk."""
    folder = tmp_path_factory.mktemp("cramped")
    with world(folder) as made, small_disk(made.operator.folder / "data" / "evidence"):
        yield made


def _let_waits_end(operator: Side) -> None:
    """Make the inbox due, as if its back-off were over."""
    with closing(sqlite3.connect(operator.state / "dvm.sqlite", timeout=20)) as db, db:
        db.execute("UPDATE inbox SET next_at = 0")


def test_a_full_disk_of_the_worker_loses_nothing(cramped: World) -> None:
    """Capture and bundle end with 74 on a full disk, and go on where they were once it is not."""
    story = Story(cramped, 1)
    side = story.side
    first, second = story.export.cuts
    with small_disk(side.state):
        side.text(*story.capture(first))
        for left in (0, 4096, 16_384):
            with filled(side.state, left=left):
                side.text(*story.capture(second), status=_FULL)
                assert "Traceback" not in side.said
                side.text("bundle", "--pending", status=_FULL)
                assert "Traceback" not in side.said
            assert query(side, "SELECT sequence, state FROM capture") == [(1, "captured")]
        side.text(*story.capture(second))
        assert set(run_line(side, SEND).values()) == {0}
        assert set(run_line(cramped.operator, RECEIVE).values()) == {0}
        story.check()


def test_a_full_disk_of_the_operator_loses_nothing(cramped: World) -> None:
    """Ingest ends with 74 when the evidence finds no place, the gift wrap waits, and is taken later."""
    story = Story(cramped, 2)
    operator = cramped.operator
    for cut in story.export.cuts:
        story.side.text(*story.capture(cut))
    assert set(run_line(story.side, SEND).values()) == {0}
    with filled(operator.folder / "data" / "evidence", left=16_384):
        ends = run_line(operator, RECEIVE)
        assert ends["ingest"] == _FULL
    waiting = query(operator, "SELECT count(*) FROM inbox WHERE state = 'waiting'")
    assert waiting == [(2,)]
    _let_waits_end(operator)
    assert set(run_line(operator, RECEIVE).values()) == {0}
    story.check()


def test_a_full_stdout_loses_nothing(cramped: World) -> None:
    """A stage that cannot write its record ends with 74, and the record's thing is still in the queue."""
    story = Story(cramped, 3)
    with Path("/dev/full").open("wb", buffering=0) as full:
        for cut in story.export.cuts:
            _into(full.fileno(), story.side, *story.capture(cut))
        for stage in SEND:
            _into(full.fileno(), story.side, stage, "--pending")
            story.side.text(stage, "--pending")
        _into(full.fileno(), cramped.operator, "listen", "--until-eose")
        _into(full.fileno(), cramped.operator, "ingest", "--pending")
    assert set(run_line(story.side, SEND).values()) == {0}
    assert set(run_line(cramped.operator, RECEIVE).values()) == {0}
    story.check()


def _into(stdout: int, side: Side, *arguments: str) -> None:
    with side.start(*arguments, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE) as process:
        _, told = process.communicate(timeout=60)
    assert process.returncode == _FULL, (arguments, told)
    assert b"Traceback" not in told


def test_a_full_disk_of_a_blossom_server_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    """An upload that the disk fills up under is 507 and leaves nothing; with space again all goes on."""
    kept, data = os.urandom(300_000), os.urandom(4 << 20)
    options = {"open": True, "min_free": 0, "sweep_interval": 0.1}
    with small_disk(tmp_path / "data", "16m") as folder, running(folder, **options) as server:
        assert server.put(kept).status == 201
        for sent in (1 << 20, len(data) - 10_000):  # what is left is written by the thread that syncs
            with begun(server, data, sent) as peer:
                assert server.eventually(lambda: any((folder / "incoming").iterdir()))
                with filled(folder, left=0):
                    peer.sendall(data[sent:])
                    assert peer.recv(4096).startswith(b"HTTP/1.1 507 ")
            assert server.eventually(lambda: not any((folder / "incoming").iterdir()))
        with filled(folder, left=60_000):  # room for a file, and none for its row
            fitting = [os.urandom(size) for size in range(1, 100)]
            assert {server.put(each).status for each in fitting} == {201, 507}
        assert server.ask("GET", f"/{sha(kept)}").body == kept
        assert server.put(data).status == 201
        assert [path.name for path in server.files()].count(sha(data)) == 1
