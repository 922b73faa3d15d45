from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from powdo.commands.users import users
from powdo.errors import UsageError
from powdo.nips.bech32 import encode_npub
from tests.dvm import ANA, BEN, DVM

#: What is said of ana where [allow] names no relay.
NOT_IN = (
    "no relay was told to let 'ana' in: set url in [allow] and run `powdo allow sync`, "
    "or put their access key on its list by hand\n"
)
NOT_OUT = (
    "no relay was told to let 'ana' in no longer: set url in [allow] and run "
    "`powdo allow sync`, or take it off its list by hand\n"
)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep everything in a temporary folder."""
    for name in ("STATE", "DATA"):
        monkeypatch.setenv(f"POWDO_{name}_DIR", str(tmp_path / name))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("POWDO_CONFIG", raising=False)


def run(*arguments: str) -> None:
    """Run `powdo users` in this process."""
    users.main(list(arguments), standalone_mode=False)


def listed(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return what `users list --json` writes."""
    capfd.readouterr()
    run("list", "--json")
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def said(capfd: pytest.CaptureFixture[str]) -> str:
    """Return what was said to a person since the last look, without the name of the command."""
    return capfd.readouterr().err.partition(": ")[2]


def npub(key: Any) -> str:
    """Return the npub of *key*."""
    return encode_npub(key.pubkey)


def test_a_worker_is_enrolled(capfd: pytest.CaptureFixture[str]) -> None:
    """What `add` is told, `list` and `show` tell again, and success is silent but for the relay's list."""
    run("add", npub(ANA), "--name", "ana", "--access", npub(BEN), "--kimai-user", "3")
    assert said(capfd) == NOT_IN
    run("add", npub(DVM), "--name", "ana", "--timezone", "Europe/Berlin", "--day-start", "4h")
    assert capfd.readouterr() == ("", "")
    (row,) = listed(capfd)
    assert sorted(row.pop("npubs")) == sorted([npub(ANA), npub(DVM)])
    assert row == {
        "name": "ana",
        "access": [npub(BEN)],
        "kimai_user": 3,
        "timezone": "Europe/Berlin",
        "day_start": 14400,
        "removed": False,
    }
    run("show", "ana")
    assert "Europe/Berlin" in capfd.readouterr().out
    run("show", "ana", "--json")
    assert json.loads(capfd.readouterr().out)["kimai_user"] == 3
    run("list", "--no-headers")
    assert capfd.readouterr().out.startswith("ana")


def test_a_relay_that_nobody_tells_is_left_to_a_person(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without url in [allow] a line says so when a key comes, goes or comes back, unless it is unwanted."""
    add = ("add", npub(ANA), "--name", "ana")
    run(*add)
    assert capfd.readouterr() == ("", "")  # no access key: a relay needs to know nothing
    for arguments, told in (
        ((*add, "--access", npub(BEN)), NOT_IN),
        ((*add, "--access", npub(BEN)), NOT_IN),
        ((*add, "--kimai-user", "3"), ""),
        (("remove", "ana"), NOT_OUT),
        ((*add, "-n"), ""),
        (add, NOT_IN),
        (("remove", "ana", "-q"), ""),
        ((*add, "--quiet"), ""),
        (("remove", "ana", "--erase", "--yes"), NOT_OUT),
    ):
        run(*arguments)
        assert said(capfd) == told, arguments
    monkeypatch.setenv("NOSTR_ENABLED", "false")
    run(*add, "--access", npub(BEN))
    assert capfd.readouterr() == ("", "")


def test_a_removed_worker_stays_listed(capfd: pytest.CaptureFixture[str]) -> None:
    """`remove` only marks, and adding again enrolls again."""
    run("add", npub(ANA), "--name", "ana")
    run("remove", "ana")
    assert listed(capfd)[0]["removed"] is True
    run("add", "--name", "ana")
    assert listed(capfd)[0]["removed"] is False


def test_a_dry_run_writes_the_worker_and_keeps_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """With -n `add` and `remove` write what the worker would be; the list stays as it was, refusals too."""
    run("add", npub(ANA), "--name", "ana", "-n")
    shown = json.loads(capfd.readouterr().out)
    assert (shown["name"], shown["npubs"], shown["removed"]) == ("ana", [npub(ANA)], False)
    assert listed(capfd) == []
    run("add", npub(ANA), "--name", "ana")
    with pytest.raises(UsageError, match="belongs to the worker 'ana'"):
        run("add", npub(ANA), "--name", "ben", "--dry-run")
    capfd.readouterr()
    run("remove", "ana", "--dry-run")
    assert json.loads(capfd.readouterr().out)["removed"] is True
    assert listed(capfd)[0]["removed"] is False


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("add", "--name", "ana"), "no worker is called 'ana' yet"),
        (("add", "npub1nonsense", "--name", "ana"), "bech32"),
        (("add", npub(BEN), "--name", "ana"), "belongs to the worker 'ben'"),
        (("add", npub(ANA), "--name", "ana", "--access", npub(ANA)), "is an identity of 'ana'"),
        (("add", npub(ANA), "--name", "ana", "--timezone", "Mars/Olympus"), "is not a time zone"),
        (("add", npub(ANA), "--name", "ana", "--day-start", "25h"), "is a day or more"),
        (("add", npub(ANA), "--name", "ana", "--day-start", "noon"), "--day-start"),
        (("add", npub(ANA), "--name", " "), "cannot name a worker"),
        (("add", npub(ANA), "--name", "a\x1bb"), "cannot name a worker"),
        (("show", "nobody"), "no worker is called 'nobody'"),
        (("remove", "nobody"), "no worker is called 'nobody'"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: tuple[str, ...], part: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A wrong argument is told, and enrolls nobody."""
    run("add", npub(BEN), "--name", "ben")
    with pytest.raises(UsageError, match=part):
        run(*arguments)
    assert [row["name"] for row in listed(capfd)] == ["ben"]


def test_an_nsec_is_not_echoed() -> None:
    """Who gives a secret key by mistake does not see it again in the message."""
    nsec = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5"
    with pytest.raises(UsageError) as caught:
        run("add", nsec, "--name", "ana")
    assert nsec not in f"{caught.value.message} {caught.value.hint}"
