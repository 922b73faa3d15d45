"""The contract of storages, kept by the folder and by one in memory; and what is the folder's own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest

from powdo.errors import BusyError, CannotCreateError
from powdo.servers.blossom.storage import Folder, Incoming, Storage
from tests.blossom_server import sha
from tests.servers.blossom.storage_contract import StorageContract, keep


class Memory:
    """A storage that keeps no promise of durability."""

    def __init__(self) -> None:
        self._blobs: dict[str, int] = {}
        self._changing: set[str] = set()
        self._cut_off: set[str] = set()

    def receive(self) -> Incoming:
        return _Received(self._blobs)

    def open(self, sha256: str) -> BinaryIO | None:
        if sha256 not in self._blobs:
            return None
        return open(os.dup(self._blobs[sha256]), "rb", buffering=0)  # noqa: PTH123  # a descriptor

    def size(self, sha256: str) -> int | None:
        return os.fstat(self._blobs[sha256]).st_size if sha256 in self._blobs else None

    def remove(self, sha256: str) -> None:
        if sha256 in self._blobs:
            os.close(self._blobs.pop(sha256))

    def set_aside(self, sha256: str) -> None:
        self.remove(sha256)

    def names(self) -> Iterator[str]:
        yield from list(self._blobs)

    def free(self) -> int:
        return shutil.disk_usage("/dev/shm").free

    @contextlib.contextmanager
    def changing(self, sha256: str) -> Iterator[None]:
        if sha256 in self._changing:
            raise BusyError(sha256)
        self._changing.add(sha256)
        self._cut_off.add(sha256)
        try:
            yield
            self._cut_off.remove(sha256)
        finally:
            self._changing.remove(sha256)

    def settle(self, has_row: Callable[[str], bool]) -> None:
        for sha256 in self._cut_off - self._changing:
            if not has_row(sha256):
                self.remove(sha256)
            self._cut_off.remove(sha256)

    def close(self) -> None:
        for sha256 in list(self._blobs):
            self.remove(sha256)


class _Received:
    def __init__(self, blobs: dict[str, int]) -> None:
        self._blobs = blobs
        self._descriptor = os.memfd_create("blob")

    def write(self, data: bytes) -> None:
        os.write(self._descriptor, data)

    def hasten(self, last: Sequence[bytes]) -> None:
        for data in last:
            self.write(data)

    def expect(self, sha256: str) -> None:
        pass

    def commit(self, sha256: str, last: Sequence[bytes] = ()) -> None:
        for data in last:
            self.write(data)
        if sha256 in self._blobs:
            os.close(self._blobs[sha256])
        self._blobs[sha256] = os.dup(self._descriptor)

    def discard(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class TestMemory(StorageContract):
    """The contract can be kept without a folder."""

    @pytest.fixture
    def storage(self) -> Iterator[Storage]:
        memory = Memory()
        yield memory
        memory.close()


class TestFolder(StorageContract):
    """The contract, kept by the folder that the server uses."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        folder = Folder(tmp_path)
        folder.prepare()
        return folder


def _folder(path: Path) -> Folder:
    folder = Folder(path)
    folder.prepare()
    return folder


def test_blobs_lie_by_their_hash_and_what_was_set_aside_stays(tmp_path: Path) -> None:
    """blobs/ab/cd/SHA256, private; what fsck puts aside is kept each time."""
    folder = _folder(tmp_path)
    for data in (b"one", b"one"):
        name = keep(folder, data)
        path = tmp_path / "blobs" / name[:2] / name[2:4] / name
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o777 == 0o600
        folder.set_aside(name)
    assert sorted(path.name for path in (tmp_path / "damaged").iterdir()) == [name, f"{name}.1"]
    (tmp_path / "blobs" / "ab" / "note.txt").write_text("not a blob")
    assert list(folder.names()) == []


def test_a_directory_that_has_gone_is_made_again(tmp_path: Path) -> None:
    """Who removes empty directories beside a server costs one blob its place, and no more."""
    folder = _folder(tmp_path)
    for hastened in (False, True):
        name = keep(folder, b"one")
        folder.remove(name)
        (tmp_path / "blobs" / name[:2] / name[2:4]).rmdir()
        incoming = folder.receive()
        if hastened:
            incoming.hasten([b"one"])
        with pytest.raises(FileNotFoundError):
            incoming.commit(name, [b"one"])
        incoming.discard()
    assert folder.size(keep(folder, b"one")) == 3
    assert list((tmp_path / "incoming").iterdir()) == []


def test_another_process_holds_a_blob_until_it_ends(tmp_path: Path) -> None:
    """The note of a killed process is free at once, and tells what to settle."""
    folder = _folder(tmp_path)
    name = keep(folder, b"held")
    program = (
        "import sys, pathlib; from powdo.servers.blossom.storage import Folder\n"
        "with Folder(pathlib.Path(sys.argv[1])).changing(sys.argv[2]): print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(BusyError), folder.changing(name):
            pass
        folder.settle(lambda _: False)
        assert folder.size(name) == 4
        process.kill()
        process.wait()
    folder.settle(lambda _: False)
    assert folder.size(name) is None
    assert list((tmp_path / "incoming").iterdir()) == []


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    """A file where the folder should be is 73."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotCreateError, match="cannot keep blobs in"):
        Folder(tmp_path / "file").prepare()
    assert sha(b"") not in list(Folder(tmp_path / "nowhere").names())
