"""`powdo init --systemd` and `--cron`, with stand-ins for systemctl and crontab that note what they hear."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from powdo.commands.init import services
from powdo.errors import UsageError
from powdo.run import Run

_SYSTEMCTL = """#!/bin/sh
echo "$*" >>"$CALLS"
exit ${SYSTEMCTL_STATUS:-0}
"""
_CRONTAB = """#!/bin/sh
case $1 in
-l) [ -e "$TABLE" ] || { echo "no crontab for you" >&2; exit 1; }; [ -r "$TABLE" ] && cat "$TABLE" ;;
-) cat >"$TABLE.new" && mv "$TABLE.new" "$TABLE" ;;
esac
"""


@pytest.fixture
def tools(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which systemctl and crontab are ours."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("systemctl", _SYSTEMCTL), ("crontab", _CRONTAB)):
        script = folder / name
        script.write_text(text)
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "TABLE": str(tmp_path / "table"),
    }


def _init(powdo: Any, env: dict[str, str], *flags: str) -> subprocess.CompletedProcess[bytes]:
    done: subprocess.CompletedProcess[bytes] = powdo(
        "init", "worker", "--user", "ana", "--yes", *flags, env=env
    )
    assert done.returncode == 0, done.stderr
    return done


def test_a_workers_units(powdo: Any, own_world: Path, tools: dict[str, str]) -> None:
    """The units lie where the user's manager looks, lead to this powdo, and their timers are enabled."""
    _init(powdo, tools, "--systemd")
    folder = own_world / "home/.config/systemd/user"
    unit = (folder / "powdo-capture.service").read_text()
    program = Path(powdo.command[0]).parent / "powdo"
    assert f"ExecStart={program} capture -q" in unit
    assert not list(folder.glob("powdo-relay*"))
    reload, enable = Path(tools["CALLS"]).read_text().splitlines()
    assert reload == "--user daemon-reload"
    assert enable.startswith("--user enable --now powdo-")
    assert "powdo-capture.timer" in enable
    assert ".service" not in enable
    (folder / "powdo-capture.service").write_text("mine\n")
    done = _init(powdo, tools, "--systemd")
    assert (folder / "powdo-capture.service").read_text() == "mine\n"
    assert b"powdo-capture.service' is another one and was left alone" in done.stderr


def test_a_manager_that_does_not_answer(powdo: Any, tools: dict[str, str]) -> None:
    """What systemctl refuses is told with the command to run; the set-up stands."""
    done = _init(powdo, tools | {"SYSTEMCTL_STATUS": "1"}, "--systemd")
    assert b"hint: run: systemctl --user enable --now powdo-" in done.stderr


def test_units_of_a_profile_are_refused(powdo: Any, tools: dict[str, str]) -> None:
    """The units know one configuration; a profile's are for a person to write."""
    done = powdo("init", "worker", "--user", "ana", "--systemd", "-p", "two", env=tools)
    assert done.returncode == 2
    assert not Path(tools["CALLS"]).exists()


def test_the_crontab_keeps_what_else_is_in_it(powdo: Any, tools: dict[str, str]) -> None:
    """Our lines come once, however often it is run; those of the person stay."""
    table = Path(tools["TABLE"])
    table.write_text("5 4 * * * theirs")
    for _ in range(2):
        _init(powdo, tools, "--cron")
        text = table.read_text()
        assert text.startswith("5 4 * * * theirs\n# powdo begins\n")
        assert text.count("powdo-client capture") == 1
        assert text.endswith("# powdo ends\n")
    assert f"\nPATH={Path(powdo.command[0]).parent}:/usr/local/bin:" in text
    table.unlink()
    _init(powdo, tools, "--cron")
    assert table.read_text().startswith("# powdo begins\n")


def test_a_crontab_that_cannot_be_read_is_not_replaced(powdo: Any, tools: dict[str, str]) -> None:
    """An error other than `no crontab` ends it before anything is written."""
    broken = Path(tools["PATH"].partition(":")[0]) / "crontab"
    broken.write_text('#!/bin/sh\n[ "$1" = - ] && cat >"$TABLE"\necho "not allowed" >&2\nexit 1\n')
    done = powdo("init", "worker", "--user", "ana", "--yes", "--cron", env=tools)
    assert (done.returncode, b"not allowed" in done.stderr) == (73, True)
    assert not Path(tools["TABLE"]).exists()


def test_system_units_want_root_and_their_own_configuration(
    own_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator's units are root's, and read /etc/powdo; who runs it otherwise is told how."""
    run = Run("powdo init operator")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="installed by root"):
        services.install(run, "operator", systemd=True, cron=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(services, "_programs", lambda: Path("/root/venv/bin"))
    with pytest.raises(UsageError, match="services cannot see"):
        services.install(run, "operator", systemd=True, cron=False)
    monkeypatch.setattr(services, "_programs", lambda: Path("/opt/powdo/bin"))
    with pytest.raises(UsageError, match="the services read") as caught:
        services.install(run, "operator", systemd=True, cron=False)
    assert "POWDO_CONFIG=/etc/powdo/powdo.toml" in str(caught.value.hint)


@pytest.mark.parametrize("side", ["operator", "server"])
def test_system_units_are_written_and_enabled(
    side: str,
    own_world: Path,
    tmp_path: Path,
    tools: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Services that have no timer are enabled themselves, the others by their timers."""
    for name, value in tools.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(services, "_check_system", lambda run, programs: None)
    monkeypatch.setattr(services, "_programs", lambda: Path("/opt/powdo/bin"))
    monkeypatch.setattr(services, "_SYSTEM", tmp_path / "system")
    services.install(Run(f"powdo init {side}"), side, systemd=True, cron=False)
    written = {path.name for path in (tmp_path / "system").iterdir()}
    enabled = set(Path(tools["CALLS"]).read_text().splitlines()[1].split()[2:])
    assert enabled == {
        name for name in written if name.endswith(".timer") or f"{Path(name).stem}.timer" not in written
    }
    wanted = {"operator": "powdo-listen.service", "server": "powdo-relay.service"}[side]
    assert wanted in enabled
    assert "ExecStart=/opt/powdo/bin/" in (tmp_path / "system" / wanted).read_text()
