from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest

from powdo.adapters.evidence import Remover
from powdo.commands.extract import extract
from powdo.commands.prune import prune
from powdo.commands.verify import verify
from powdo.errors import InputMissingError, OutputError
from tests.evidence_room import Room, any_room, room, server, template
from tests.postgresql import postgresql

__all__ = ["any_room", "postgresql", "room", "server", "template"]

DAY = 86_400


def run(capfd: pytest.CaptureFixture[str], *flags: str) -> list[dict[str, Any]]:
    """Return what `powdo prune --json` writes; it is silent besides."""
    capfd.readouterr()
    done = prune.main(["--json", *flags], standalone_mode=False)
    out, err = capfd.readouterr()
    assert (done.console.status, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


def keep(any_room: Room, rules: str) -> None:
    """Write *rules* into [dvm]."""
    with (any_room.dvm.folder / "powdo.toml").open("a") as file:
        file.write(rules)


def age(any_room: Room, sequence: int, days: int) -> None:
    """Let the bundle *sequence* have been taken in so many days ago, before there were receipts."""
    any_room.put(sequence, ingested_at=int(time.time()) - days * DAY, statement=None)


def test_without_rules_nothing_goes(any_room: Room, capfd: pytest.CaptureFixture[str]) -> None:
    """By default evidence is kept for good."""
    before = any_room.dvm.evidence()
    age(any_room, 1, 5000)
    assert run(capfd) == []
    assert any_room.dvm.evidence() == before


def test_what_is_over_goes_and_verify_knows(any_room: Room, capfd: pytest.CaptureFixture[str]) -> None:
    """Blobs and screenshots go at their own ages, and what is left still proves the rest."""
    keep(any_room, 'retain_blobs = "30d"\nretain_screenshots = "10d"\n')
    age(any_room, 1, 40)
    age(any_room, 3, 20)
    files = len(any_room.dvm.evidence())
    dry = run(capfd, "-n")
    assert len(any_room.dvm.evidence()) == files
    told = run(capfd)
    assert told == dry
    assert [(row["what"], row["sequence"], row["files"]) for row in told] == [
        ("blob", 1, 1),
        ("screenshots", 1, 1),
        ("screenshots", 3, 1),
    ]
    assert not any_room.blob(1).exists() and any_room.blob(3).exists()
    assert len(any_room.dvm.evidence()) == files - 3
    assert run(capfd) == []
    capfd.readouterr()
    assert verify.main(["--json"], standalone_mode=False).console.status == 0
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [one.get("absent") for one in found[:3]] == [
        ["blob", "screenshots", "receipt"],
        ["screenshots", "receipt"],
        [],
    ]
    with pytest.raises(InputMissingError, match="was removed at"):
        extract.main([any_room.sent.parcels[1].message.x, "out"], standalone_mode=False)


def test_a_run_that_ends_midway_loses_no_file_from_sight(
    any_room: Room, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marked first, a file that a killed run has left is no claim of any row, and goes with the next run."""
    keep(any_room, 'retain_blobs = "30d"\n')
    age(any_room, 1, 40)
    os.utime(any_room.blob(1), (0, 0))

    def killed(self: Remover, names: object) -> dict[str, int]:
        raise OutputError("no more")

    with monkeypatch.context() as patch:
        patch.setattr(Remover, "remove", killed)
        with pytest.raises(OutputError):
            prune.main([], standalone_mode=False)
    assert any_room.row(1).blob_removed_at is not None
    assert any_room.blob(1).exists()
    assert verify.main([], standalone_mode=False).console.status == 0
    assert run(capfd) == []
    assert not any_room.blob(1).exists()


def test_a_table_is_shown_of_what_would_go(any_room: Room, capfd: pytest.CaptureFixture[str]) -> None:
    """For people -n shows a table."""
    keep(any_room, 'retain_screenshots = "1d"\n')
    age(any_room, 4, 2)
    capfd.readouterr()
    prune.main(["-n"], standalone_mode=False)
    out, _ = capfd.readouterr()
    assert out.splitlines()[0].split() == [
        "what",
        "worker",
        "device",
        "sequence",
        "begin",
        "ingested",
        "files",
    ]
    assert len(out.splitlines()) == 3
