"""`powdo relay serve`, `powdo allow serve` and `powdo blossom serve` as processes over one allowlist."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from relay_helpers import client, new_key, signed, wrap_for

from powdo.nips.bech32 import encode_npub
from tests.admin_client import SECRET, AdminClient, Server, pubkeys, server
from tests.blossom_server import Blossom
from tests.conftest import Powdo

ALICE, BOB = new_key(), new_key()
LISTEN = ("--listen", "127.0.0.1:0")
ADMIN = ("--admin-secret-file", "SECRET_FILE")


def relay(folder: Path, *flags: str) -> tuple[str, ...]:
    """Return the words that serve a relay from *folder*."""
    return ("relay", "serve", *LISTEN, "--data", str(folder), *flags)


def test_a_key_let_in_publishes_and_one_shut_out_stops_at_once(tmp_path: Path) -> None:
    """Connections that are open gain and lose their rights with the answer of the admin API."""
    with server(tmp_path, *relay(tmp_path / "relay", *ADMIN)) as running:
        admin = running.admin

        async def scenario() -> None:
            async with client(running.url) as alice, client(running.url, BOB) as bob:
                assert (await alice.publish(signed(ALICE)))[1].startswith("auth-required:")
                assert (await bob.publish(wrap_for(ALICE.pubkey)))[1].startswith("restricted:")
                for key in (ALICE, BOB):
                    assert admin.add(encode_npub(key.pubkey)) == 201
                mine = signed(ALICE)
                assert await alice.publish(mine) == (True, "")
                assert await bob.publish(wrap_for(ALICE.pubkey)) == (True, "")
                assert admin.sync([]).value == {"added": 0, "removed": 2, "total": 0}
                assert (await alice.publish(signed(ALICE)))[1].startswith("auth-required:")
                assert (await bob.publish(wrap_for(ALICE.pubkey)))[1].startswith("restricted:")
                assert await alice.ids({"authors": [ALICE.pubkey]}) == [mine.id]

        asyncio.run(scenario())
        assert running.end(signal.SIGTERM) == (-signal.SIGTERM, "")


def test_the_list_survives_a_restart(tmp_path: Path) -> None:
    """What was changed is there again; keys of flags are not in the file."""
    (one, other, fixed) = pubkeys(3)
    words = relay(tmp_path / "relay", *ADMIN, "--allow", encode_npub(fixed), "-v")
    with server(tmp_path, *words) as running:
        assert running.admin.add(one) == running.admin.add(other) == 201
        assert running.admin.remove(one) == 200
        assert running.admin.remove(fixed) == 409
        status, told = running.end(signal.SIGTERM)
    assert status == -signal.SIGTERM
    assert [line.split()[-3:] for line in told.splitlines()] == [
        ["let", "in", encode_npub(one)],
        ["let", "in", encode_npub(other)],
        ["shut", "out", encode_npub(one)],
    ]
    assert SECRET not in told
    with server(tmp_path, *relay(tmp_path / "relay", *ADMIN)) as running:
        assert running.admin.listed() == [other]


def test_without_a_secret_there_is_no_admin_api(tmp_path: Path) -> None:
    """Every path of it is 404, with a secret or without, and the relay goes on; a useless flag is told."""
    with server(tmp_path, *relay(tmp_path / "relay", "--open", "--admin-ip", "192.0.2.0/24")) as running:
        for admin in (running.admin, AdminClient(running.admin.url, None)):
            for method, path in (("GET", "/admin/allow"), ("POST", "/admin/allow/sync"), ("PUT", "/admin")):
                assert admin.ask(method, path, {"pubkeys": []}).status == 404
            assert admin.ask("GET", "/").status == 200
            assert admin.ask("POST", "/", {}).status == 405
        status, told = running.end(signal.SIGTERM)
    assert status == -signal.SIGTERM
    assert "warning: the admin API is off" in told
    with server(tmp_path, *relay(tmp_path / "relay", "--open")) as running:
        assert running.end(signal.SIGTERM) == (-signal.SIGTERM, "")


@pytest.mark.parametrize("source", ["variable", "variable file", "credential", "command", "file"])
def test_the_secret_comes_from_where_secrets_come_from(tmp_path: Path, own_world: Path, source: str) -> None:
    """The environment, a file it names, systemd's credentials, a command, a file: each will do."""
    secret = tmp_path / "relay-admin-secret"
    secret.touch(0o600)
    secret.write_text(f"{SECRET}\n")
    env, setting = {
        "variable": ({"NOSTR_RELAY_ADMIN_SECRET": SECRET}, ""),
        "variable file": ({"NOSTR_RELAY_ADMIN_SECRET_FILE": str(secret)}, ""),
        "credential": ({"CREDENTIALS_DIRECTORY": str(tmp_path)}, ""),
        "command": ({}, f'admin_secret_command = "cat {secret}"'),
        "file": ({}, f'admin_secret_file = "{secret}"'),
    }[source]
    config = own_world / "powdo.toml"
    config.touch(0o600)
    config.write_text(f"[relay]\n{setting}\n")
    with server(tmp_path, *relay(tmp_path / "relay"), env=env) as running:
        assert running.admin.listed() == []
        assert AdminClient(running.admin.url, "another-secret-16").ask("GET", "/admin/allow").status == 401


