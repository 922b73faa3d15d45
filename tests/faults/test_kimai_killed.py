"""`powdo kimai-sync` killed by SIGKILL anywhere: run again, each block is in Kimai once."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from powdo.adapters.database import Store
from tests.faults.harness import Kill, measure
from tests.faults.world import Side
from tests.kimai_double import Double
from tests.parts import need
from tests.worked import add

SEEDS = max(1, int(os.environ.get("POWDO_FAULT_SEEDS", "20")) // 4)
_SYNC = ("kimai-sync", "--pending")
_RULE = """
[kimai]
url = "{url}"

[[rule]]
name = "website"
editor_project = "website"
customer = "Initech"
project = "Website"
activity = "Development"
tags = ["code"]
description = "Website"
"""


class Books:
    """A worker with three blocks, and a Kimai that has none of them yet."""

    def __init__(self, folder: Path, kimai: Double) -> None:
        folder.mkdir(mode=0o700)
        self.side = Side(folder, {"POWDO_KIMAI_TOKEN": "alice"})
        self.side.state.mkdir(mode=0o700)
        config = folder / "powdo.toml"
        config.write_text(_RULE.format(url=kimai.url))
        config.chmod(0o600)
        store = Store(f"sqlite:///{self.side.state / 'dvm.sqlite'}")
        worker = store.enroll("ana", pubkeys=["11" * 32])
        add(store, worker, "code", (0, 60), (120, 180), (240, 300))
        store.close()


@pytest.fixture
def kimai() -> Iterator[Double]:
    """Yield a Kimai that knows what the rule names."""
    with Double() as double:
        double.kimai.people()
        double.kimai.website()
        yield double


def _rows(kimai: Double) -> list[tuple[object, ...]]:
    return sorted((row.begin, row.end) for row in kimai.kimai.rows.values())


def test_a_killed_sync_makes_no_duplicate(tmp_path: Path, kimai: Double) -> None:
    """Whatever instant it dies at, the next runs end as one undisturbed run does, and POST nothing twice."""
    need(shutil.which("strace"), "strace")
    usual = measure(Books(tmp_path / "calm", kimai).side, _SYNC)
    expected = _rows(kimai)
    assert len(expected) == 3
    killed = 0
    for seed in range(SEEDS):
        draw = random.Random(seed)
        kimai.kimai.rows.clear()
        side = Books(tmp_path / f"seed-{seed}", kimai).side
        for _ in range(2):
            kill = Kill.draw(draw, usual)
            process = side.start(
                *_SYNC, before=kill.before,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            timer = kill.arm(process)
            status = process.wait(60)
            if timer:
                timer.cancel()
                timer.join()
            killed += status in (-signal.SIGKILL, 128 + signal.SIGKILL)
        _settle(side)
        assert _rows(kimai) == expected, seed
        markers = [row.description for row in kimai.kimai.rows.values()]
        assert len(set(markers)) == 3, (seed, markers)
        assert '"created"' not in side.text(*_SYNC)
    assert killed >= SEEDS // 2


def _settle(side: Side) -> None:
    """Run the sync until it ends well; one whose POST was lost may have to wait a moment."""
    for _ in range(5):
        with side.start(
            *_SYNC, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            _, told = process.communicate(timeout=60)
        if process.returncode == 0:
            return
        assert process.returncode == 75, told
        time.sleep(1)
    raise AssertionError(told)
