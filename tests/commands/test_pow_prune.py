"""`powdo pow prune`: what is over goes, and the books balance before, between and after."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from powdo.adapters.database.pow_books import Account, Books
from powdo.nips.bech32 import encode_npub
from tests.faults.harness import Kill, measure
from tests.faults.world import Side
from tests.parts import needed

SEEDS = max(2, int(os.environ.get("POWDO_FAULT_SEEDS", "20")) // 2)
ANA, BOB = "a" * 64, "b" * 64
OLD, YOUNG = 7, 3
_DAY = 86_400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a service's folder: jobs of a hundred days ago, of today, and one that is open since then."""
    made = tmp_path / "pow"
    made.mkdir(mode=0o700)
    with books_in(made) as books:
        for pubkey in (ANA, BOB):
            books.credit(pubkey, 10**6, "invoice")
        for number in range(OLD + YOUNG):
            pubkey = (ANA, BOB)[number % 2]
            assert books.begin(f"job-{number}", "s", pubkey, 2000, "r") is None
            books.end(f"job-{number}", charged=(None, 500, 0)[number % 3], result=(None, "{}")[number % 2])
        assert books.begin("open", "s", ANA, 2000, "r") is None
        with books._database.write() as connection:
            for name in [f"job-{number}" for number in range(OLD)] + ["open"]:
                connection.exec_driver_sql(
                    "UPDATE pow_job SET begun_at = begun_at - ?, ended_at = ended_at - ? WHERE id = ?",
                    (100 * _DAY, 100 * _DAY, name),
                )
    return made


@contextmanager
def books_in(folder: Path) -> Iterator[Books]:
    """Return the books in *folder*."""
    with closing(Books(f"sqlite:///{folder}/pow.sqlite")) as books:
        yield books


def accounts(folder: Path) -> list[Account]:
    """Return the accounts in *folder*, whose books balance."""
    with books_in(folder) as books:
        assert books.audit() == []
        return books.accounts()


def left(folder: Path) -> int:
    """Return how many jobs that are over stand in the books."""
    with books_in(folder) as books:
        return len(books.past(int(time.time()) + 60))


def test_what_is_long_over_goes(powdo, folder: Path) -> None:
    """Shown first, then told job by job; accounts and their check say what they said."""
    data = ("--data", str(folder))
    before = powdo("pow", "accounts", "--check", "--json", *data).stdout
    shown = powdo("pow", "prune", "-n", "--json", *data)
    assert shown.returncode == 0 and left(folder) == OLD + YOUNG
    table = powdo("pow", "prune", "-n", *data).stdout.decode()
    assert table.split()[:2] == ["job", "npub"] and table.count("npub1") == OLD
    done = powdo("pow", "prune", "--json", *data)
    assert (done.returncode, done.stdout) == (0, shown.stdout)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == OLD and left(folder) == YOUNG
    assert {row["npub"] for row in rows} == {encode_npub(ANA), encode_npub(BOB)}
    first = next(row for row in rows if row["job"] == "job-1")
    assert (first["fee"], first["charged"], first["state"]) == (2.0, 0.5, "done")
    assert first["begin"] <= first["end"] < "2100" and first["end"].endswith("Z")
    again = powdo("pow", "prune", "--json", *data)
    assert (again.returncode, again.stdout, again.stderr) == (0, b"", b"")
    checked = powdo("pow", "accounts", "--check", "--json", *data)
    assert (checked.returncode, checked.stdout) == (0, before)
    with books_in(folder) as books:
        assert books.recover("s") == 1, "a job under way stays, however old"


def test_ages(powdo, folder: Path) -> None:
    """An age in days is taken; less than one, or books that are not there, are refused."""
    data = ("--data", str(folder))
    short = powdo("pow", "prune", "--older-than", "23h", *data)
    assert short.returncode == 2 and b"a day at least" in short.stderr
    assert powdo("pow", "prune", "--older-than", "101d", *data).returncode == 0
    assert left(folder) == OLD + YOUNG
    done = powdo("pow", "prune", "--older-than", "99d", "-v", *data)
    assert done.returncode == 0 and f"forgot {OLD} jobs".encode() in done.stderr and left(folder) == YOUNG
    missing = powdo("pow", "prune", "--data", str(folder / "nowhere"))
    assert missing.returncode == 66


def test_output_that_cannot_be_written_is_74(powdo, folder: Path) -> None:
    """Into a full device what went is not told, and the books balance."""
    before = accounts(folder)
    with Path("/dev/full").open("wb") as full:
        done = powdo("pow", "prune", "--json", "--data", str(folder), stdout=full)
    assert done.returncode == 74
    assert accounts(folder) == before


def test_killed_anywhere_the_books_balance(folder: Path, tmp_path: Path) -> None:
    """At any call or moment: no account has changed, all or none has gone, and the next run ends it."""
    needed("strace")
    side = Side(tmp_path)
    command = ("pow", "prune", "--json", "--data")
    before = accounts(folder)
    shutil.copytree(folder, tmp_path / "usual")
    usual = measure(side, (*command, str(tmp_path / "usual")))
    assert left(tmp_path / "usual") == YOUNG
    killed = 0
    for seed in range(SEEDS):
        kill = Kill.draw(random.Random(seed), usual)
        copy = tmp_path / f"{seed}"
        shutil.copytree(folder, copy)
        process = side.start(*command, str(copy), before=kill.before, stdout=subprocess.DEVNULL)
        timer = kill.arm(process)
        process.wait(60)
        if timer is not None:
            timer.cancel()
            timer.join()
        assert process.returncode in (0, -signal.SIGKILL, 128 + signal.SIGKILL)
        killed += process.returncode != 0
        assert accounts(copy) == before
        assert left(copy) in (YOUNG, OLD + YOUNG)
        side.text(*command, str(copy))
        assert accounts(copy) == before and left(copy) == YOUNG
    assert killed
