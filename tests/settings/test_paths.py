"""Where things lie, and how private files are made."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from powdo.errors import CannotCreateError, ConfigurationError, KeyRejectedError, OutputError
from powdo.settings.paths import (
    check_profile,
    config_path,
    data_dir,
    half_written,
    private_dir,
    read_secret_file,
    state_dir,
    sweep,
    write_private,
)
from tests.conftest import ROOT


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_flag_beats_powdo_variables_beat_systemd_beats_the_home(own_world: Path):
    """Each place is looked up in that order."""
    home = own_world / "home"
    named = {
        "POWDO_CONFIG": "/c/powdo.toml",
        "POWDO_STATE_DIR": "/s",
        "POWDO_DATA_DIR": "/d",
        "STATE_DIRECTORY": "/var:/x",
    }
    systemd = {"STATE_DIRECTORY": "/var/lib/powdo:/x"}
    assert config_path("/f.toml", None, named) == Path("/f.toml")
    assert config_path(None, None, named) == Path("/c/powdo.toml")
    assert config_path(None, None, {}) == home / ".config/powdo/powdo.toml"
    assert state_dir(None, named) == Path("/s")
    assert state_dir(None, systemd) == Path("/var/lib/powdo")
    assert state_dir(None, {}) == home / ".local/state/powdo"
    assert data_dir(None, named) == Path("/d")
    assert data_dir(None, systemd) == Path("/var/lib/powdo/data")
    assert data_dir(None, {}) == home / ".local/share/powdo"


def test_profiles_never_meet(own_world: Path):
    """A profile has a configuration, a state and data of its own, wherever the variables point."""
    named = {"POWDO_CONFIG": "/c/powdo.toml", "POWDO_STATE_DIR": "/s", "POWDO_DATA_DIR": "/d"}
    for environment in (named, {}, {"STATE_DIRECTORY": "/var/lib/powdo"}):
        for place in (lambda *rest: config_path(None, *rest), state_dir, data_dir):
            paths = {place(profile, environment) for profile in (None, "a", "b")}
            assert len(paths) == 3
    assert config_path(None, "a", named) == Path("/c/profiles/a/powdo.toml")


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "-", "a b", "a\n", "x" * 65])
def test_a_profile_cannot_lead_elsewhere(name):
    """A profile's name is letters, digits, - and _."""
    with pytest.raises(ConfigurationError):
        check_profile(name)
    assert check_profile("acme-2") == "acme-2"


def test_directories_are_private_from_the_first(tmp_path: Path):
    """Each directory that is made is 0700; those that were there are left as they are."""
    there = tmp_path / "there"
    there.mkdir(mode=0o755)
    private_dir(there / "a" / "b")
    assert [_mode(path) for path in (there, there / "a", there / "a" / "b")] == [0o755, 0o700, 0o700]
    (tmp_path / "file").touch()
    with pytest.raises(CannotCreateError, match="cannot create"):
        private_dir(tmp_path / "file" / "a")


def test_private_files_are_written_whole(tmp_path: Path):
    """A file appears or is replaced at once, 0600 whatever it was, and nothing else is left."""
    path = tmp_path / "a" / "secret"
    write_private(path, b"one")
    path.chmod(0o644)
    write_private(path, b"two")
    assert (path.read_bytes(), _mode(path)) == (b"two", 0o600)
    with pytest.raises(CannotCreateError, match="exists already"):
        write_private(path, b"three", replace=False)
    assert path.read_bytes() == b"two"
    write_private(path.with_name("other"), b"four", replace=False)
    assert sorted(item.name for item in path.parent.iterdir()) == ["other", "secret"]


def test_a_disk_that_is_full_leaves_the_old_file(tmp_path: Path, monkeypatch):
    """What cannot be put on disk does not take the place of what was there."""
    path = tmp_path / "secret"
    write_private(path, b"old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match="No space left"):
        write_private(path, b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.glob("*secret*")] == ["secret"]


@pytest.mark.parametrize("call", ["fsync", "replace", "link", "unlink"])
@pytest.mark.parametrize("replace", [True, False])
def test_a_kill_at_any_step_leaves_the_old_or_the_new_file(tmp_path: Path, call, replace):
    """Killed before any system call of the write, a file holds all of one content or is not there."""
    path = tmp_path / "secret"
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from powdo.settings.paths import write_private\n"
        f"real = os.{call}\n"
        f"os.{call} = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"write_private(Path(sys.argv[1]), b'new' * 1000, replace={replace})\n"
    )
    if replace:
        write_private(path, b"old")
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode in (-signal.SIGKILL, 0)
    content = path.read_bytes() if path.exists() else None
    assert content in ({b"old", b"new" * 1000} if replace else {None, b"new" * 1000})
    assert all(_mode(item) == 0o600 for item in tmp_path.iterdir() if item.is_file())


def test_only_its_owner_may_read_a_secret_file(tmp_path: Path):
    """A secret that group or others can read is refused, with what to do."""
    path = tmp_path / "token"
    path.write_text(" secret \n")
    for mode in (0o640, 0o604, 0o620, 0o777):
        path.chmod(mode)
        with pytest.raises(KeyRejectedError, match="others can read") as caught:
            read_secret_file(path)
        assert caught.value.hint == f"run: chmod 600 '{path}'"
    path.chmod(0o400)
    assert read_secret_file(path) == "secret"
    path.chmod(0o600)
    path.write_bytes(b"\xff")
    for wrong in (path, tmp_path / "no", tmp_path):
        with pytest.raises(KeyRejectedError):
            read_secret_file(wrong)


def test_sweep_removes_only_what_was_half_written(tmp_path: Path) -> None:
    """Half-written files of killed runs go, finished ones stay."""
    path = tmp_path / "one.zip"
    path.write_bytes(b"whole")
    orphans = {half_written(path), half_written(path)}
    assert len(orphans) == 2
    for orphan in orphans:
        orphan.write_bytes(b"half")
    (tmp_path / "notes.tmp").write_bytes(b"mine")
    sweep(tmp_path)
    assert {item.name for item in tmp_path.iterdir()} == {"one.zip", "notes.tmp"}
    sweep(tmp_path / "nowhere")
