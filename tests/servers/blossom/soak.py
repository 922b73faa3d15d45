"""Clients that come, go and are killed, for minutes: python -m tests.servers.blossom.soak [--seconds N].

The server must keep its memory and its descriptors, leave no temporary file, and in the end have every blob
that it said 201 to and nobody has deleted, each file with its row. The 10 seconds of it in
test_blossom_soak.py find what is grossly wrong; 600 seconds find what leaks.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.conftest import ROOT

_ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "POWDO_CONFIG": os.devnull}


@dataclass
class Soak:
    """What was seen of one run."""

    seconds: float = 0.0
    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    known: dict[str, bool] = field(default_factory=dict)  # hash → it must be there, or may be
    memory: list[int] = field(default_factory=list)  # bytes, each second
    descriptors: list[int] = field(default_factory=list)

    def hear(self, line: str) -> None:
        """Take what a client says."""
        sign, text = line[0], line[1:]
        if sign == "!":
            self.wrong.append(text)
        elif sign == "#":
            self.done[text] += 1
        elif sign == "-":
            self.known.pop(text, None)
        else:
            self.known[text] = sign == "+"

    def growth(self) -> float:
        """Return by how many bytes memory grew from the second fifth of the run to the last."""
        fifth = max(len(self.memory) // 5, 1)
        return statistics.median(self.memory[-fifth:]) - statistics.median(self.memory[fifth : 2 * fifth])


class _Clients:
    """A process in each slot; one that was killed is followed by another of the same key."""

    def __init__(self, url: str, count: int, dice: random.Random, soak: Soak) -> None:
        self._url, self._dice, self._soak = url, dice, soak
        self._running: dict[int, tuple[subprocess.Popen[str], threading.Thread]] = {}
        for slot in range(count):
            self._start(slot)

    def _start(self, slot: int) -> None:
        command = [sys.executable, "-m", "tests.servers.blossom.soak_client", self._url, str(slot)]
        process = subprocess.Popen(
            [*command, str(self._dice.getrandbits(32))],
            cwd=ROOT,
            env=_ENVIRONMENT,
            stdout=subprocess.PIPE,
            text=True,
        )
        thread = threading.Thread(target=self._listen, args=[process])
        thread.start()
        self._running[slot] = process, thread

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith("\n"):
                self._soak.hear(line.rstrip("\n"))

    def kill(self, slot: int) -> None:
        """Kill a client wherever it is."""
        process, thread = self._running.pop(slot)
        process.kill()
        thread.join()  # all it has said is heard before its successor speaks
        process.communicate()

    def replace(self) -> None:
        """Kill one of them, and start another."""
        slot = self._dice.choice(list(self._running))
        self.kill(slot)
        self._start(slot)
        self._soak.done["kill"] += 1

    def close(self) -> None:
        """Kill them all."""
        for slot in tuple(self._running):
            self.kill(slot)


@contextmanager
def _server(data: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the server; its stderr is a file beside *data*."""
    command = [sys.executable, "-m", "powdo", "blossom", "serve", "--listen", "127.0.0.1:0", "--open"]
    with (
        data.with_suffix(".stderr").open("w") as said,
        subprocess.Popen(
            [*command, "--data", str(data)],
            env=_ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())["url"]
        finally:
            if process.poll() is None:
                process.kill()


def _memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) << 10


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _watch(process: subprocess.Popen[str], clients: _Clients, soak: Soak, dice: random.Random) -> None:
    """Look at the server each second, and kill a client every second or so, until the time is over."""
    end = time.monotonic() + soak.seconds
    kill, look = time.monotonic() + 1, time.monotonic()
    while (now := time.monotonic()) < end and not soak.wrong:
        if now >= look:
            soak.memory.append(_memory(process.pid))
            soak.descriptors.append(_descriptors(process.pid))
            look += 1
        if now >= kill:
            clients.replace()
            kill = time.monotonic() + dice.uniform(0.3, 2.0)
        time.sleep(0.05)


def _check(url: str, data: Path, soak: Soak) -> None:
    """See that nothing is half done, and each blob that must be there is."""
    parts = urlsplit(url)
    deadline = time.monotonic() + 30
    while (left := list((data / "incoming").iterdir())) and time.monotonic() < deadline:
        time.sleep(0.1)
    soak.wrong += [f"left in incoming: {path.name}" for path in left]
    line = http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=60)
    for sha256, must in soak.known.items():
        line.request("GET", f"/{sha256}")
        answer = line.getresponse()
        body = answer.read()
        right = answer.status == 200 and hashlib.sha256(body).hexdigest() == sha256
        if not right and (must or answer.status != 404):
            soak.wrong.append(f"{sha256}: {answer.status}, {len(body)} bytes")
        soak.done["checked"] += must
    line.close()


def run(data: Path, *, seconds: float, clients: int = 8, seed: int = 0) -> Soak:
    """Return what was seen in *seconds* of *clients* against a server in the new folder *data*."""
    dice = random.Random(seed)
    soak = Soak(seconds)
    with ExitStack() as stack:
        process, url = stack.enter_context(_server(data))
        before = _descriptors(process.pid)
        crowd = _Clients(url, clients, dice, soak)
        try:
            _watch(process, crowd, soak, dice)
        finally:
            crowd.close()
        _check(url, data, soak)
        time.sleep(0.2)  # the last connection has been closed
        soak.descriptors.append(_descriptors(process.pid) - before)
        process.send_signal(signal.SIGTERM)
        if (status := process.wait(30)) != -signal.SIGTERM:
            soak.wrong.append(f"the server ended with {status}")
    fsck = [sys.executable, "-m", "powdo", "blossom", "fsck", "--json", "--data", str(data)]
    checked = subprocess.run(fsck, env=_ENVIRONMENT, capture_output=True, text=True)
    soak.wrong += (checked.stdout + checked.stderr).splitlines()
    soak.wrong += data.with_suffix(".stderr").read_text().splitlines()
    soak.wrong += [f"left in incoming: {path.name}" for path in (data / "incoming").iterdir()]
    return soak


def main() -> None:
    """Run it and print the figures; status 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        soak = run(Path(place) / "data", seconds=told.seconds, clients=told.clients, seed=told.seed)
    tenth = max(len(soak.memory) // 10, 1)
    mib = [f"{max(soak.memory[at : at + tenth]) / (1 << 20):.1f}" for at in range(0, len(soak.memory), tenth)]
    print(
        f"{told.seconds:.0f} s, {told.clients} clients, seed {told.seed}: {dict(sorted(soak.done.items()))}"
    )
    print(
        f"RSS MiB, greatest of each tenth: {' '.join(mib)}; growth {soak.growth() / (1 << 20):+.1f}; "
        f"descriptors left over: {soak.descriptors[-1]}"
    )
    for line in soak.wrong:
        print(line)
    sys.exit(bool(soak.wrong))


if __name__ == "__main__":
    main()
