"""powdo allow as processes of their own: killed at any moment, several at once, and as a service."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from powdo.commands.allow import allow
from powdo.nips.bech32 import encode_npub
from powdo.nips.curve import SecretKey
from tests.allow_relay import SECRET, AdminRelay, call, queue_lines
from tests.conftest import Powdo
from tests.parts import need

KEYS = [SecretKey(bytes([number]) * 32).pubkey for number in range(1, 7)]
CALLS = "fsync,rename,unlink,mkdir,write,flock"


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Iterator[AdminRelay]:
    """Yield a relay that the environment names."""
    with AdminRelay() as running:
        monkeypatch.setenv("NOSTR_RELAY_ADMIN_URL", running.url)
        monkeypatch.setenv("NOSTR_RELAY_ADMIN_SECRET", SECRET)
        monkeypatch.setenv("NOSTR_ALLOWLIST_SYNC_INTERVAL", "1")
        monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        yield running


def until(held: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until *held* holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not held():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def end(process: subprocess.Popen[bytes], signum: int) -> tuple[list[dict[str, object]], str]:
    """End *process* by *signum* and return its records and what it said."""
    process.send_signal(signum)
    out, err = process.communicate(timeout=20)
    assert process.returncode == -signum
    return [json.loads(line) for line in out.splitlines()], err.decode()


def test_killed_between_queue_and_send(powdo: Powdo, relay: AdminRelay, own_world: Path) -> None:
    """A run that is killed while the relay is silent has pinned and queued; a flush tells it."""
    relay.weather = "silent"
    process = powdo.start("allow", "add", encode_npub(KEYS[0]))
    until(lambda: relay.asked == ["POST /admin/allow"])
    end(process, signal.SIGKILL)
    assert [line["pubkey"] for line in queue_lines(own_world / "state")] == [KEYS[0]]
    relay.weather = "fine"
    assert powdo("allow", "flush").returncode == 0
    assert relay.pubkeys == {KEYS[0]}
    assert queue_lines(own_world / "state") == []


def test_a_signal_while_the_relay_is_silent(powdo: Powdo, relay: AdminRelay, own_world: Path) -> None:
    """SIGTERM ends a run that waits for the relay at once, and keeps what it was asked."""
    relay.weather = "silent"
    process = powdo.start("allow", "add", encode_npub(KEYS[0]))
    until(lambda: bool(relay.asked))
    begin = time.monotonic()
    assert end(process, signal.SIGTERM) == ([], "")
    assert time.monotonic() - begin < 5
    assert len(queue_lines(own_world / "state")) == 1


def test_several_at_once(powdo: Powdo, relay: AdminRelay, own_world: Path) -> None:
    """Of runs that add and remove at the same time each is done, and none is lost."""
    assert powdo("allow", "add", *KEYS[:2]).returncode == 0
    runs = [powdo.start("allow", "remove", key) for key in KEYS[:2]]
    runs += [powdo.start("allow", "add", key) for key in KEYS[2:]]
    for process in runs:
        assert process.communicate(timeout=60) == (b"", b"")
        assert process.returncode == 0
    assert relay.pubkeys == set(KEYS[2:])
    assert queue_lines(own_world / "state") == []
    assert powdo("allow", "status").returncode == 0


def test_a_relay_of_our_own(powdo: Powdo, own_world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A running relay with the same secret is told of a worker's access key, and keeps it on its list."""
    monkeypatch.setenv("NOSTR_RELAY_ADMIN_SECRET", SECRET)
    data = own_world / "relay"
    process = powdo.start("relay", "serve", "--listen", "127.0.0.1:0", "--data", str(data))
    assert process.stdout is not None
    url = str(json.loads(process.stdout.readline())["url"])
    monkeypatch.setenv("NOSTR_RELAY_ADMIN_URL", url.replace("ws://", "http://"))
    assert powdo("users", "add", KEYS[0], "--name", "ana", "--access", KEYS[1]).returncode == 0
    assert powdo("allow", "status").returncode == 0
    assert end(process, signal.SIGTERM) == ([], "")
    assert json.loads((data / "allowlist.json").read_bytes()) == {"pubkeys": [KEYS[1]]}
    assert powdo("users", "remove", "ana").returncode == 75


