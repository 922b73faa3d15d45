"""The line through a SOCKS proxy, to servers that have no other address than `.onion` names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.capture_helpers import ROOT, stop, unused_url
from tests.socks_proxy import Socks, socks_proxy

RELAY, BLOSSOM = "relaypowdo.onion", "blossompowdo.onion"
DAY = "2026-11-18"
PLACES = ("--relay", f"ws://{RELAY}", "--blossom", f"http://{BLOSSOM}", "--yes")


@dataclass
class Side:
    """A folder, and the environment of commands that run in it."""

    folder: Path
    proxy: str

    def environment(self) -> dict[str, str]:
        """Return an environment that knows this side only."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "NSEC_MASTER_KEY": "0" * 63 + "1",
            **({"POWDO_PROXY": self.proxy} if self.proxy else {}),
        }

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run one command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "powdo", *arguments],
            env=self.environment(),
            input=stdin,
            capture_output=True,
            timeout=60,
        )

    def ok(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Return what a command writes that must end with 0."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def serve(self, *arguments: str) -> tuple[subprocess.Popen[bytes], int]:
        """Start a server; return it and its port."""
        process = subprocess.Popen(
            [sys.executable, "-m", "powdo", *arguments, "--listen", "127.0.0.1:0"],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        port = urlsplit(json.loads(process.stdout.readline())["url"]).port
        assert port is not None
        return process, port


def _export(folder: Path, hour: int) -> Path:
    """Return an ActivityWatch export with one window, ten minutes from *hour* on."""
    seen = {"timestamp": f"{DAY}T{hour:02}:00:00Z", "duration": 600, "data": {"app": "Code", "title": "x"}}
    bucket = {"type": "currentwindow", "client": "test", "hostname": "desk", "events": [seen]}
    path = folder / f"export-{hour}.json"
    path.write_text(json.dumps({"buckets": {"aw-watcher-window_desk": bucket}}))
    return path


@dataclass
class Line:
    """Both sides, and the proxy between them and the servers."""

    worker: Side
    operator: Side
    proxy: Socks

    def with_proxy(self, url: str) -> Side:
        """Return the worker behind another proxy."""
        return Side(self.worker.folder, url)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """Return a worker with one capture and an operator; relay and Blossom server run behind a proxy."""
    for name in ("worker", "operator", "public"):
        (tmp_path / name).mkdir(mode=0o700)
    public = Side(tmp_path / "public", "")
    with socks_proxy({}, ("ana", "secret")) as proxy:
        worker, operator = (Side(tmp_path / name, proxy.url) for name in ("worker", "operator"))
        identity, access = worker.ok("keys", "new", "ana", "ana-access").decode().split()
        dvm = operator.ok("keys", "new", "dvm").decode().strip()
        relay, proxy.hosts[RELAY] = public.serve(
            *("relay", "serve", "--data", str(tmp_path / "public/relay"), "--url", f"ws://{RELAY}"),
            *("--allow", access, "--allow", dvm),
        )
        blossom, proxy.hosts[BLOSSOM] = public.serve(
            *("blossom", "serve", "--data", str(tmp_path / "public/blossom"), "--allow", access),
            *("--url", f"http://{BLOSSOM}"),
        )
        worker.ok("init", "worker", "--user", "ana", "--dvm", dvm, *PLACES)
        operator.ok("init", "operator", *PLACES)
        operator.ok("users", "add", identity, "--name", "ana", "--access", access)
        worker.ok("capture", "--activity", str(_export(tmp_path, 9)), "--no-screenshots", "--since", DAY)
        yield Line(worker, operator, proxy)
        for server in (relay, blossom):
            stop(server)
            assert server.stdout is not None
            server.stdout.close()


def test_the_whole_line_goes_through_the_proxy(line: Line) -> None:
    """Upload, publish, listen and ingest reach names that only the proxy can look up, with its login."""
    bundles = line.worker.ok("bundle", "--pending")
    uploaded = line.worker.ok("upload", stdin=bundles)
    assert line.proxy.asked == [BLOSSOM]
    wraps = line.worker.ok("wrap", stdin=uploaded)
    published = line.worker.ok("publish", stdin=wraps)
    assert all(json.loads(row)["accepted"] for row in published.splitlines())
    received = line.operator.ok("listen", "--until-eose")
    assert set(line.proxy.asked[1:]) == {RELAY}
    (row,) = line.operator.ok("ingest", stdin=received).splitlines()
    assert json.loads(row)["type"] == "ingested"
    assert line.proxy.asked[-1] == BLOSSOM


def _uploaded(side: Side) -> bytes:
    return side.ok("upload", stdin=side.ok("bundle", "--pending"))


@pytest.mark.parametrize(
    ("proxy", "status", "words"),
    [
        (lambda line: "", 78, "name Tor's in POWDO_PROXY"),
        (lambda line: "socks5h://127.0.0.1", 78, "POWDO_PROXY is not a proxy's address"),
        (lambda line: "ftp://127.0.0.1:1", 78, "POWDO_PROXY is not a proxy's address"),
        (lambda line: unused_url().replace("http:", "socks5:"), 75, "cannot reach"),
        (lambda line: line.proxy.url.replace("secret", "wrong"), 75, "cannot reach"),
    ],
    ids=["none", "without a port", "another kind", "away", "wrong password"],
)
def test_without_the_proxy_nothing_goes_out(
    line: Line, proxy: Callable[[Line], str], status: int, words: str
) -> None:
    """A proxy that is missing, nonsense, away or refuses ends upload and publish; the queue keeps all."""
    wraps = line.worker.ok("wrap", stdin=_uploaded(line.worker))
    export = _export(line.worker.folder.parent, 10)
    line.worker.ok("capture", "--activity", str(export), "--no-screenshots", "--since", DAY)
    before = list(line.proxy.asked)
    side = line.with_proxy(proxy(line))
    for arguments, stdin in ((("upload",), side.ok("bundle", "--pending")), (("publish",), wraps)):
        done = side.run(*arguments, stdin=stdin)
        assert done.returncode == status, done.stderr
        assert words in done.stderr.decode()
        assert b"secret" not in done.stderr
    assert line.proxy.asked == before
    assert line.worker.ok("upload", "--pending") != b""


def test_a_name_the_proxy_cannot_reach_is_told_as_such(line: Line) -> None:
    """What the proxy says of a server that is away stands in the message, and the run is worth a retry."""
    del line.proxy.hosts[BLOSSOM], line.proxy.hosts[RELAY]
    bundles = line.worker.ok("bundle", "--pending")
    done = line.worker.run("upload", stdin=bundles)
    assert (done.returncode, b"the proxy says: " in done.stderr) == (75, True), done.stderr
    done = line.operator.run("listen", "--until-eose")
    assert (done.returncode, b"the proxy says: " in done.stderr) == (75, True), done.stderr
