"""The keystore in a file."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from powdo.adapters.keystore import Keystore
from powdo.errors import CannotCreateError, ConfigurationError, KeyRejectedError, OutputError
from tests.conftest import ROOT
from tests.custody.contract import MASTER, OTHER, CustodyContract, changed, nothing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the keystore is."""
    return tmp_path / "data" / "keystore.json"


@pytest.fixture
def store(path: Path) -> Keystore:
    """Return an empty keystore."""
    return Keystore(path)


class TestKeystore(CustodyContract):
    """The contract."""

    @pytest.fixture
    def again(self, path: Path) -> Callable[[], Keystore]:
        """Return what opens the same keystore anew."""
        return lambda: Keystore(path)

    @pytest.fixture
    def raw(self, path: Path) -> Callable[[], bytes]:
        """Return what reads all files in the directory."""
        return lambda: b"".join(file.read_bytes() for file in path.parent.iterdir())

    @pytest.fixture
    def tamper(self, path: Path) -> Callable[..., None]:
        """Return what changes parts of a record by hand."""

        def change(username: str, **parts: Any) -> None:
            content = json.loads(path.read_text())
            content["users"] = [
                changed(user, parts) if user["username"] == username else user for user in content["users"]
            ]
            path.write_text(json.dumps(content))

        return change


def test_only_its_owner_can_read_it(store: Keystore, path: Path) -> None:
    """The file is 0600 in a directory of 0700, and holds no nsec."""
    store.create("ana", MASTER)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert b"nsec1" not in path.read_bytes()
    assert sorted(json.loads(path.read_text())) == ["users", "v"]


def test_the_old_file_is_overwritten(store: Keystore, path: Path) -> None:
    """Who still has the old file open finds zeros in it once a key is deleted; a backup keeps its bytes."""
    store.create_all(["ana", "bob"], MASTER)
    with path.open("rb") as old:
        before = old.read()
        store.delete("ana")
        old.seek(0)
        assert old.read() == bytes(len(before))
    backup = path.with_name("backup.json")
    backup.hardlink_to(path)
    before = backup.read_bytes()
    store.delete("bob")
    assert backup.read_bytes() == before


def test_what_a_killed_run_left_is_overwritten(store: Keystore, path: Path) -> None:
    """A half-written file beside the keystore is gone, and its bytes zeros, with the next change."""
    store.create("ana", MASTER)
    left = path.with_name(".keystore.json.abcd1234")
    left.write_bytes(path.read_bytes())
    with left.open("rb") as held:
        store.create("bob", MASTER)
        assert not any(held.read())
    assert sorted(file.name for file in path.parent.iterdir()) == ["keystore.json", "keystore.lock"]


def test_unknown_keys_of_a_record_are_kept(store: Keystore, path: Path) -> None:
    """What another program has added to a record is still there after a change."""
    store.create_all(["ana", "bob"], MASTER)
    content = json.loads(path.read_text())
    content["users"][0]["note"] = content["users"][0]["nostr"]["note"] = "kept"
    path.write_text(json.dumps(content))
    store.rotate(MASTER, OTHER, nothing)
    record = store.delete("bob") and store.get("ana")
    assert (record["note"], record["nostr"]["note"]) == ("kept", "kept")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"users":{}}',
        b'{"users":[1]}',
        b'{"users":[{"username":"a"}]}',
        b'{"users":[{"username":"a","nostr":{}}]}',
        b"\xff",
        bytes(300),
        b'{"users":[{"username":"a","nostr":{"npub":"x"}},{"username":"a","nostr":{"npub":"y"}}]}',
    ],
)
def test_a_damaged_keystore_is_told(store: Keystore, path: Path, content: bytes) -> None:
    """A file that is no keystore is neither read nor written over."""
    path.parent.mkdir()
    path.write_bytes(content)
    for action in (
        store.records,
        lambda: store.get("ana"),
        lambda: store.create("ana", MASTER),
        lambda: store.delete("ana"),
        lambda: store.rotate(MASTER, OTHER, nothing),
    ):
        with pytest.raises(ConfigurationError, match="is damaged"):
            action()
    assert path.read_bytes() == content


def test_processes_that_create_at_once_lose_nothing(tmp_path: Path) -> None:
    """Six processes that each make keys at the same time leave all of them, each once."""
    path = tmp_path / "keystore.json"
    program = (
        "import sys; from pathlib import Path; from powdo.adapters.keystore import Keystore\n"
        "for n in range(5): Keystore(Path(sys.argv[1])).create(f'{sys.argv[2]}-{n}', bytes(range(32)))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path), f"user{number}"],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        for number in range(6)
    ]
    assert [process.wait(60) for process in processes] == [0] * 6
    names = [user["username"] for user in json.loads(path.read_text())["users"]]
    assert sorted(names) == sorted(f"user{number}-{n}" for number in range(6) for n in range(5))


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """Where nothing can be made, or the file cannot be read, that is said, and nothing is half-written."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotCreateError, match="cannot create"):
        Keystore(tmp_path / "file" / "keystore.json").create("ana", MASTER)
    with pytest.raises(CannotCreateError, match="cannot create"):
        Keystore(Path("/proc/nowhere/keystore.json")).create("ana", MASTER)
    (tmp_path / "keystore.json").mkdir()
    with pytest.raises(KeyRejectedError, match="cannot read the keystore"):
        Keystore(tmp_path / "keystore.json").records()


def test_a_disk_that_ends_midway_leaves_the_old_keystore(
    store: Keystore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error while the new file is written leaves the old one whole and nothing beside it."""
    store.create("ana", MASTER)
    before = path.read_bytes()

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for action in (
        lambda: store.create("bob", MASTER),
        lambda: store.delete("ana"),
        lambda: store.rotate(MASTER, OTHER, nothing),
    ):
        with pytest.raises(OutputError, match="No space left on device"):
            action()
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert sorted(file.name for file in path.parent.iterdir()) == ["keystore.json", "keystore.lock"]
    assert Keystore(path).unlock("ana", MASTER).pubkey
