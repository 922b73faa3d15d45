"""What the server says to its operator: no token, no whole hash or key, addresses only when asked twice."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.blossom_server import ANA, Blossom, running, sha, token
from tests.conftest import Powdo

_DATA = os.urandom(100)
_H = sha(_DATA)


def _use(server: Blossom) -> list[str]:
    """Do a bit of everything, well and badly; return what must not be told."""
    upload, delete, listed = token("upload", _H), token("delete", _H), token("list")
    server.put(_DATA, Authorization=upload)
    server.put(_DATA, Authorization="Nostr " + "A" * 100)
    server.ask("GET", f"/{_H}.zip?{upload[6:]}")
    server.ask("GET", f"/{_H}{_H}")
    server.ask("GET", f"/list/{ANA.pubkey}", Authorization=listed)
    server.ask(
        "PUT", "/mirror", json.dumps({"url": f"http://127.0.0.1:1/{_H}"}).encode(), Authorization=upload
    )
    server.ask("DELETE", f"/{_H}", Authorization=delete)
    server.ask("DELETE", f"/{_H}", Authorization=delete)
    with socket.create_connection(server.address, timeout=10) as peer:
        peer.sendall(f"NONSENSE {delete}\r\n\r\n".encode())
        peer.recv(4096)
    return [header[6:46] for header in (upload, delete, listed)] + ["A" * 20, _H, _H[8:40], ANA.pubkey]


def _told(tmp_path: Path, verbosity: str) -> tuple[str, list[str]]:
    """Return what a server process writes to stderr, and what must not be in it."""
    (tmp_path / "powdo.toml").write_text('[blossom]\nmirror_hosts = ["http://127.0.0.1:1"]\n')
    process = Powdo(("-m", "powdo")).start(
        *(
            "blossom",
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--open",
            "--data",
            str(tmp_path / "data"),
            verbosity,
        ),
        env={"POWDO_CONFIG": str(tmp_path / "powdo.toml")},
        stdin=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    secrets = _use(Blossom(json.loads(process.stdout.readline())["url"], tmp_path / "data"))
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    return said.decode(), secrets


@pytest.mark.parametrize("verbosity", ["-q", "-v"])
def test_addresses_and_requests_are_not_told_unasked(tmp_path: Path, verbosity: str) -> None:
    """Quiet or verbose, the journal learns neither who came nor for what."""
    said, secrets = _told(tmp_path, verbosity)
    assert "127.0.0.1" not in said
    assert _H[:8] not in said
    assert not [secret for secret in secrets if secret in said]


def test_requests_are_told_for_debugging_without_what_is_secret(tmp_path: Path) -> None:
    """At -vv each request is a line with address, short hash and status; tokens and keys are not there."""
    said, secrets = _told(tmp_path, "-vv")
    lines = [line.partition("127.0.0.1 ")[2] for line in said.splitlines()]
    for expected in (
        "PUT /upload 201",
        "PUT /upload 401",
        f"GET /{_H[:8]}....zip 200",
        f"GET /{_H[:8]}...{_H[:8]}... 400",
        f"GET /list/{ANA.pubkey[:8]}... 200",
        "PUT /mirror 502",
        f"DELETE /{_H[:8]}... 204",
        f"DELETE /{_H[:8]}... 404",
    ):
        assert expected in lines, said
    assert not [secret for secret in secrets if secret in said]


def test_a_failure_of_the_disk_is_told_without_the_hash(tmp_path: Path) -> None:
    """A path in an error of the system is shortened like any other."""
    with running(tmp_path, open=True) as server:
        assert server.put(_DATA).status == 201
        folder = tmp_path / "blobs" / _H[:2] / _H[2:4]
        folder.rename(tmp_path / "away")
        folder.write_bytes(b"")
        assert server.ask("GET", f"/{_H}").status == 503
    assert server.warnings
    assert _H[:8] in server.warnings[0]
    assert _H not in server.warnings[0]
