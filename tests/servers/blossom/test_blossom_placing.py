"""How a file comes to lie on disk under its name: the same in C and in Python."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from powdo.servers.blossom import placing
from tests.parts import need

Place = Callable[..., None]


@pytest.fixture(params=["C", "Python"])
def place(request: pytest.FixtureRequest) -> Place:
    """Return one of the two ways."""
    if request.param == "Python":
        return placing.place_in_python
    need(placing.place is not placing.place_in_python, "the C extension powdo._disk")
    return placing.place


def test_a_file_gets_its_content_and_its_name(place: Place, tmp_path: Path) -> None:
    """All pieces in their order, private, in a directory that is made or was there; nothing else is left."""
    for name, pieces in (("a", [b"one", b"", b"two" * 100_000]), ("b", []), ("c", (b"x",))):
        temporary, directory = tmp_path / "temporary", tmp_path / "folder"
        place(-1, pieces, str(temporary), str(directory / name), str(directory), str(tmp_path))
        assert (directory / name).read_bytes() == b"".join(pieces)
        assert (directory / name).stat().st_mode & 0o777 == 0o600
        assert directory.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "c", "folder"]


def test_what_was_begun_is_ended_and_stays_open(place: Place, tmp_path: Path) -> None:
    """An open descriptor gets the pieces after what it has, and is its owner's to close."""
    file = placing.create(str(tmp_path / "begun"))
    os.write(file, b"one, ")
    place(file, [b"two"], str(tmp_path / "begun"), str(tmp_path / "ended"), str(tmp_path), None)
    os.write(file, b", three")
    os.close(file)
    assert (tmp_path / "ended").read_bytes() == b"one, two, three"


def test_the_name_may_come_later(place: Place, tmp_path: Path) -> None:
    """The content, the directory and the name can be had one by one."""
    temporary, directory = tmp_path / "temporary", tmp_path / "folder"
    place(-1, [b"content"], str(temporary), None, None, None)
    for _ in range(2):
        place(-1, None, "", None, str(directory), str(tmp_path))
    assert (temporary.read_bytes(), list(directory.iterdir())) == (b"content", [])
    place(-1, None, str(temporary), str(directory / "name"), str(directory), None)
    assert (directory / "name").read_bytes() == b"content"
    assert not temporary.exists()


@pytest.mark.parametrize(
    ("temporary", "directory", "parent", "number"),
    [
        ("taken", "folder", None, errno.EEXIST),
        ("nowhere/new", "folder", None, errno.ENOENT),
        ("new", "folder/folder", None, errno.ENOENT),
        ("new", "nowhere/folder", "nowhere", errno.ENOENT),
        ("new", "taken/folder", "taken", errno.ENOTDIR),
    ],
)
def test_what_cannot_be_is_told(
    place: Place, tmp_path: Path, temporary: str, directory: str, parent: str | None, number: int
) -> None:
    """With the system's own words and a path, and nothing gets a name."""
    (tmp_path / "taken").write_text("as it was")
    (tmp_path / "folder").mkdir()
    made = None if parent is None else str(tmp_path / parent)
    folder = tmp_path / directory
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        place(-1, [b"content"], str(tmp_path / temporary), str(folder / "name"), str(folder), made)
    assert caught.value.errno == number
    assert str(caught.value.filename).startswith(str(tmp_path))
    assert (tmp_path / "taken").read_text() == "as it was"
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_disk_that_is_full_is_told(place: Place, tmp_path: Path) -> None:
    """Before anything is renamed."""
    (tmp_path / "temporary").write_text("")
    file = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match="No space left"):
        place(file, [b"x"], str(tmp_path / "temporary"), str(tmp_path / "name"), str(tmp_path), None)
    os.close(file)
    assert not (tmp_path / "name").exists()


def test_a_write_that_takes_less_is_gone_on_with(tmp_path: Path) -> None:
    """A file that may not grow further takes what fits, and then says so."""
    program = (
        "import resource, signal, sys\n"
        "from powdo.servers.blossom import placing\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "for number, place in enumerate((placing.place, placing.place_in_python)):\n"
        "    try:\n"
        "        name = f'{sys.argv[1]}/{number}'\n"
        "        place(-1, [b'x' * 70_000] * 2, name, name + '.named', sys.argv[1], None)\n"
        "    except OSError as error:\n"
        "        print(error.errno)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == [str(errno.EFBIG).encode()] * 2
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == {"0": 100_000, "1": 100_000}


def test_paths_need_not_be_text(place: Place, tmp_path: Path) -> None:
    """Names that are no UTF-8 are taken as everywhere in Python (PEP 383)."""
    folder = str(tmp_path) + "/\udcff"
    place(-1, [b"x"], folder + "t", folder + "/name", folder, str(tmp_path))
    assert Path(folder, "name").read_bytes() == b"x"


def test_wrong_arguments_are_refused(place: Place, tmp_path: Path) -> None:
    """Only bytes are written, and a name needs its directory; told before there is a file with a name."""
    for pieces in (["text"], [b"x", None], 5):
        with pytest.raises(TypeError):
            place(-1, pieces, str(tmp_path / "temporary"), str(tmp_path / "name"), str(tmp_path), None)
        (tmp_path / "temporary").unlink(missing_ok=True)
    for path, parent in ((str(tmp_path / "name"), None), (None, str(tmp_path))):
        with pytest.raises(TypeError, match="the directory"):
            place(-1, [b"x"], str(tmp_path / "temporary"), path, None, parent)
    assert list(tmp_path.iterdir()) == []
