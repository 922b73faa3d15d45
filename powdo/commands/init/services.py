"""Timers and services of one side: systemd units or crontab lines, as they ship, with this powdo's own path.

Rules: a unit that is there already is left alone; in a crontab only what stands between our marks is
replaced; what a person has to run, where we may not or cannot, is told word for word.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from powdo.errors import CannotCreateError, UsageError
from powdo.run import Run

_SHIPPED = "/usr/local/bin"
_BEGIN, _END = "# powdo begins", "# powdo ends"
_SYSTEM = Path("/etc/systemd/system")
_UNITS = {
    "worker": ("powdo-capture", "powdo-send"),
    "operator": ("powdo-listen", "powdo-receipts", "powdo-kimai-sync", "powdo-allow-sync", "powdo-prune"),
    "server": ("powdo-relay", "powdo-blossom", "powdo-blossom-prune", "powdo-relay-backup"),
}
_TIMEOUT = 60


def install(run: Run, side: str, *, systemd: bool, cron: bool) -> None:
    """Install what *side* (worker, operator, server) needs. Raises: UsageError, CannotCreateError."""
    if systemd and run.config_choice[1] is not None:
        raise UsageError(
            "units are for one profile only", hint="copy them by hand and give each its POWDO_CONFIG"
        )
    if systemd:
        _units(run, side)
    if cron:
        _crontab(run, side)


def shipped(kind: str) -> Path:
    """Return the folder with the units (`systemd`) or crontabs (`cron`) that came with powdo."""
    for folder in (Path(sys.prefix) / "share/powdo" / kind, Path(__file__).parents[3] / "contrib" / kind):
        if folder.is_dir():
            return folder
    raise CannotCreateError(
        f"powdo was installed without its {kind} files", hint="take them from contrib/ of its source"
    )


def _programs() -> Path:
    """Return the folder with the programs powdo and powdo-client. Raises: UsageError."""
    beside = Path(sys.executable).parent
    found = beside / "powdo" if (beside / "powdo").exists() else shutil.which("powdo")
    if found is None:
        raise UsageError("the program powdo is not installed", hint="install it: pip install .")
    return Path(found).parent


# --- systemd ---


def _units(run: Run, side: str) -> None:
    user = side == "worker"
    folder = Path.home() / ".config/systemd/user" if user else _SYSTEM
    programs = _programs()
    if not user:
        _check_system(run, programs)
    made = [
        source.name
        for source in sorted(shipped("systemd").iterdir())
        if source.stem in _UNITS[side] and _unit(run, source, folder / source.name, programs)
    ]
    manager = ["systemctl", "--user"] if user else ["systemctl"]
    timers = [name for name in made if name.endswith(".timer")]
    services = [name for name in made if name.endswith(".service") and f"{Path(name).stem}.timer" not in made]
    _manage(run, [[*manager, "daemon-reload"], [*manager, "enable", "--now", *timers, *services]])


def _check_system(run: Run, programs: Path) -> None:
    """Return if system units can work here. Raises: UsageError."""
    if os.geteuid() != 0:
        raise UsageError("system services are installed by root", hint="run it with sudo")
    if any(programs.is_relative_to(home) for home in ("/home", "/root")):
        raise UsageError(
            f"services cannot see programs in '{programs}'", hint="install powdo in /opt or /usr/local"
        )
    wanted = "/etc/powdo/powdo.toml"
    if str(run.settings.config_path) != wanted:
        raise UsageError(
            f"the services read '{wanted}'",
            hint=f"run it as: POWDO_CONFIG={wanted} POWDO_STATE_DIR=/var/lib/powdo "
            "POWDO_DATA_DIR=/var/lib/powdo/data powdo init …",
        )


def _unit(run: Run, source: Path, target: Path, programs: Path) -> bool:
    """Return whether *target* is there now, made of *source* unless there was one."""
    text = source.read_text("utf-8").replace(_SHIPPED, str(programs))
    if target.exists():
        if target.read_text("utf-8") != text:
            run.console.warning(f"'{target}' is another one and was left alone")
        return True
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
    except OSError as error:
        raise CannotCreateError(f"cannot create '{target}': {error.strerror}") from None
    run.console.note(f"wrote '{target}'")
    return True


def _manage(run: Run, commands: Iterable[list[str]]) -> None:
    """Run *commands*, and tell those that a person has to run."""
    for command in commands:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            run.console.warning(f"systemctl did not run: {error}", hint=f"run: {' '.join(command)}")
            continue
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
            run.console.warning(f"systemctl: {reason[0]}", hint=f"run: {' '.join(command)}")


# --- cron ---


def _crontab(run: Run, side: str) -> None:
    """Put the lines of *side* into this user's crontab, in the place of those put there before."""
    lines = (shipped("cron") / f"powdo-{side}").read_text("utf-8")
    lines = lines.replace(f"PATH={_SHIPPED}:", f"PATH={_programs()}:{_SHIPPED}:")
    block = f"{_BEGIN}\n{lines.rstrip()}\n{_END}\n"
    kept = re.sub(rf"(?ms)^{_BEGIN}$.*?^{_END}$\n?", "", _listed())
    done = _cron(["crontab", "-"], kept + ("" if not kept or kept.endswith("\n") else "\n") + block)
    if done.returncode:
        raise CannotCreateError(f"cannot write the crontab: {done.stderr.strip()[:200]}")
    run.console.note("wrote the crontab")


def _listed() -> str:
    """Return the crontab as it is; one that cannot be read is never taken for none."""
    listed = _cron(["crontab", "-l"], None)
    if listed.returncode and "no crontab" not in listed.stderr:
        raise CannotCreateError(f"cannot read the crontab: {listed.stderr.strip()[:200]}")
    return "" if listed.returncode else listed.stdout


def _cron(command: list[str], text: str | None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, input=text or "", capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotCreateError(
            f"crontab did not run: {error}", hint="install cron, or use --systemd"
        ) from None
