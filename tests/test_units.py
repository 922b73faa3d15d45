"""The systemd units and crontab lines that ship with powdo."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.parts import needed

UNITS = sorted((ROOT / "contrib/systemd").iterdir())
SYSTEM = [unit for unit in UNITS if unit.suffix == ".service" and "DynamicUser" in unit.read_text()]
USER = [unit for unit in UNITS if unit not in SYSTEM and unit.suffix == ".service"]


def _command_lines() -> list[str]:
    """Return every call of a program of ours in units and crontabs."""
    units = "\n".join(path.read_text() for path in UNITS)
    lines = re.findall(r"(?m)^Exec\w+=(.*)$", units)
    for crontab in (ROOT / "contrib/cron").iterdir():
        lines += [line for line in crontab.read_text().splitlines() if not line.startswith("#")]
    found = re.findall(r"(?:/usr/local/bin/)?(powdo(?:-client|-server)?(?: [-\w.%/:]+)+)", "\n".join(lines))
    return sorted({line for line in found if not line.startswith("powdo:")})


@pytest.mark.parametrize("line", [line for line in _command_lines() if line.startswith("powdo ")])
def test_the_commands_in_units_and_crontabs_exist(
    powdo: Callable[..., subprocess.CompletedProcess[bytes]], line: str
) -> None:
    """Each command and each flag of it is one that powdo has."""
    done = powdo(*shlex.split(line)[1:], "--help")
    assert done.returncode == 0, done.stderr


def test_the_scripts_in_units_and_crontabs_exist() -> None:
    """powdo-client and powdo-server are called with words they know."""
    for line in _command_lines():
        program, word = line.split()[:2]
        if program == "powdo":
            continue
        assert re.search(rf"^{word}\)", (ROOT / "bin" / program).read_text(), re.MULTILINE), line


def test_units_are_valid(tmp_path: Path) -> None:
    """Systemd finds nothing to complain of, once the programs are installed."""
    for unit in UNITS:
        text = re.sub(r"(?m)^(ExecStart=)\S+", r"\1/bin/true", unit.read_text())
        (tmp_path / unit.name).write_text(re.sub(r"(?m)^Documentation=.*\n", "", text))
    for units, flags in ((SYSTEM, []), (USER, ["--user"])):
        names = [str(tmp_path / unit.name) for unit in units]
        done = subprocess.run(
            [needed("systemd-analyze"), *flags, "verify", *names], capture_output=True, text=True
        )
        complaints = [line for line in done.stderr.splitlines() if "powdo-" in line]
        assert complaints == []


@pytest.mark.parametrize("unit", SYSTEM, ids=lambda unit: unit.name)
def test_system_units_are_shut_in(unit: Path) -> None:
    """Systemd's own measure of exposure is at most 1.5."""
    done = subprocess.run(
        [needed("systemd-analyze"), "security", "--offline=true", "--threshold=15", str(unit)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-300:]


@pytest.mark.parametrize("unit", USER, ids=lambda unit: unit.name)
def test_user_units_are_shut_in(unit: Path, tmp_path: Path) -> None:
    """What runs in a person's session is exposed by 2.9 at most: it has to reach screen and network."""
    done = subprocess.run(
        [needed("systemd-analyze"), "--user", "security", "--offline=true", "--threshold=29", str(unit)],
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