def _calls(powdo: Powdo, tmp_path: Path) -> list[tuple[str, int]]:
    """Return the calls of an undisturbed run, each by name and its number."""
    log = tmp_path / "calls"
    command = ["strace", "-f", "-o", str(log), "-e", f"trace={CALLS}", *powdo.command]
    done = subprocess.run([*command, "allow", "add", KEYS[5]], env=powdo.environment(), timeout=60)
    assert done.returncode == 0
    names = re.findall(r"^\d+ +(\w+)\(", log.read_text(), re.MULTILINE)
    return [(name, number) for name, count in Counter(names).items() for number in range(1, count + 1)]


def test_killed_at_any_call(powdo: Powdo, relay: AdminRelay, own_world: Path, tmp_path: Path) -> None:
    """Killed as it enters any call that writes, syncs, renames or locks, a run leaves what can go on.

    What the relay knows is pinned, what is queued is told by a flush, and a sync brings both in step.
    """
    need(shutil.which("strace"), "strace")
    state = own_world / "state"
    calls = _calls(powdo, tmp_path)
    assert {name for name, _ in calls} >= {"fsync", "rename", "write", "flock"}
    for name, number in calls:
        shutil.rmtree(state)
        relay.allowlist.replace([])
        rule = f"inject={name}:signal=SIGKILL:when={number}"
        strace = ["strace", "-f", "-qqq", "-o", "/dev/null", f"--trace={name}", "-e", rule]
        subprocess.run(
            [*strace, *powdo.command, "allow", "add", KEYS[0]], env=powdo.environment(), timeout=60
        )
        pins = state / "allow-pins.json"
        pinned = set(json.loads(pins.read_bytes())["pubkeys"]) if pins.exists() else set()
        assert relay.pubkeys <= pinned, (name, number)
        assert call(allow, "flush").console.status == 0, (name, number)
        assert relay.pubkeys <= pinned, (name, number)
        assert call(allow, "add", KEYS[1]).console.status == 0, (name, number)
        assert call(allow, "sync").console.status == 0, (name, number)
        assert relay.pubkeys == pinned | {KEYS[1]}, (name, number)


def _counts(added: int, removed: int, total: int) -> dict[str, int]:
    return {"added": added, "removed": removed, "total": total}


def test_follow_goes_on_while_the_relay_is_away(powdo: Powdo, relay: AdminRelay) -> None:
    """The service tells once that the relay is away, syncs when it is back and at each interval, and ends."""
    relay.weather = "gone"
    assert powdo("allow", "add", KEYS[0]).returncode == 75
    relay.asked.clear()
    process = powdo.start("allow", "sync", "--follow")
    until(lambda: len(relay.asked) >= 2)
    relay.weather = "fine"
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == {"type": "synced", "v": 1} | _counts(1, 0, 1)
    relay.allowlist.add(KEYS[1])
    while (record := json.loads(process.stdout.readline()))["removed"] == 0:
        assert record["added"] == 0
    assert record == {"type": "synced", "v": 1} | _counts(0, 1, 1)
    assert relay.pubkeys == {KEYS[0]}
    _, said = end(process, signal.SIGTERM)
    lines = said.splitlines()
    assert lines[0].startswith(f"powdo allow sync: warning: cannot reach '{relay.url}': ")
    assert said.count("warning") == 1
    assert lines[-1] == "powdo allow sync: the relay is in step again"


def test_follow_sees_what_others_change_here(powdo: Powdo, relay: AdminRelay, own_world: Path) -> None:
    """The union is taken anew each time; while nobody is wanted, a list that is not empty stays."""
    relay.allowlist.add(KEYS[3])
    process = powdo.start("allow", "sync", "--follow")
    until(lambda: len(relay.asked) >= 2)
    assert relay.pubkeys == {KEYS[3]}
    assert powdo("users", "add", KEYS[0], "--name", "ana", "--access", KEYS[1]).returncode == 0
    until(lambda: relay.pubkeys == {KEYS[1]})
    _, said = end(process, signal.SIGTERM)
    assert said.count("nobody is wanted here") == 1


@pytest.mark.parametrize(("secret", "status"), [("wrong", 77), ("two words", 77)])
def test_follow_ends_by_what_needs_a_person(
    powdo: Powdo, relay: AdminRelay, secret: str, status: int
) -> None:
    """A wrong secret ends the service instead of being tried for ever."""
    done = powdo("allow", "sync", "--follow", env={"NOSTR_RELAY_ADMIN_SECRET": secret})
    assert done.returncode == status
