"""A disk that cannot be written: whatever would change keys or users says so, and nothing is half-written."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.parts import need

Powdo = Any
MASTER = {"NSEC_MASTER_KEY": "0f" * 32}


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make *folder* a file system that cannot be written, with what is in it."""
    need(os.geteuid() == 0 and shutil.which("mount"), "the right to mount")
    bound = subprocess.run(["mount", "--bind", str(folder), str(folder)], capture_output=True)
    need(bound.returncode == 0, "the right to mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files below *folder*."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_keys_on_a_read_only_disk(powdo: Powdo, own_world: Path, tmp_path: Path) -> None:
    """What reads goes on, what writes ends in 73 or 74 with the file's name, and every byte is as before."""
    assert powdo("keys", "new", "ana", env=MASTER).returncode == 0
    new = tmp_path / "new.key"
    new.write_text("a5" * 32)
    new.chmod(0o600)
    nsec = powdo("keys", "export", "ana", "--yes", env=MASTER).stdout
    before = contents(own_world / "data")
    with read_only(own_world / "data"):
        for arguments in (
            ("keys", "new", "bob"),
            ("keys", "delete", "ana", "--yes"),
            ("keys", "rotate-master", "--new-key-file", str(new)),
            ("event", "note", "--user", "zoe", "--create-key", "hi"),
        ):
            done = powdo(*arguments, env=MASTER)
            assert done.returncode in (73, 74), (arguments, done.stderr)
            assert done.stdout == b""
            assert b"keystore" in done.stderr
            assert b"Traceback" not in done.stderr
        for arguments in (("keys", "audit"), ("keys", "list"), ("event", "note", "--user", "ana", "hi")):
            assert powdo(*arguments, env=MASTER).returncode == 0
        again = powdo("keys", "import", "ana", "--fd", "0", stdin=nsec, env=MASTER)
        assert again.returncode == 0, again.stderr
    assert contents(own_world / "data") == before


def test_users_and_events_on_a_read_only_disk(powdo: Powdo, own_world: Path) -> None:
    """Without a place for state no user is made, and no event is sent that could not be kept."""
    (own_world / "powdo.toml").write_text('[identity]\nuser = "dvm"\n[dvm]\nrelays = ["ws://127.0.0.1:9"]\n')
    (own_world / "powdo.toml").chmod(0o600)
    assert powdo("keys", "new", "dvm", env=MASTER).returncode == 0
    note = powdo("event", "note", "--user", "dvm", "hi", env=MASTER).stdout
    before = contents(own_world / "data")
    (own_world / "state").mkdir(exist_ok=True, mode=0o700)
    with read_only(own_world / "state"):
        for arguments, stdin in (
            (("users", "add", "--name", "ana", "--create-key"), b""),
            (("publish",), note),
        ):
            done = powdo(*arguments, stdin=stdin, env=MASTER)
            assert done.returncode in (73, 74), (arguments, done.stderr)
            assert done.stdout == b""
    assert contents(own_world / "data") == before
