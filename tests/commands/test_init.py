"""powdo init."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from pathlib import Path

import pytest

from powdo.nips.bech32 import decode_npub, encode_npub
from powdo.nips.curve import SecretKey
from powdo.nips.nprofile import Profile, decode_nprofile, encode_nprofile
from tests.kimai_double import Double
from tests.pseudo_terminal import answered

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
NPUB = encode_npub(SecretKey(bytes([5]) * 32).pubkey)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_worker_is_set_up_in_one_command(powdo, own_world: Path):
    """A configuration, a master key and the keys NAME and NAME-access are made, all private."""
    done = powdo(*_WORKER, "--dvm", NPUB)
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


@pytest.mark.parametrize(("side", "section"), [("operator", "[dvm]"), ("server", "[relay] or [blossom]")])
def test_another_side_needs_a_configuration_of_its_own(powdo, own_world: Path, side: str, section: str):
    """Where a worker is set up no other side is said to be: nothing is written, and a profile is proposed."""
    powdo(*_WORKER)
    before = sorted(own_world.rglob("*"))
    done = powdo("init", side)
    assert done.returncode == 78
    assert f"is there and has no {section}\n" in done.stderr.decode()
    assert f"powdo init {side} --profile {side}" in done.stderr.decode()
    assert b"tell workers" not in done.stderr
    assert sorted(own_world.rglob("*")) == before
    assert powdo("init", side, "--profile", side).returncode == 0


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


_LINE_ENDS = "\x04"


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 2), (_LINE_ENDS, 2)])
def test_a_person_is_asked_before_anything_is_written(powdo, own_world: Path, answer, status):
    """On a terminal the configuration is shown and confirmed; no, or end of input, writes nothing."""
    done = answered(powdo, *_WORKER, "--dvm", NPUB, answers=[("write it?", answer)], streams=True)
    assert done.status == status, done.terminal
    assert "wss://relay.example" in done.terminal
    assert (own_world / "powdo.toml").exists() == (status == 0)
    assert ("Every part" in done.terminal) == (status == 0)
    assert (b"state directory" in done.stdout) == (status == 0)


def test_a_worker_is_asked_for_what_was_not_given(powdo, own_world: Path):
    """The DVM's nprofile is shown as npub with its relays; a wrong answer is told and asked for again."""
    pubkey = decode_npub(NPUB)
    profile = encode_nprofile(Profile(pubkey, ("ws://127.0.0.1:9",)))
    answers = [
        ("the name of your key", "ana"),
        ("npub or nprofile", "npub1nonsense"),
        ("npub or nprofile", profile),
        ("is this what the operator told you?", "y"),
        ("the relays", ""),
        ("the Blossom servers", "http://127.0.0.1:9 ftp://x"),
        ("the Blossom servers", "http://127.0.0.1:9"),
        ("write it?", "y"),
    ]
    done = answered(powdo, "init", "worker", answers=answers, streams=True)
    assert done.status == 0, done.terminal
    assert NPUB in done.terminal
    content = tomllib.loads((own_world / "powdo.toml").read_text())
    assert content["identity"]["user"] == "ana"
    assert content["worker"] == {
        "dvm": NPUB,
        "relays": ["ws://127.0.0.1:9"],
        "blossom": ["http://127.0.0.1:9"],
    }


def test_a_dvm_that_is_not_recognised_is_not_written(powdo, own_world: Path):
    """Who does not know the npub in a pasted nprofile is asked again, or ends without one."""
    profile = encode_nprofile(Profile(decode_npub(NPUB)))
    answers = [("is this what the operator told you?", "n")]
    done = answered(powdo, *_WORKER, "--dvm", profile, answers=answers, streams=True)
    assert done.status == 2
    assert not (own_world / "powdo.toml").exists()
    answers = [
        ("npub or nprofile", NPUB),
        ("is this what the operator told you?", "n"),
        ("npub or nprofile", ""),
        ("write it?", "y"),
    ]
    assert answered(powdo, *_WORKER, answers=answers, streams=True).status == 0
    assert "# dvm =" in (own_world / "powdo.toml").read_text()


def test_an_nprofile_on_the_command_line(powdo, own_world: Path):
    """Without a terminal an nprofile gives key and relays, and --relay beats its relays."""
    profile = encode_nprofile(Profile(decode_npub(NPUB), ("wss://their.example",)))
    assert powdo("init", "worker", "--user", "ana", "--dvm", profile).returncode == 0
    content = tomllib.loads((own_world / "powdo.toml").read_text())["worker"]
    assert (content["dvm"], content["relays"]) == (NPUB, ["wss://their.example"])
    assert powdo(*_WORKER, "--dvm", profile, "-p", "two").returncode == 0
    content = tomllib.loads((own_world / "profiles/two/powdo.toml").read_text())["worker"]
    assert content["relays"] == ["wss://relay.example"]


def test_an_operator_is_asked_for_kimai_and_the_first_worker(powdo, own_world: Path):
    """Kimai's token is read without an echo, tried, and kept in a file of its own; a worker is enrolled."""
    with Double() as kimai:
        kimai.kimai.people()
        answers = [
            ("the relays to listen at", "ws://127.0.0.1:9"),
            ("the Blossom servers", "http://127.0.0.1:9"),
            ("the database's URL", ""),
            ("Kimai's URL", kimai.url),
            ("write it?", "y"),
            ("Kimai's API token", "manager"),
            ("the first worker's npub", NPUB),
            ("the worker's name", "ana"),
            ("access key", ""),
        ]
        done = answered(powdo, "init", "operator", answers=answers, streams=True)
        assert done.status == 0, done.terminal
        assert "knows the token as manager's" in done.terminal
        token = own_world / "kimai.token"
        assert (token.read_text(), _mode(token)) == ("manager\n", 0o600)
        assert b"ana" in powdo("users", "list").stdout
        again = answered(powdo, "init", "operator", answers=[], streams=True)
    assert again.status == 0, again.terminal
    told = re.search(r"tell workers: (nprofile1\w+)", done.terminal)
    assert told is not None
    assert decode_nprofile(told[1]).relays == ("ws://127.0.0.1:9",)


def test_a_servers_admin_api_has_a_secret(powdo, own_world: Path):
    """The secret is made once, private, where the relay's configuration looks for it."""
    assert powdo("init", "server", "--relay", "wss://r.example").returncode == 0
    secret = own_world / "relay-admin.secret"
    content = tomllib.loads((own_world / "powdo.toml").read_text())
    assert content["relay"]["admin_secret_file"] == str(secret)
    assert (len(secret.read_text().strip()), _mode(secret)) == (64, 0o600)
    before = secret.read_text()
    assert powdo("init", "server").returncode == 0
    assert secret.read_text() == before
