"""The Blossom server and `blossom prune` killed at any system call: what was promised holds after a start."""

from __future__ import annotations

import http.client
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from powdo.servers.blossom import tables
from powdo.servers.blossom.checking import check
from powdo.servers.blossom.storage import Folder
from tests.blossom_server import Blossom, running, sha, token
from tests.faults.harness import CALLS
from tests.parts import needed
from tests.servers.blossom.test_blossom_durability import _process

SEEDS = max(2, int(os.environ.get("POWDO_FAULT_SEEDS", "20")) // 2)
#: Without --seccomp-bpf, under which strace 6.1 counts calls but sends no signal.
_STRACE = ("strace", "-f", "-qqq")
_AWAY = (OSError, http.client.HTTPException)


def _check(folder: Path, there: Sequence[bytes], gone: Sequence[bytes] = ()) -> None:
    """Fail unless a start finds *there*, not *gone*, and afterwards nothing is wrong."""
    with running(folder, open=True, sweep_interval=3600) as server:
        for data in there:
            assert server.ask("GET", f"/{sha(data)}").body == data
        for data in gone:
            assert server.ask("HEAD", f"/{sha(data)}").status == 404
    assert list((folder / "incoming").iterdir()) == []
    with closing(tables.open_beside(folder)) as db:
        assert list(check(db, Folder(folder), lambda _: None)) == []


def _calls(log: Path) -> list[tuple[str, int]]:
    """Return the calls in what strace wrote, as (name, number within its thread)."""
    count: Counter[tuple[str, str]] = Counter()
    calls = []
    for line in log.read_text(errors="replace").splitlines():
        if found := re.match(r"(\d+)\s+([a-z0-9]+)\(", line):
            count[found[1], found[2]] += 1
            calls.append((found[2], count[found[1], found[2]]))
    return list(dict.fromkeys(calls))


def _killed(calls: Sequence[tuple[str, int]], seed: int) -> list[str]:
    """Return the words before a program that is to be killed as it enters one of its *calls*."""
    draw = random.Random(seed)
    name = draw.choice(sorted({name for name, _ in calls}))
    _, number = draw.choice([call for call in calls if call[0] == name])
    rule = f"inject={name}:signal=SIGKILL:when={number}"
    return [*_STRACE, "-o", os.devnull, f"--trace={name}", "-e", rule]


# --- the server ---


class _Client:
    """Uploads and deletes, and remembers what it was promised; what was not answered may be either way."""

    def __init__(self) -> None:
        self.there: list[bytes] = []
        self.gone: list[bytes] = []

    def put(self, server: Blossom, data: bytes) -> None:
        self._forget(data)
        assert server.put(data).status in (200, 201)
        self.there.append(data)

    def delete(self, server: Blossom, data: bytes) -> None:
        self._forget(data)
        header = token("delete", sha(data))
        assert server.ask("DELETE", f"/{sha(data)}", Authorization=header).status == 204
        self.gone.append(data)

    def _forget(self, data: bytes) -> None:
        for known in (self.there, self.gone):
            if data in known:
                known.remove(data)

    def story(self, server: Blossom) -> None:
        """Do a bit of everything."""
        one, two = os.urandom(5000), os.urandom(300_000)
        self.put(server, one)
        self.put(server, two)
        self.put(server, one)
        self.delete(server, one)
        self.put(server, one)
        self.delete(server, two)


@pytest.fixture(scope="module")
def server_calls(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, int]]:
    """Return the calls that an undisturbed story makes the server do."""
    needed("strace")
    folder = tmp_path_factory.mktemp("calls")
    log = folder / "log"
    with _process(folder / "data", *_STRACE, "-o", str(log), f"--trace={CALLS}") as (server, process):
        begun = len(_calls(log))
        _Client().story(server)
        os.killpg(process.pid, signal.SIGTERM)  # strace itself does not mind
        process.wait(20)
    return _calls(log)[begun:]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_server_killed_at_a_call_keeps_its_word(
    tmp_path: Path, server_calls: list[tuple[str, int]], seed: int
) -> None:
    """What was answered holds; what was not is there whole or not at all, without a file or row too many."""
    client = _Client()
    with running(tmp_path, open=True):
        pass
    try:
        with _process(tmp_path, *_killed(server_calls, seed)) as (server, _):
            client.story(server)  # killed at its end, where it was not within
    except (*_AWAY, ValueError):  # killed within the story, or before it said where it listens
        pass
    _check(tmp_path, client.there, client.gone)