@pytest.mark.parametrize("command", ["relay", "allow"])
@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        ("short", 0o600, "openssl rand"),
        ("", 0o600, "openssl rand"),
        ("a secret with spaces", 0o600, "openssl rand"),
        ("é" * 20, 0o600, "openssl rand"),
        (SECRET, 0o640, "others can read"),
        (None, 0o600, "No such file"),
    ],
)
def test_a_secret_that_is_none_is_refused(
    tmp_path: Path, powdo: Powdo, command: str, content: str | None, mode: int, words: str
) -> None:
    """One that is short, no header can carry, is missing or readable by others ends the start with 77."""
    secret = tmp_path / "secret"
    if content is not None:
        secret.touch()
        secret.chmod(mode)
        secret.write_text(content)
    place = (
        ("--data", str(tmp_path / "relay")) if command == "relay" else ("--allowlist", str(tmp_path / "list"))
    )
    done = powdo(command, "serve", *LISTEN, *place, "--admin-secret-file", str(secret))
    assert (done.returncode, done.stdout) == (77, b"")
    assert words in done.stderr.decode()
    assert not content or content not in done.stderr.decode()


def test_the_admin_api_beside_another_relay(tmp_path: Path, powdo: Powdo) -> None:
    """`allow serve` serves the list and nothing else, and ends cleanly; it needs a file and a secret."""
    path = tmp_path / "lists" / "allowlist.json"
    words = ("allow", "serve", *LISTEN, "--allowlist", str(path))
    (one,) = pubkeys(1)
    with server(tmp_path, *words, *ADMIN) as running:
        assert running.url.startswith("http://127.0.0.1:")
        assert running.admin.add(one) == 201
        assert running.admin.listed() == [one]
        assert running.admin.ask("GET", "/").status == 404
        assert running.end(signal.SIGTERM) == (-signal.SIGTERM, "")
    assert json.loads(path.read_bytes()) == {"pubkeys": [one]}
    assert powdo(*words).returncode == 77
    secret = ("--admin-secret-file", str(tmp_path / "secret"))
    assert powdo("allow", "serve", *LISTEN, *secret).returncode == 2
    assert powdo(*words, *secret, "--admin-ip", "everywhere").returncode == 78


@pytest.mark.parametrize("command", ["relay", "allow"])
def test_a_secret_that_travels_in_clear_is_told(tmp_path: Path, command: str) -> None:
    """Beyond this machine and without a proxy the API is served, with a warning."""
    words = {
        "relay": ("relay", "serve", "--data", str(tmp_path / "relay"), "--url", "wss://relay.example"),
        "allow": ("allow", "serve", "--allowlist", str(tmp_path / "list.json")),
    }[command]
    for proxy, count in (((), 1), (("--trusted-proxy", "192.0.2.1/32"), 0)):
        with server(tmp_path, *words, "--listen", "0.0.0.0:0", *ADMIN, *proxy) as running:
            _, told = running.end(signal.SIGTERM)
        assert told.count("comes unencrypted") == count


