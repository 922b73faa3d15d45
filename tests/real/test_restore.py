"""Backups as docs/operating.md has them, drilled: what was lost is put back, and the line goes on."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.parts import needed
from tests.sides import DAY, Side, deliver, export

_CONFIG, _STATE, _DATA = ".config/powdo", ".local/state/powdo", ".local/share/powdo"


@dataclass
class Line:
    """A worker and an operator whose servers run."""

    worker: Side
    operator: Side

    def bundle(self, hour: int) -> dict[str, object]:
        """Capture and deliver the work of *hour*; return what `ingest` says of it."""
        found = export(self.worker.folder, hour)
        self.worker.ok("capture", "--activity", str(found), "--no-screenshots", "--since", DAY)
        (row,) = deliver(self.worker, self.operator).splitlines()
        told: dict[str, object] = json.loads(row)
        return told


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """Return a line with one bundle at the operator's."""
    for name in ("worker", "operator", "public"):
        (tmp_path / name).mkdir(mode=0o700)
    worker, operator = (Side(tmp_path / name, master_key=None) for name in ("worker", "operator"))
    public = Side(tmp_path / "public")
    data = str(tmp_path / "public/data")
    with (
        public.serving("relay", "serve", "--data", f"{data}/relay", "--open") as relay,
        public.serving("blossom", "serve", "--data", f"{data}/blossom", "--open") as blossom,
    ):
        places = ("--relay", f"ws://127.0.0.1:{relay}", "--blossom", f"http://127.0.0.1:{blossom}", "--yes")
        operator.ok("init", "operator", *places)
        dvm = operator.ok("keys", "show", "dvm").decode().strip()
        worker.ok("init", "worker", "--user", "ana", "--dvm", dvm, *places)
        identity, access = (
            worker.ok("keys", "show", name).decode().strip() for name in ("ana", "ana-access")
        )
        operator.ok("users", "add", identity, "--name", "ana", "--access", access)
        made = Line(worker, operator)
        assert made.bundle(9)["sequence"] == 1
        yield made


def _back_up(side: Side, database: str, copy: Path) -> None:
    """Copy what the table of the documentation names: the database by its own backup, the rest as files."""
    (copy / _STATE).mkdir(parents=True)
    source, target = side.folder / _STATE / database, copy / _STATE / database
    subprocess.run([needed("sqlite3"), str(source), f".backup {target}"], check=True)
    for folder in (_CONFIG, _DATA):
        shutil.copytree(side.folder / folder, copy / folder)
    for folder in ("outbox", "bundles"):
        if (side.folder / _STATE / folder).is_dir():
            shutil.copytree(side.folder / _STATE / folder, copy / _STATE / folder)


def _lose_and_restore(side: Side, copy: Path) -> None:
    for folder in (_CONFIG, _STATE, _DATA):
        shutil.rmtree(side.folder / folder)
        shutil.copytree(copy / folder, side.folder / folder)


def test_an_operator_is_restored(line: Line, tmp_path: Path) -> None:
    """Database, evidence, keys and configuration come back: all is verified, and the next bundle comes in."""
    _back_up(line.operator, "dvm.sqlite", tmp_path / "copy")
    _lose_and_restore(line.operator, tmp_path / "copy")
    verified = [json.loads(row) for row in line.operator.ok("verify", "--json").splitlines()]
    assert [row["ok"] for row in verified if row["type"] == "verified"] == [True]
    assert line.bundle(10)["sequence"] == 2
    assert line.operator.run("verify").returncode == 0


def test_a_worker_is_restored(line: Line, tmp_path: Path) -> None:
    """The outbox knows the chain's next number again: nothing is missing, and nothing is there twice."""
    _back_up(line.worker, "outbox.sqlite", tmp_path / "copy")
    _lose_and_restore(line.worker, tmp_path / "copy")
    assert line.bundle(10)["sequence"] == 2
    assert line.operator.run("verify").returncode == 0
