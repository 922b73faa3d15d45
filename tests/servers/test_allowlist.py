from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from powdo.errors import ConfigurationError
from powdo.servers.allowlist import Allowlist

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
    """A key given at start is on the list, is never written, and cannot be removed."""
    listed = Allowlist(tmp_path / "allowlist.json", [C])
    assert C in listed
    assert not listed.add(C)
    assert not listed.remove(C)
    assert _on(listed) == [C]
    assert not (tmp_path / "allowlist.json").exists()


def test_a_change_by_another_process_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is read again when another process has replaced it; a broken one changes nothing."""
    monkeypatch.setattr("powdo.servers.allowlist._LOOK_AGAIN", 0.0)
    path = tmp_path / "allowlist.json"
    one, other = Allowlist(path), Allowlist(path)
    one.add(A)
    assert A in other
    other.add(B)
    assert _on(one) == [A, B]
    path.write_text("{")
    assert _on(one) == [A, B]
    path.write_text(json.dumps({"pubkeys": [C]}))
    assert _on(one) == [C]


def test_a_list_in_memory_needs_no_file() -> None:
    """Without a path the list lives as long as the process."""
    listed = Allowlist(None, [A])
    assert listed.add(B)
    assert _on(listed) == [A, B]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pubkeys":["A"]}', '{"pubkeys":[1]}'])
def test_a_file_that_is_no_list_is_refused(tmp_path: Path, text: str) -> None:
    """A server does not start with a list it cannot read."""
    path = tmp_path / "allowlist.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError):
        Allowlist(path)
    with pytest.raises(ConfigurationError):
        Allowlist(None, ["npub1"])