@pytest.mark.parametrize("seed", range(max(2, SEEDS // 5)))
def test_a_server_killed_under_load_keeps_its_word(tmp_path: Path, seed: int) -> None:
    """Four clients, three kills at any moment."""
    draw = random.Random(seed)
    clients = [_Client() for _ in range(4)]

    def work(client: _Client, server: Blossom) -> None:
        try:
            while True:
                client.story(server)
        except _AWAY:
            return

    for _ in range(3):
        with _process(tmp_path) as (server, process):
            threads = [threading.Thread(target=work, args=(client, server)) for client in clients]
            for thread in threads:
                thread.start()
            time.sleep(draw.uniform(0.05, 0.5))
            process.kill()
            for thread in threads:
                thread.join()
    _check(
        tmp_path,
        [data for client in clients for data in client.there],
        [data for client in clients for data in client.gone],
    )


# --- prune ---


def _prune(folder: Path, *before: str) -> int:
    command = [*before, sys.executable, "-m", "powdo", "blossom", "prune", "--data", str(folder)]
    return subprocess.run(command, env=os.environ | {"POWDO_CONFIG": os.devnull}, timeout=60).returncode


@pytest.fixture(scope="module")
def overdue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three blobs whose time is over, and one whose is not."""
    folder = tmp_path_factory.mktemp("overdue")
    with running(folder, open=True, sweep_interval=3600) as server:
        end = int(time.time()) + 2
        for data in (b"1", b"2", b"3"):
            assert server.put(data, X_Expiration=str(end)).status == 201
        assert server.put(b"kept").status == 201
        time.sleep(max(0.0, end - time.time()))
    return folder


@pytest.fixture(scope="module")
def prune_calls(overdue: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, int]]:
    """Return the calls of an undisturbed prune."""
    needed("strace")
    folder = tmp_path_factory.mktemp("prune")
    shutil.copytree(overdue, folder / "data")
    assert _prune(folder / "data", *_STRACE, "-o", str(folder / "log"), f"--trace={CALLS}") == 0
    assert list(Folder(folder / "data").names()) == [sha(b"kept")]
    return _calls(folder / "log")


@pytest.mark.parametrize("seed", range(SEEDS))
def test_prune_killed_at_a_call_leaves_nothing_behind(
    overdue: Path, prune_calls: list[tuple[str, int]], tmp_path: Path, seed: int
) -> None:
    """A start of the server, or a later prune, finishes what was begun."""
    folder = tmp_path / "data"
    shutil.copytree(overdue, folder)
    assert _prune(folder, *_killed(prune_calls, seed)) in (-signal.SIGKILL, 128 + signal.SIGKILL)
    if seed % 2:
        assert _prune(folder) == 0
        assert list(Folder(folder).names()) == [sha(b"kept")]
        assert list((folder / "incoming").iterdir()) == []
    _check(folder, [b"kept"], [b"1", b"2", b"3"])


def test_prune_and_a_server_do_not_trip_over_each_other(tmp_path: Path) -> None:
    """Blobs end, are pruned by others and come back all the time: what is said to be kept is there."""
    failures: list[str] = []
    stop = threading.Event()

    def often(work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                while not stop.is_set():
                    work()
            except BaseException as error:
                failures.append(repr(error))
                raise

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def prune() -> None:
        from powdo.servers.blossom.sweeping import sweep

        with closing(tables.open_beside(tmp_path)) as db:
            for _ in sweep(db, Folder(tmp_path), int(time.time())):
                pass

    with running(tmp_path, open=True, sweep_interval=0.05) as server:

        def come_back() -> None:
            data = bytes([random.randrange(8)]) * 1000
            assert server.put(data, X_Expiration=str(int(time.time()) + 2)).status in (200, 201)
            assert server.ask("GET", f"/{sha(data)}").body == data

        threads = [often(work) for work in (come_back, come_back, prune, prune)]
        stop.wait(6)
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert server.warnings == []
    _check(tmp_path, [])