@pytest.mark.parametrize("command", ["relay", "allow"])
def test_nonsense_is_answered_and_fills_no_journal(tmp_path: Path, command: str) -> None:
    """What is no HTTP, and bodies that break off, end with 400 or nothing; nothing is told of them."""
    words = {
        "relay": ("relay", "serve", "--data", str(tmp_path / "relay")),
        "allow": ("allow", "serve", "--allowlist", str(tmp_path / "list.json")),
    }[command]
    post = f"POST /admin/allow HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SECRET}\r\n".encode()
    nonsense = (
        b"\x16\x03\x01nonsense\r\n\r\n",
        b"GET /admin/allow HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        post + b"Content-Length: -5\r\n\r\n{",
        post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{",
        post + b'Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\n{"pub',
        post + b'Content-Length: 50\r\n\r\n{"pub',
    )
    with server(tmp_path, *words, *LISTEN, *ADMIN) as running:
        host, port = running.admin.url.removeprefix("http://").split(":")
        for data in nonsense:
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                assert connection.makefile("rb").readline().split()[1:2] in ([], [b"400"])
        assert running.admin.listed() == []
        assert running.end(signal.SIGTERM) == (-signal.SIGTERM, "")


def _until(condition: Callable[[], bool]) -> float:
    """Return how many seconds it took until *condition* held."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < 10
        time.sleep(0.02)
    return time.monotonic() - begin


def test_the_blossom_server_reads_the_same_list(tmp_path: Path) -> None:
    """Who is let in at the relay's admin API uploads within a second, and who is shut out does not."""
    shared = ("--allowlist", str(tmp_path / "shared" / "allowlist.json"))
    blossom_words = ("blossom", "serve", *LISTEN, "--data", str(tmp_path / "blobs"), *shared, "-q")
    with (
        server(tmp_path, *relay(tmp_path / "relay", *ADMIN, *shared)) as one,
        server(tmp_path, *blossom_words) as other,
    ):
        blossom = Blossom(other.url, tmp_path / "blobs")
        assert blossom.put(b"0", key=ALICE).status == 403
        assert one.admin.add(ALICE.pubkey) == 201
        assert _until(lambda: blossom.put(b"1", key=ALICE).status in (200, 201)) < 1
        assert one.admin.sync([BOB.pubkey]).status == 200
        assert _until(lambda: blossom.put(b"2", key=ALICE).status == 403) < 1
        assert blossom.put(b"3", key=BOB).status == 201


def test_two_servers_change_one_list(tmp_path: Path) -> None:
    """Changes through one are made to what the other has written, and each says so at once."""
    shared = ("--allowlist", str(tmp_path / "allowlist.json"))
    keys = pubkeys(20)
    with (
        server(tmp_path, *relay(tmp_path / "relay", *ADMIN, *shared)) as one,
        server(tmp_path, "allow", "serve", *LISTEN, *ADMIN, *shared) as other,
    ):
        works = [
            threading.Thread(target=lambda admin=admin, mine=mine: [admin.add(key) for key in mine])
            for admin, mine in ((one.admin, keys[::2]), (other.admin, keys[1::2]))
        ]
        for work in works:
            work.start()
        for work in works:
            work.join()
        assert one.admin.listed() == other.admin.listed() == keys
        assert one.admin.remove(keys[1]) == 200
        assert other.admin.remove(keys[1]) == 404


def test_a_full_disk_is_answered_and_over_when_there_is_room(tmp_path: Path) -> None:
    """507 without a change while nothing can be written, the reason told here; then all goes on."""
    path = tmp_path / "allowlist.json"
    one, other = pubkeys(2)
    with server(tmp_path, "allow", "serve", *LISTEN, *ADMIN, "--allowlist", str(path)) as running:
        assert running.admin.add(one) == 201
        before = path.read_bytes()
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (16, resource.RLIM_INFINITY))
        assert running.admin.add(other) == running.admin.remove(one) == running.admin.sync([]).status == 507
        assert running.admin.listed() == [one]
        assert path.read_bytes() == before
        assert running.admin.add(one) == 200
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (-1, resource.RLIM_INFINITY))
        assert running.admin.add(other) == 201
        _, told = running.end(signal.SIGTERM)
    assert told.count(f"warning: cannot write '{path}'") == 3
    assert sorted(file.name for file in tmp_path.glob(".*")) == []


def test_a_change_that_was_answered_survives_kill(tmp_path: Path) -> None:
    """Killed amid changes the server leaves a whole file, with what it has answered and no more."""
    path = tmp_path / "allowlist.json"
    words = ("allow", "serve", *LISTEN, *ADMIN, "--allowlist", str(path))
    wanted: set[str] = set()
    keys = pubkeys(30)
    for delay in (0.0, 0.01, 0.05, 0.1, 0.2):
        running = Server(tmp_path, *words)
        timer = threading.Timer(delay, running.process.kill)
        timer.start()
        doubtful = _change_until_killed(running.admin, keys, wanted)
        timer.join()
        running.process.communicate()
        found = set(json.loads(path.read_bytes())["pubkeys"]) if path.exists() else set()
        assert found ^ wanted <= doubtful
        wanted = found
    with server(tmp_path, *words) as running:
        assert set(running.admin.listed()) == wanted
        assert running.admin.add(keys[0]) in (200, 201)


def _change_until_killed(admin: AdminClient, keys: list[str], wanted: set[str]) -> set[str]:
    """Let in and shut out; keep *wanted* what was answered, and return the key whose answer did not come."""
    while True:
        for key in keys:
            try:
                status = admin.remove(key) if key in wanted else admin.add(key)
            except OSError:
                return {key}
            assert status in (200, 201)
            wanted ^= {key}
