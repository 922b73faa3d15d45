from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest

from powdo.adapters.evidence import Evidence
from powdo.errors import CannotCreateError, OutputError

ROOT = Path(__file__).resolve().parents[2]


def test_a_file_lies_under_its_hash(tmp_path: Path) -> None:
    """What is kept can be found by its sha256, and nobody else can enter the folders."""
    evidence = Evidence(tmp_path / "evidence")
    name = sha256(b"data").hexdigest()
    with evidence.workspace() as folder:
        (folder / "blob").write_bytes(b"data")
        target = evidence.keep(folder / "blob", name)
    assert target == tmp_path / "evidence" / name[:2] / name
    assert target.read_bytes() == b"data"
    folders = [path for path in (tmp_path / "evidence").rglob("*") if path.is_dir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}


def test_a_file_is_kept_once(tmp_path: Path) -> None:
    """The second copy changes nothing."""
    evidence = Evidence(tmp_path)
    name = sha256(b"data").hexdigest()
    for text in (b"data", b"DATA"):
        with evidence.workspace() as folder:
            (folder / "blob").write_bytes(text)
            evidence.keep(folder / "blob", name)
    assert evidence.path(name).read_bytes() == b"data"


def test_only_a_hash_names_a_file(tmp_path: Path) -> None:
    """No name can lead out of the folder."""
    with pytest.raises(ValueError, match="sha256"):
        Evidence(tmp_path).path("../" * 21 + "x")


def test_workspaces_leave_nothing(tmp_path: Path) -> None:
    """A workspace is empty after its block and gone with its run, one of a dead run with the next."""
    evidence = Evidence(tmp_path)
    with pytest.raises(RuntimeError), evidence.workspace() as folder:
        (folder / "x").write_bytes(b"x")
        raise RuntimeError
    old, new = tmp_path / ".work" / "old", tmp_path / ".work" / "new"
    for path in (old, new):
        (path / "in").mkdir(parents=True)
    os.utime(old, (time.time() - 90_000,) * 2)
    with evidence.workspace() as folder:
        assert list(folder.iterdir()) == []
    evidence.close()
    Evidence(tmp_path)
    assert [path.name for path in (tmp_path / ".work").iterdir()] == ["new"]


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A folder that is a file, and a file in the place of a folder, each are an error of ours."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CannotCreateError):
        Evidence(tmp_path / "file")
    evidence = Evidence(tmp_path)
    name = sha256(b"data").hexdigest()
    (tmp_path / name[:2]).rmdir()
    (tmp_path / name[:2]).write_bytes(b"")
    (tmp_path / "blob").write_bytes(b"data")
    with pytest.raises(OutputError):
        evidence.keep(tmp_path / "blob", name)


_WORK = """
import sys, time
from pathlib import Path
from powdo.adapters.evidence import Evidence
with Evidence(Path(sys.argv[1])).workspace() as folder:
    (folder / "plain").write_text("secret")
    print(folder.name, flush=True)
    time.sleep(60)
"""


def test_work_of_a_killed_run_goes_with_the_next_one(tmp_path: Path) -> None:
    """What lies open in a workspace stays while its run lives, and not a day longer than the run."""
    with subprocess.Popen([sys.executable, "-c", _WORK, tmp_path], cwd=ROOT, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        name = run.stdout.readline().decode().strip()
        Evidence(tmp_path)
        assert [path.name for path in (tmp_path / ".work").iterdir()] == [name]
        run.kill()
    Evidence(tmp_path)
    assert list((tmp_path / ".work").iterdir()) == []
