"""`powdo blossom serve` as a process: its flags, its settings, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from powdo.nips.bech32 import encode_npub
from tests.blossom_server import ANA, BEN, Blossom, sha, token
from tests.parts import needed


def _start(
    folder: Path, *flags: str, settings: str = "", before: tuple[str, ...] = ()
) -> subprocess.Popen[bytes]:
    config = folder / "powdo.toml"
    config.write_text(settings)
    config.chmod(0o600)
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG")}
    return subprocess.Popen(
        [*before, sys.executable, "-m", "powdo", "blossom", "serve", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=inherited
        | {"HOME": str(folder), "POWDO_CONFIG": str(config), "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def _ready(process: subprocess.Popen[bytes], data: Path) -> Blossom:
    assert process.stdout is not None
    record = json.loads(process.stdout.readline())
    assert set(record) == {"type", "v", "url"}
    return Blossom(record["url"], data)


def test_flags_beat_settings(tmp_path: Path) -> None:
    """The settings alone are enough; flags change them, and --allow adds to the list."""
    data = tmp_path / "data"
    settings = (
        f'[blossom]\nlisten = "127.0.0.1:0"\ndata = "{data}"\nallow = ["{ANA.pubkey}"]\nmax_size = 1000\n'
    )
    with _start(
        tmp_path, "--allow", encode_npub(BEN.pubkey), "--max-size", "2KiB", settings=settings
    ) as process:
        try:
            server = _ready(process, data)
            assert server.put(b"a" * 1500).status == 201
            assert server.put(b"b" * 1500, key=BEN).status == 201
            assert server.put(b"c" * 2049).status == 413
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(20) == -signal.SIGTERM


def test_a_public_url_is_what_tokens_and_descriptors_name(tmp_path: Path) -> None:
    """With --url the server is known by that name only, to tokens and in descriptors."""
    data = tmp_path / "data"
    flags = ("--listen", "127.0.0.1:0", "--data", str(data), "--open", "--url", "https://cdn.example/")
    with _start(tmp_path, *flags) as process:
        try:
            server = _ready(process, data)
            assert server.url.startswith("http://127.0.0.1:")
            assert server.put(b"a blob").status == 401
            header = token("upload", sha(b"a blob"), servers=("cdn.example",))
            described = json.loads(server.put(b"a blob", Authorization=header).body)
            assert described["url"] == f"https://cdn.example/{sha(b'a blob')}.zip"
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(20) == -signal.SIGINT


@pytest.mark.parametrize(
    ("flags", "status", "told"),
    [
        (("--listen", "127.0.0.1:0"), 2, "--data"),
        (("--data", "D", "--listen", "127.0.0.1"), 78, "HOST:PORT"),
        (("--data", "D", "--allow", "npub1xyz"), 78, "--allow: "),
        (("--data", "D", "--trusted-proxy", "10.0.0.1/8"), 78, "network"),
        (("--data", "D", "--max-size", "much"), 78, "size"),
        (("--data", "D", "--max-size", "0"), 78, "at least one byte"),
        (("--data", "D", "--url", "http://cdn.example"), 78, "https"),
        (("--data", "D", "--listen", "192.0.2.1:1", "--open"), 73, "cannot listen"),
        (("--data", "/dev/null/x", "--listen", "127.0.0.1:0", "--open"), 73, "cannot create"),
    ],
)
def test_what_makes_no_sense_is_told(tmp_path: Path, flags: tuple[str, ...], status: int, told: str) -> None:
    """Each mistake has its status and a message that names it; nothing is on stdout."""
    with _start(tmp_path, *(str(tmp_path / "data") if flag == "D" else flag for flag in flags)) as process:
        output, messages = process.communicate(timeout=30)
    assert (process.returncode, output) == (status, b"")
    assert told in messages.decode()
    assert b"powdo blossom serve: error: " in messages


def test_a_server_nobody_may_use_warns(tmp_path: Path) -> None:
    """Without any key on the list, and not open, the operator is told."""
    with _start(tmp_path, "--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0") as process:
        _ready(process, tmp_path)
        process.send_signal(signal.SIGTERM)
        _, messages = process.communicate(timeout=20)
    assert b"warning: nobody may upload" in messages


def test_limits_are_settings(tmp_path: Path) -> None:
    """What one key may keep is told by [blossom], and by the server where it refuses."""
    settings = '[blossom]\nquota = "1KiB"\nquota_blobs = 2\nmin_free = 0\n'
    flags = ("--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0", "--open")
    with _start(tmp_path, *flags, settings=settings) as process:
        try:
            server = _ready(process, tmp_path)
            assert server.put(bytes(1025)).reason == "a key may keep 1024 bytes in all"
            assert [server.put(data).status for data in (b"a", b"b", b"c")] == [201, 201, 507]
        finally:
            process.send_signal(signal.SIGTERM)


def test_too_few_open_files_are_told_and_do_no_harm(tmp_path: Path) -> None:
    """Under a low hard limit there are fewer connections, and those that rest still give way."""
    flags = ("--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0", "--open")
    prlimit = needed("prlimit")
    with _start(tmp_path, *flags, before=(prlimit, "--nofile=100:100")) as process, ExitStack() as stack:
        try:
            server = _ready(process, tmp_path)
            for _ in range(150):
                stack.enter_context(socket.create_connection(server.address, timeout=5))
            assert [server.put(os.urandom(9)).status for _ in range(3)] == [201] * 3
        finally:
            process.send_signal(signal.SIGTERM)
        _, messages = process.communicate(timeout=20)
    # asyncio accepts a whole backlog before any of it can be closed, so there may be a moment without files
    first, *others = messages.decode().splitlines()
    assert first == "powdo blossom serve: warning: the limit of open files leaves room for 18 connections"
    assert all("too many open files" in line for line in others)


def test_a_proxy_that_is_not_named_is_told(tmp_path: Path) -> None:
    """Behind a proxy that is not trusted all clients have one address."""
    flags = (
        "--data",
        str(tmp_path / "data"),
        "--listen",
        "127.0.0.1:0",
        "--open",
        "--url",
        "https://b.example",
    )
    for more, told in (((), b"count as one address"), (("--trusted-proxy", "127.0.0.1/32"), b"")):
        with _start(tmp_path, *flags, *more) as process:
            _ready(process, tmp_path)
            process.send_signal(signal.SIGTERM)
            _, messages = process.communicate(timeout=20)
        assert told in messages
        assert bool(messages) == bool(told)
