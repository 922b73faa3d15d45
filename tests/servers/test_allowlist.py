"""The list of public keys, by one process and by several."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from powdo.errors import BusyError, ConfigurationError, OutputError
from powdo.servers import allowlist
from powdo.servers.allowlist import Allowlist, Replaced
from tests.conftest import ROOT

A, B, C = "a" * 64, "b" * 64, "c" * 64


def _on(listed: Allowlist) -> list[str]:
    """Return which of our keys are on the list."""
    return [key for key in (A, B, C) if key in listed]


def test_keys_added_survive_a_restart_and_removed_ones_do_not(tmp_path: Path) -> None:
    """What add and remove did is there in a new process."""
    path = tmp_path / "allowlist.json"
    listed = Allowlist(path, [C])
    assert listed.add(A)
    assert not listed.add(A)
    assert listed.add(B)
    assert listed.remove(A)
    assert not listed.remove(A)
    again = Allowlist(path)
    assert _on(again) == [B]
    assert A not in again
    assert B in again
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_keys_of_the_command_line_stay(tmp_path: Path) -> None:
    """A key given at start is on the list whatever the file says, and cannot be removed."""
    path = tmp_path / "allowlist.json"
    listed = Allowlist(path, [C])
    assert C in listed
    assert not listed.remove(C)
    assert not path.exists()
    assert not listed.add(C)
    assert _on(Allowlist(path)) == [C]  # for those who share the file
    assert not listed.remove(C)
    assert listed.replace([A]) == Replaced(added=1, removed=0, total=2)
    assert _on(listed) == [A, C]
    assert _on(Allowlist(path)) == [A]


def test_replacing_says_what_it_changed(tmp_path: Path) -> None:
    """The figures are of what is let in: before, added, removed and total add up."""
    path = tmp_path / "allowlist.json"
    listed = Allowlist(path)
    assert listed.replace([A, B, A]) == Replaced(added=2, removed=0, total=2)
    written = path.stat().st_ino
    assert listed.replace([B, A]) == Replaced(added=0, removed=0, total=2)
    assert path.stat().st_ino == written
    assert listed.replace([B, C]) == Replaced(added=1, removed=1, total=2)
    assert _on(Allowlist(path)) == [B, C]
    assert listed.replace([]) == Replaced(added=0, removed=2, total=0)
    assert json.loads(path.read_bytes()) == {"pubkeys": []}


def test_a_change_by_another_process_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is read again when another process has replaced it; a broken one changes nothing."""
    monkeypatch.setattr("powdo.servers.allowlist._LOOK_AGAIN", 0.0)
    path = tmp_path / "allowlist.json"
    told: list[str] = []
    one, other = Allowlist(path, warn=told.append), Allowlist(path)
    one.add(A)
    assert A in other
    other.add(B)
    assert _on(one) == [A, B]
    assert told == []
    path.write_text("{")
    assert _on(one) == [A, B]
    assert len(told) == 1
    path.write_text(json.dumps({"pubkeys": [C]}))
    assert _on(one) == [C]
    path.unlink()
    assert _on(one) == [C]


def test_a_change_that_changes_nothing_learns_what_others_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is told that a key is on the list no longer lets it in no longer, before the next look."""
    path = tmp_path / "allowlist.json"
    one, other = Allowlist(path), Allowlist(path)
    one.add(A)
    monkeypatch.setattr("powdo.servers.allowlist._LOOK_AGAIN", 1e9)
    assert A not in other
    assert not other.add(A)
    assert A in other
    one.remove(A)
    assert not other.remove(A)
    assert A not in other


def test_a_file_half_edited_by_hand_is_not_written_over(tmp_path: Path) -> None:
    """A change fails while the file cannot be read, and neither file nor memory change."""
    path = tmp_path / "allowlist.json"
    listed = Allowlist(path)
    listed.add(A)
    path.write_text('{"pubkeys": [')
    for change in (lambda: listed.add(B), lambda: listed.remove(A), lambda: listed.replace([C])):
        with pytest.raises(ConfigurationError, match="cannot read"):
            change()
    assert path.read_text() == '{"pubkeys": ['
    assert _on(listed) == [A]


def test_a_change_that_cannot_be_written_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk is full the list in memory stays as it is on the disk."""
    path = tmp_path / "allowlist.json"
    listed = Allowlist(path)
    listed.add(A)

    def fsync(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fsync)
        for change in (lambda: listed.add(B), lambda: listed.remove(A), lambda: listed.replace([])):
            with pytest.raises(OutputError, match="No space left"):
                change()
    assert _on(listed) == _on(Allowlist(path)) == [A]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["allowlist.json", "allowlist.json.lock"]


def test_changes_by_several_processes_are_all_kept(tmp_path: Path) -> None:
    """Two processes that add keys at the same time lose none of them."""
    path = tmp_path / "allowlist.json"
    program = (
        "import sys; from pathlib import Path; from powdo.servers.allowlist import Allowlist\n"
        "path, start = Path(sys.argv[1]), int(sys.argv[2])\n"
        "listed = Allowlist(path)\n"
        "for number in range(start, start + 40): assert listed.add(f'{number:064x}')\n"
    )
    arguments = [[sys.executable, "-c", program, str(path), str(start)] for start in (0, 1000)]
    running = [subprocess.Popen(each, env=os.environ | {"PYTHONPATH": str(ROOT)}) for each in arguments]
    assert [process.wait(60) for process in running] == [0, 0]
    assert len(Allowlist(path).pubkeys()) == 80


def test_who_holds_the_lock_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change waits for another process's, but not for ever."""
    monkeypatch.setattr("powdo.servers.allowlist._PATIENCE", 0.05)
    listed = Allowlist(tmp_path / "allowlist.json")
    with (tmp_path / "allowlist.json.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BusyError):
            listed.add(A)
    assert listed.add(A)


def test_a_look_in_the_middle_of_a_change_does_not_undo_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader who has read the file just before it was changed keeps what the change has set."""
    monkeypatch.setattr("powdo.servers.allowlist._LOOK_AGAIN", 0.0)
    path = tmp_path / "allowlist.json"
    listed = Allowlist(path)
    Allowlist(path).add(A)  # by another process, so that the next look reads
    read = allowlist._read

    def slow(file: Path) -> frozenset[str]:
        found = read(file)
        monkeypatch.setattr(allowlist, "_read", read)
        listed.remove(A)
        return found

    monkeypatch.setattr(allowlist, "_read", slow)
    assert _on(listed) == []
    monkeypatch.setattr(listed, "_refresh", lambda: None)
    assert _on(listed) == []


def test_a_list_in_memory_needs_no_file() -> None:
    """Without a path the list lives as long as the process."""
    listed = Allowlist(None, [A])
    assert listed.add(B)
    assert _on(listed) == [A, B]
    assert listed.replace([C]) == Replaced(added=1, removed=1, total=2)
    assert listed.pubkeys() == {A, C}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pubkeys":["A"]}', '{"pubkeys":[1]}'])
def test_a_file_that_is_no_list_is_refused(tmp_path: Path, text: str) -> None:
    """A server does not start with a list it cannot read."""
    path = tmp_path / "allowlist.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError):
        Allowlist(path)
    with pytest.raises(ConfigurationError):
        Allowlist(None, ["npub1"])
