from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from powdo.commands.extract import extract
from powdo.commands.ingest import ingest
from powdo.errors import (
    BadRecordError,
    CannotCreateError,
    InputMissingError,
    OutputError,
    PeerProtocolError,
    PowdoError,
    UsageError,
)
from powdo.records import encode_line
from tests.bundles import EVENT, sample
from tests.dvm import BlobServer, Operator, Parcel, blob_server, operator, parcel

Open = Callable[[str], Path]


@pytest.fixture
def dvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Operator, BlobServer]]:
    """Make this an operator's machine, beside a blob server."""
    with blob_server() as server:
        made = operator(tmp_path, server)
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made, server


@pytest.fixture
def stored(dvm: tuple[Operator, BlobServer], tmp_path: Path) -> Parcel:
    """Return a parcel that was taken in, the first of two."""
    operated, server = dvm
    sent = [
        parcel(operated.folder, server, sample(capture_id=f"20261118T1{n}-x", sequence=n)) for n in (1, 2)
    ]
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"".join(encode_line(one.wrapped()) for one in sent))
    assert ingest.main([str(file)], standalone_mode=False).console.status == 0
    return sent[0]


def run(name: str, folder: Path) -> None:
    """Run `powdo extract` in this process."""
    extract.main([name, str(folder)], standalone_mode=False)


def files(folder: Path) -> dict[str, bytes]:
    """Return the contents of the files below *folder*."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_bundle_is_opened_by_each_of_its_names(
    stored: Parcel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The capture's id, the rumor's and the start of the blob's sha256 all mean it; success is silent."""
    capfd.readouterr()
    for number, name in enumerate(("20261118T11-x", stored.message.x, stored.message.x[:12])):
        run(name, tmp_path / f"out{number}")
        found = files(tmp_path / f"out{number}")
        assert json.loads(found.pop("manifest.json"))["id"] == "20261118T11-x"
        assert json.loads(found.pop("proof.json"))["event"]["kind"] == 78
        assert found == {
            "buckets/0.jsonl": EVENT % 1 + EVENT % 2,
            "screenshots/0.png": b"\x89PNG looks like this",
        }
    assert capfd.readouterr() == ("", "")
    for path in (tmp_path / "out0", *(tmp_path / "out0").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_the_ids_that_ingest_tells_name_it_too(
    dvm: tuple[Operator, BlobServer], stored: Parcel, tmp_path: Path
) -> None:
    """The ids of rumor and gift wrap mean the bundle they brought."""
    store = dvm[0].store()
    kept = store.bundle(stored.message.x)
    store.close()
    for name in (kept.rumor, kept.wrap):
        run(name, tmp_path / name)
        assert (tmp_path / name / "manifest.json").is_file()


def test_a_name_must_mean_one_bundle(stored: Parcel, tmp_path: Path) -> None:
    """What means none, or several, is refused and told; nothing is made."""
    with pytest.raises(UsageError, match="no bundle is called 'c9'"):
        run("c9", tmp_path / "out")
    with pytest.raises(UsageError, match="no bundle is called 'aw-watcher-0'"):
        run("aw-watcher-0", tmp_path / "out")  # a bucket's id
    assert not (tmp_path / "out").exists()


def test_a_start_that_fits_two_is_refused(
    dvm: tuple[Operator, BlobServer], stored: Parcel, tmp_path: Path
) -> None:
    """The start of a sha256 must be that of one bundle only."""
    import sqlalchemy as sa

    store = dvm[0].store()
    with store.database.write() as connection:
        for number in (1, 2):
            connection.execute(
                sa.text("UPDATE bundle SET sha256 = :x WHERE id = :id"),
                {"x": f"ab{number:062x}", "id": number},
            )
    store.close()
    with pytest.raises(UsageError, match="more than one bundle"):
        run("ab", tmp_path / "out")


@pytest.mark.parametrize("there", ["file", "empty", "link"])
def test_nothing_is_written_over(stored: Parcel, tmp_path: Path, there: str) -> None:
    """A file, an empty folder or a dangling link of that name stays what it is."""
    target = tmp_path / "out"
    if there == "file":
        target.write_text("mine")
    elif there == "empty":
        target.mkdir()
    else:
        target.symlink_to("nowhere")
    with pytest.raises(CannotCreateError, match="there already"):
        run(stored.message.x, target)
    assert target.is_symlink() or target.is_file() or not list(target.iterdir())


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "link"])
def test_a_damaged_blob_leaves_nothing(
    dvm: tuple[Operator, BlobServer], stored: Parcel, tmp_path: Path, damage: str
) -> None:
    """What is not the blob that came in is refused, and no folder of it is left."""
    blob = dvm[0].folder / "data" / "evidence" / stored.message.x[:2] / stored.message.x
    if damage == "flip":
        _flip(blob)
    elif damage == "cut":
        blob.write_bytes(blob.read_bytes()[:-1])
    else:
        blob.rename(tmp_path / "elsewhere")
        if damage == "link":
            blob.symlink_to(tmp_path / "elsewhere")
    place = tmp_path / "place"
    place.mkdir()
    kinds: tuple[type[PowdoError], ...] = (PeerProtocolError, BadRecordError, InputMissingError)
    with pytest.raises(kinds):
        run(stored.message.x, place / "out")
    assert list(place.iterdir()) == []


def test_a_full_disk_leaves_nothing(stored: Parcel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file cannot be written the folder goes, and the run ends with 74."""
    import errno

    from powdo.adapters.archive_reader import unpacking

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unpacking, "fsync_path", full)
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(OutputError, match="No space left"):
        run(stored.message.x, place / "out")
    assert list(place.iterdir()) == []


def test_without_a_database_none_is_made(
    dvm: tuple[Operator, BlobServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look where nothing was ever taken in says so, and makes nothing."""
    monkeypatch.setenv("POWDO_STATE_DIR", str(tmp_path / "other"))
    with pytest.raises(InputMissingError, match="there is no database"):
        run("ab", tmp_path / "out")
    assert not (tmp_path / "other").exists()
