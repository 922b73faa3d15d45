"""The line through a SOCKS proxy, to servers that have no other address than `.onion` names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.capture_helpers import unused_url
from tests.sides import DAY, Side, export
from tests.socks_proxy import Socks, socks_proxy

RELAY, BLOSSOM = "relaypowdo.onion", "blossompowdo.onion"
PLACES = ("--relay", f"ws://{RELAY}", "--blossom", f"http://{BLOSSOM}", "--yes")


@dataclass
class Line:
    """Both sides, and the proxy between them and the servers."""

    worker: Side
    operator: Side
    proxy: Socks

    def with_proxy(self, url: str) -> Side:
        """Return the worker behind another proxy."""
        return Side(self.worker.folder, {"POWDO_PROXY": url} if url else {})


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """Return a worker with one capture and an operator; relay and Blossom server run behind a proxy."""
    for name in ("worker", "operator", "public"):
        (tmp_path / name).mkdir(mode=0o700)
    public = Side(tmp_path / "public")
    with socks_proxy({}, ("ana", "secret")) as proxy:
        through = {"POWDO_PROXY": proxy.url}
        worker, operator = (Side(tmp_path / name, through) for name in ("worker", "operator"))
        identity, access = worker.ok("keys", "new", "ana", "ana-access").decode().split()
        dvm = operator.ok("keys", "new", "dvm").decode().strip()
        relay = (
            *("relay", "serve", "--data", str(tmp_path / "public/relay"), "--url", f"ws://{RELAY}"),
            *("--allow", access, "--allow", dvm),
        )
        blossom = (
            *("blossom", "serve", "--data", str(tmp_path / "public/blossom"), "--allow", access),
            *("--url", f"http://{BLOSSOM}"),
        )
        with public.serving(*relay) as relay_port, public.serving(*blossom) as blossom_port:
            proxy.hosts |= {RELAY: relay_port, BLOSSOM: blossom_port}
            worker.ok("init", "worker", "--user", "ana", "--dvm", dvm, *PLACES)
            operator.ok("init", "operator", *PLACES)
            operator.ok("users", "add", identity, "--name", "ana", "--access", access)
            worker.ok("capture", "--activity", str(export(tmp_path, 9)), "--no-screenshots", "--since", DAY)
            yield Line(worker, operator, proxy)


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
    later = export(line.worker.folder.parent, 10)
    line.worker.ok("capture", "--activity", str(later), "--no-screenshots", "--since", DAY)
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
