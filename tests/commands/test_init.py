"""powdo init."""

from __future__ import annotations

import os
import pty
import stat
import tomllib
from pathlib import Path

import pytest

_WORKER = (
    "init",
    "worker",
    "--user",
    "ana",
    "--relay",
    "wss://relay.example",
    "--blossom",
    "https://blossom.example",
)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_worker_is_set_up_in_one_command(powdo, own_world: Path):
    """A configuration, a master key and the keys NAME and NAME-access are made, all private."""
    done = powdo(*_WORKER, "--dvm", "ab" * 32)
    assert (done.returncode, done.stdout) == (0, b"")
    content = tomllib.loads((own_world / "powdo.toml").read_text())
    assert content["identity"] == {"user": "ana", "access_user": "ana-access"}
    assert content["worker"]["relays"] == ["wss://relay.example"]
    assert content["worker"]["blossom"] == ["https://blossom.example"]
    master = own_world / "master.key"
    assert len(bytes.fromhex(master.read_text())) == 32
    for path in (own_world / "powdo.toml", master, own_world / "data" / "keystore.json"):
        assert _mode(path) == 0o600
    said = done.stderr.decode()
    for name in ("ana", "ana-access"):
        npub = powdo("keys", "show", name).stdout.decode().strip()
        assert f"{name} is {npub}" in said
    assert master.read_text().strip() not in said


def test_a_second_run_harms_nothing(powdo, own_world: Path):
    """Run twice, init leaves configuration, master key and keys as they are."""
    powdo(*_WORKER)
    before = {path: path.read_bytes() for path in own_world.rglob("*") if path.is_file()}
    done = powdo("init", "worker", "--user", "other", "--relay", "wss://other.example")
    assert done.returncode == 0
    assert b"exists already and was left alone" in done.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert powdo("keys", "show", "other").returncode == 77


def test_an_unfinished_run_is_finished_by_the_next(powdo, own_world: Path):
    """Whatever of configuration, master key and keys is missing is made by the next run."""
    powdo(*_WORKER)
    npub = powdo("keys", "show", "ana").stdout
    (own_world / "powdo.toml").unlink()
    assert powdo(*_WORKER).returncode == 0
    assert powdo("keys", "show", "ana").stdout == npub
    (own_world / "data" / "keystore.json").unlink()
    assert powdo(*_WORKER).returncode == 0
    assert powdo("keys", "show", "ana-access").returncode == 0


def test_what_is_missing_is_told(powdo, own_world: Path):
    """Settings that were not given stand as comments, and a warning names them; -q says nothing."""
    done = powdo("init", "worker", "--user", "ana", "--yes")
    assert done.returncode == 0
    for name in ("relays", "blossom", "dvm"):
        assert f"warning: '[worker] {name}' is not set".encode() in done.stderr
        assert f"# {name} =" in (own_world / "powdo.toml").read_text()
    assert powdo("init", "worker", "--user", "ana", "-q", "-p", "quiet").stderr == b""


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("worker", "--user", "ana", "--relay", "ws://relay.example"), 78),
        (("worker", "--user", "ana", "--dvm", "npub1nonsense"), 78),
        (("worker", "--user", "a\nb"), 65),
        (("operator", "--blossom", "https://blossom.example/path"), 78),
        (("server", "--relay", "ftp://x"), 78),
        (("worker", "--user", "ana", "--relay", os.fsdecode(b"wss://\xff.example")), 78),
    ],
)
def test_bad_values_leave_nothing_behind(powdo, own_world: Path, arguments, status):
    """What could not be read again is not written."""
    done = powdo("init", *arguments)
    assert done.returncode == status, done.stderr
    assert not (own_world / "powdo.toml").exists()
    assert not (own_world / "data" / "keystore.json").exists()


def test_a_text_that_toml_would_mistake_is_quoted(powdo, own_world: Path):
    """Quotes and backslashes in a name reach the configuration as they are."""
    name = 'a "b" \\ c #'
    assert powdo("init", "operator", "--user", name, "--relay", "wss://r.example").returncode == 0
    assert tomllib.loads((own_world / "powdo.toml").read_text())["identity"]["user"] == name
    assert powdo("keys", "show", name).returncode == 0


def test_an_operator_and_a_server_are_set_up(powdo, own_world: Path):
    """The DVM gets one key; the server gets data directories."""
    assert (
        powdo(
            "init", "operator", "--relay", "wss://r.example", "--blossom", "https://b.example", "-p", "dvm"
        ).returncode
        == 0
    )
    content = tomllib.loads((own_world / "profiles" / "dvm" / "powdo.toml").read_text())
    assert content["dvm"] == {"relays": ["wss://r.example"], "blossom_hosts": ["https://b.example"]}
    assert powdo("keys", "show", "dvm", "-p", "dvm").stdout.startswith(b"npub1")
    assert powdo("keys", "show", "dvm").returncode == 77
    assert powdo("init", "server", "--relay", "wss://r.example").returncode == 0
    assert _mode(own_world / "data" / "relay") == _mode(own_world / "data" / "blossom") == 0o700
    content = tomllib.loads((own_world / "powdo.toml").read_text())
    assert content["relay"]["trusted_proxy"] == ["127.0.0.1/32", "::1/128"]
    assert "trusted_proxy" not in content["blossom"]  # no URL, no proxy
    assert content["relay"]["allowlist"] == content["blossom"]["allowlist"]
    assert content["blossom"]["retention"] == [{"keep": "30d"}]


def test_the_master_key_of_the_environment_is_used_and_not_written(powdo, own_world: Path):
    """With NSEC_MASTER_KEY set, init makes no file for it."""
    assert powdo(*_WORKER, env={"NSEC_MASTER_KEY": "0f" * 32}).returncode == 0
    assert not (own_world / "master.key").exists()
    assert powdo("keys", "new", "eve").returncode == 77
    assert powdo("keys", "new", "eve", env={"NSEC_MASTER_KEY": "0f" * 32}).returncode == 0


@pytest.mark.parametrize(("answer", "status"), [(b"y\n", 0), (b"n\n", 2), (b"\x04", 2)])
def test_a_person_is_asked_before_anything_is_written(powdo, own_world: Path, answer, status):
    """On a terminal the configuration is shown and confirmed; no, or end of input, writes nothing."""
    master, terminal = pty.openpty()
    process = powdo.start(*_WORKER, stdin=terminal, stderr=terminal)
    os.close(terminal)
    seen = b""
    while b"write it?" not in seen:
        seen += os.read(master, 4096)
    assert b"wss://relay.example" in seen
    os.write(master, answer)
    try:
        while os.read(master, 4096):
            pass
    except OSError:
        os.close(master)  # the terminal is closed when its last process ends
    assert process.wait(20) == status
    process.stdout.close()
    assert (own_world / "powdo.toml").exists() == (status == 0)
