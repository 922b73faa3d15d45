"""Whether the session is locked, with stand-ins of the tools that ask for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from powdo.adapters.screen import session
from powdo.adapters.screen.session import is_locked
from tests.capture_helpers import Worker, unused_url

HERE = Path(__file__)


def install(folder: Path, name: str, script: str) -> dict[str, str]:
    """Return the variables of a session that has the program *name*, among others."""
    program = folder / name
    program.write_text(f'#!/bin/sh\necho "$@" >> "{folder}/arguments"\n{script}\n')
    program.chmod(0o755)
    return {"PATH": f"{folder}:/bin", "XDG_SESSION_ID": "c7"}


@pytest.mark.parametrize(
    ("script", "locked"),
    [("echo yes", True), ("echo no", False), ("echo yes; exit 1", False), ("echo; echo yes?", False)],
)
def test_logind(tmp_path: Path, script: str, locked: bool) -> None:
    """The hint that logind has of the session counts when it is a clear yes."""
    variables = install(tmp_path, "loginctl", script)
    assert is_locked(variables, system_bus=str(HERE)) is locked
    asked = (tmp_path / "arguments").read_text()
    assert asked == "show-session c7 --property=LockedHint --value\n"


def test_nobody_to_ask(tmp_path: Path) -> None:
    """Without a bus no tool is run, and without tools nothing is known."""
    variables = install(tmp_path, "loginctl", "echo yes")
    assert not is_locked(variables, system_bus=str(tmp_path / "none"))
    assert not (tmp_path / "arguments").exists()
    variables = {"PATH": str(tmp_path / "none"), "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent"}
    assert not is_locked(variables, system_bus=str(HERE))


def test_tool_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bus that does not answer does not stop the capture."""
    monkeypatch.setattr(session, "_TIMEOUT", 0.3)
    variables = install(tmp_path, "loginctl", "exec sleep 60")
    assert not is_locked(variables, system_bus=str(HERE))


def test_capture_of_a_locked_session(tmp_path: Path) -> None:
    """A locked session means no screenshot, no warning and status 0."""
    answers = '*list) echo "org.gnome.ScreenSaver 42 gnome-shell" ;; *GetActive) echo "b true" ;;'
    variables = install(tmp_path, "busctl", f'case "$*" in {answers} esac') | {
        "DISPLAY": ":4711",
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent",
    }
    worker = Worker(tmp_path, options=f'activitywatch = "{unused_url()}"', variables=variables)
    assert worker.capture("--no-activity", "-v") == []
    assert "no screenshot: the session is locked" in worker.said
    assert "warning" not in worker.said
