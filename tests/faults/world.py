"""A worker, relay, Blossom server and DVM as processes in folders, and what a worker did there."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from powdo.worktime.activity import BucketEvent, parse_bucket_event
from powdo.worktime.cutting import clip
from tests.faults.proxy import Proxy

ROOT = Path(__file__).resolve().parents[2]
#: 2026-11-18 08:00 UTC.
_MORNING = 1_794_988_800
_SLICE = 600

#: Bucket, begin and end in microseconds, data.
Event = tuple[str, int, int, str]


@dataclass
class Side:
    """A folder, and the environment of processes that know only it."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of this side's processes."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "TZ": "UTC",
            "PYTHONPATH": str(ROOT),
            "POWDO_CONFIG": str(self.folder / "powdo.toml"),
            "POWDO_STATE_DIR": str(self.state),
            "POWDO_DATA_DIR": str(self.folder / "data"),
            "NSEC_MASTER_KEY": "5a" * 32,
        } | self.variables

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.folder / "state"

    def start(self, *arguments: str, before: Sequence[str] = (), **options: Any) -> subprocess.Popen[bytes]:
        """Return the process of one command, with the words *before* it."""
        command = [*before, sys.executable, "-m", "powdo", *arguments]
        return subprocess.Popen(command, env=self.environment, **options)

    def text(self, *arguments: str, status: int = 0, before: Sequence[str] = ()) -> str:
        """Return what one command writes; it must end with *status*, what it says is in `said`."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with self.start(*arguments, before=before, **pipes) as process:
            out, told = process.communicate(timeout=120)
        self.said = told.decode()
        assert process.returncode == status, (arguments, process.returncode, self.said)
        return out.decode().strip()


@dataclass
class Server:
    """A server's process; started anew it has another port, which *proxy* follows."""

    side: Side
    kind: str
    more: tuple[str, ...]
    proxy: Proxy | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """The folder of what it keeps."""
        return self.side.folder / self.kind

    def start(self, before: Sequence[str] = ()) -> str | None:
        """Return the URL under which the server, begun just now, is known; None where it is dead at once."""
        # With a session of its own it can be killed together with the words *before* it.
        self.process = self.side.start(
            self.kind, "serve", "--listen", "127.0.0.1:0", "--data", str(self.data), *self.more,
            before=before, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            return None
        url: str = json.loads(line)["url"]
        if self.proxy is None:
            return url
        self.proxy.port = int(url.rpartition(":")[2])
        return f"{url.partition(':')[0]}://{self.proxy.address}"

    def end(self, number: int = signal.SIGTERM) -> None:
        """End the process by the signal *number*."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None


# --- the world -------------------------------------------------------------------------------------


@dataclass
class World:
    """Relay, Blossom server and DVM, and a worker's folder to copy."""

    folder: Path
    operator: Side
    template: Path
    servers: tuple[Server, Server]

    def machine(self, name: str) -> Side:
        """Return a new machine of the worker's."""
        folder = self.folder / name
        shutil.copytree(self.template, folder)
        return Side(folder)


@contextmanager
def world(folder: Path, *, proxies: tuple[Proxy, Proxy] | None = None) -> Iterator[World]:
    """Give a world in *folder*; with *proxies* its relay and Blossom server are behind them."""
    operator, worker, public = (Side(folder / name) for name in ("operator", "worker", "public"))
    for side in (operator, worker, public):
        side.folder.mkdir(mode=0o700)
    identity, access = worker.text("keys", "new", "ana", "ana-access").split()
    dvm = operator.text("keys", "new", "dvm")
    servers = []
    for number, (kind, scheme) in enumerate((("relay", "ws"), ("blossom", "http"))):
        proxy = proxies[number] if proxies else None
        allowed = ("--allow", access, *(("--allow", dvm) if kind == "relay" else ()))
        named = ("--url", f"{scheme}://{proxy.address}") if proxy else ()
        servers.append(Server(public, kind, (*allowed, *named), proxy))
    try:
        urls = [server.start() or "" for server in servers]
        places = ("--relay", urls[0], "--blossom", urls[1], "--yes")
        worker.text("init", "worker", "--user", "ana", "--dvm", dvm, *places)
        operator.text("init", "operator", *places)
        operator.text("users", "add", identity, "--name", "ana", "--access", access, "--timezone", "UTC")
        yield World(folder, operator, worker.folder, (servers[0], servers[1]))
    finally:
        for server in servers:
            server.end()


# --- an export -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Export:
    """What ActivityWatch recorded on *host*, in a file, and the seconds at which captures cut it."""

    file: Path
    host: str
    cuts: tuple[int, ...]
    buckets: dict[str, tuple[BucketEvent, ...]]

    def pieces(self) -> list[Event]:
        """Return the events as an undisturbed DVM has them: (bucket, begin, end, data)."""
        limits = [_MORNING, *self.cuts]
        return sorted(
            (name, piece.begin, piece.end, json.dumps(piece.data, sort_keys=True))
            for name, events in self.buckets.items()
            for begin, end in itertools.pairwise(limits)
            for piece in clip(events, begin, end)
        )


def export(folder: Path, name: str, draw: random.Random, slices: int = 3) -> Export:
    """Return an export of *slices* times ten minutes with events across the cuts, written into *folder*."""
    cuts = tuple(_MORNING + _SLICE * number for number in range(1, slices + 1))
    objects: dict[str, Any] = {}
    for watcher, kind in (("window", "currentwindow"), ("afk", "afkstatus")):
        at, events = _MORNING * 1000, []
        while at < cuts[-1] * 1000:
            lasting = min(draw.randrange(1_000, 90_000), cuts[-1] * 1000 - at)
            app = draw.choice(("Code", "firefox", "xterm"))
            data = {"app": app, "title": f"{name} {at}"} if watcher == "window" else {"status": "not-afk"}
            moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at // 1000)) + f".{at % 1000:03}+00:00"
            events.append({"timestamp": moment, "duration": lasting / 1000, "data": data})
            at += lasting + draw.choice((0, 0, 1, 5_000))
        about = {"type": kind, "client": f"aw-watcher-{watcher}", "hostname": name}
        objects[f"aw-watcher-{watcher}_{name}"] = {**about, "events": events}
    file = folder / "export.json"
    file.write_text(json.dumps({"buckets": objects}))
    parsed = {key: tuple(map(parse_bucket_event, value["events"])) for key, value in objects.items()}
    return Export(file, name, cuts, parsed)


def query(side: Side, sql: str, *values: object) -> list[Any]:
    """Return rows of the database of *side*."""
    # A worker has both: the inbox of their receipts lies in the one that is the DVM's elsewhere.
    name = "dvm.sqlite" if "[dvm]" in (side.folder / "powdo.toml").read_text() else "outbox.sqlite"
    with closing(sqlite3.connect(side.state / name, timeout=20)) as db, db:
        return db.execute(sql, values).fetchall()


def iso(second: int) -> str:
    """Return a unix time as powdo reads it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
