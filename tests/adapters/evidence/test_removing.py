from __future__ import annotations

import os
import time
from collections.abc import Collection
from hashlib import sha256
from pathlib import Path

import pytest

from powdo.adapters.evidence import Evidence, Remover, place
from powdo.errors import OutputError


class Rows:
    """Which files are needed; *late* are from the second time on that somebody asks."""

    def __init__(self, needed: Collection[str] = (), late: Collection[str] = ()) -> None:
        self.needed = set(needed)
        self.late = set(late)
        self.asked = 0

    def __call__(self, names: Collection[str]) -> set[str]:
        """Return those of *names* that are needed."""
        self.asked += 1
        return (self.needed | (self.late if self.asked > 1 else set())) & set(names)


def put(folder: Path, data: bytes, age: float = 0) -> str:
    """Return the sha256 of a new file in *folder*."""
    name = sha256(data).hexdigest()
    path = place(folder, name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (time.time() - age, time.time() - age))
    return name


def left(folder: Path) -> list[str]:
    """Return the names of all files in *folder*, those put aside too."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_what_no_row_needs_goes(tmp_path: Path) -> None:
    """A file goes unless a row needs it; one that is not there is no error."""
    gone, kept = put(tmp_path, b"gone"), put(tmp_path, b"kept")
    remover = Remover(tmp_path, Rows([kept]))
    assert remover.remove([gone, kept, "0" * 64]) == {gone: 4}
    assert left(tmp_path) == [kept]


def test_a_file_that_is_needed_by_now_goes_back(tmp_path: Path) -> None:
    """A row that was committed while the file was put aside finds it in its place again."""
    name = put(tmp_path, b"same screen")
    assert Remover(tmp_path, Rows(late=[name])).remove([name]) == {}
    assert place(tmp_path, name).read_bytes() == b"same screen"
    assert left(tmp_path) == [name]


def test_a_file_that_came_again_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds its file missing after the commit puts its own there, and that one stays."""
    name = put(tmp_path, b"same screen")
    rows = Rows(late=[name])
    remover = Remover(tmp_path, rows)
    settle = remover._settle

    def meanwhile(names: list[str]) -> dict[str, int]:
        put(tmp_path, b"same screen")
        return settle(names)

    monkeypatch.setattr(remover, "_settle", meanwhile)
    assert remover.remove([name]) == {}
    assert left(tmp_path) == [name]


def test_what_a_killed_run_put_aside_is_settled(tmp_path: Path) -> None:
    """The next run destroys what is put aside and not needed, and puts back what is."""
    names = [put(tmp_path, data) for data in (b"one", b"two")]
    (tmp_path / ".removed").mkdir()
    for name in names:
        place(tmp_path, name).rename(tmp_path / ".removed" / name)
    gone = [batch for batch in Remover(tmp_path, Rows(names[:1])).leftovers() if batch]
    assert gone == [{names[1]: 3}]
    assert place(tmp_path, names[0]).read_bytes() == b"one"
    assert left(tmp_path) == [names[0]]


def test_what_no_row_ever_spoke_of_goes_after_a_day(tmp_path: Path) -> None:
    """A file whose run was killed before its commit stays for a day, and goes then."""
    old, fresh, kept = (
        put(tmp_path, b"old", 90_000),
        put(tmp_path, b"fresh", 80_000),
        put(tmp_path, b"kept", 90_000),
    )
    assert list(Remover(tmp_path, Rows([kept])).leftovers()) == [{old: 3}]
    assert left(tmp_path) == sorted([fresh, kept])


def test_bytes_are_overwritten_where_that_is_asked_for(tmp_path: Path) -> None:
    """Before a file goes for good its bytes are zeros, which another name of it shows."""
    name = put(tmp_path, b"x" * 3_000_000)
    (tmp_path / "other").hardlink_to(place(tmp_path, name))
    assert Remover(tmp_path, Rows(), overwrite=True).remove([name]) == {name: 3_000_000}
    assert (tmp_path / "other").read_bytes() == bytes(3_000_000)


def test_a_folder_that_cannot_be_changed_is_told(tmp_path: Path) -> None:
    """A failure of the disk is an error with its reason."""
    name = put(tmp_path, b"one")
    (tmp_path / ".removed").mkdir()
    (tmp_path / ".removed" / name).mkdir()
    with pytest.raises(OutputError, match="cannot remove files"):
        Remover(tmp_path, Rows()).remove([name])


def test_the_work_of_ingest_is_left_alone(tmp_path: Path) -> None:
    """What runs have in their work folders is nobody else's, however old."""
    evidence = Evidence(tmp_path)
    with evidence.workspace() as work:
        (work / ("a" * 64)).write_text("mine")
        os.utime(work / ("a" * 64), (0, 0))
        assert list(Remover(tmp_path, Rows()).leftovers()) == []
        assert (work / ("a" * 64)).exists()
    evidence.close()
