"""What shells complete: the committed scripts are those that powdo writes, and they work in real shells."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.parts import needed

SCRIPTS = {"bash": "bash/powdo", "zsh": "zsh/_powdo", "fish": "fish/powdo.fish"}
FOLDER = ROOT / "contrib/completions"


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_committed_script_is_what_powdo_writes(powdo: Any, shell: str) -> None:
    """A new version of click, or a change here, has the script written anew."""
    done = powdo(env={"_POWDO_COMPLETE": f"{shell}_source"})
    assert done.stdout == (FOLDER / SCRIPTS[shell]).read_bytes(), (
        f"_POWDO_COMPLETE={shell}_source powdo > contrib/completions/{SCRIPTS[shell]}"
    )


@pytest.fixture
def command(tmp_path: Path, powdo: Any) -> Path:
    """Return a folder with the command `powdo`, as it would be installed."""
    script = tmp_path / "bin" / "powdo"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {shlex.join(powdo.command)} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script.parent


def _environment(command: Path) -> dict[str, str]:
    return os.environ | {"PATH": f"{command}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def test_bash(command: Path) -> None:
    """Bash completes commands, flags' values and the names of keys."""
    program = f"""
        source {FOLDER}/bash/powdo
        ask() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _powdo_completion powdo
            echo "${{COMPREPLY[*]}}"; }}
        powdo keys new ana ben >/dev/null
        ask powdo kimai; ask powdo keys show ""; ask powdo report --by ac
    """
    done = subprocess.run(
        ["bash", "-c", program],
        env=_environment(command) | {"NSEC_MASTER_KEY": "0" * 63 + "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == ["kimai-sync", "ana ben", "activity"], done.stderr


def test_fish(command: Path) -> None:
    """Fish completes through its own way of asking."""
    asked = "complete -C 'powdo kimai'; complete -C 'powdo report --by ac'"
    done = subprocess.run(
        [needed("fish"), "--no-config", "-c", f"source {FOLDER}/fish/powdo.fish; {asked}"],
        env=_environment(command),
        capture_output=True,
        text=True,
    )
    offered = [line.partition("\t")[0] for line in done.stdout.splitlines()]
    assert offered == ["kimai-sync", "activity"], done.stderr


def test_zsh_reads_the_script() -> None:
    """The script is sound for zsh, and begins as compinit wants it."""
    path = FOLDER / "zsh/_powdo"
    assert subprocess.run([needed("zsh"), "-n", str(path)], capture_output=True).returncode == 0
    assert path.read_text().startswith("#compdef powdo\n")


def _offered(powdo: Any, *words: str, **env: str) -> list[str]:
    """Return the values that are offered for the last of *words*."""
    asked = {"_POWDO_COMPLETE": "bash_complete", "COMP_WORDS": shlex.join(("powdo", *words))}
    done = powdo(env=asked | {"COMP_CWORD": str(len(words))} | env)
    assert (done.returncode, done.stderr) == (0, b"")
    return [line.partition(",")[2] for line in done.stdout.decode().splitlines() if line]


def test_npubs_users_and_captures(powdo: Any, own_world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Npubs are those in custody, names those of keys, ids those of the outbox; a new name is not guessed."""
    monkeypatch.setenv("NSEC_MASTER_KEY", "0" * 63 + "1")
    npubs = powdo("keys", "new", "ana", "ana-access").stdout.decode().split()
    powdo("init", "worker", "--user", "ana", "--yes")
    export = own_world / "export.json"
    event = '{"timestamp":"2026-11-18T09:00:00Z","duration":60,"data":{"app":"Code"}}'
    export.write_text(
        f'{{"buckets":{{"w":{{"type":"currentwindow","client":"c","hostname":"h","events":[{event}]}}}}}}'
    )
    powdo("capture", "--activity", str(export), "--no-screenshots", "--since", "2026-11-18")
    (offered,) = _offered(powdo, "outbox", "show", "")
    assert offered in powdo("outbox", "list", "--json").stdout.decode()
    assert sorted(_offered(powdo, "wrap", "--to", "npub1")) == sorted(npubs)
    assert _offered(powdo, "keys", "show", "ana-") == ["ana-access"]
    assert _offered(powdo, "keys", "new", "a") == []
    assert _offered(powdo, "users", "add", "--timezone", "Europe/Berl") == ["Europe/Berlin"]


def test_an_operators_workers(powdo: Any, own_world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a DVM is, the names and keys of the enrolled are offered too, and no bundle where none is."""
    monkeypatch.setenv("NSEC_MASTER_KEY", "0" * 63 + "1")
    powdo("init", "operator", "--yes")
    ana, access = powdo("keys", "new", "x", "y").stdout.decode().split()
    powdo("users", "add", ana, "--name", "ana", "--access", access)
    assert "ana" in _offered(powdo, "users", "show", "")
    assert access in _offered(powdo, "blossom", "list", "--pubkey", access[:9])
    assert _offered(powdo, "extract", "") == []


def test_nothing_is_said_where_nothing_can_be_read(powdo: Any, own_world: Path) -> None:
    """A broken configuration or keystore leaves a shell without an offer, and without an error."""
    (own_world / "powdo.toml").write_text("nonsense")
    assert _offered(powdo, "keys", "show", "") == []
    assert not (own_world / "state").exists()


def test_completions_of_files(powdo: Any) -> None:
    """Files and folders are left to the shell."""
    for words, kind in ((("upload", "-c", ""), "file"), (("relay", "serve", "--data", ""), "dir")):
        env = {"_POWDO_COMPLETE": "bash_complete", "COMP_WORDS": shlex.join(("powdo", *words))}
        done = powdo(env=env | {"COMP_CWORD": str(len(words))})
        assert done.stdout.decode().startswith(f"{kind},"), sys.version
