"""Finding the desktop session and the time zone."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from powdo.settings.desktop import Desktop, authority_file, find_desktop, time_zone


def process(proc: Path, comm: str, **variables: str) -> None:
    """Add a process of ours called *comm* to *proc*."""
    folder = proc / str(len(list(proc.iterdir())) + 100)
    folder.mkdir()
    (folder / "comm").write_text(f"{comm}\n")
    (folder / "environ").write_bytes(b"".join(f"{k}={v}\0".encode() for k, v in variables.items()))


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """Give an empty runtime directory."""
    path = tmp_path / "runtime"
    path.mkdir()
    return path


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Give a directory of no processes."""
    path = tmp_path / "proc"
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("variables", "display", "wayland"),
    [
        ({"DISPLAY": ":3"}, ":3", None),
        ({"DISPLAY": ":3", "WAYLAND_DISPLAY": "wayland-1"}, ":3", "{}/wayland-1"),
        ({"WAYLAND_DISPLAY": "/run/other/wayland-1"}, None, "/run/other/wayland-1"),
        ({"DISPLAY": ":3", "XDG_SESSION_TYPE": "wayland"}, ":3", "{}/wayland-0"),
        ({"DISPLAY": ":3", "XDG_SESSION_TYPE": "x11"}, ":3", None),
        ({}, None, None),
        ({"DISPLAY": ""}, None, None),
    ],
)
def test_environment(
    proc: Path, runtime: Path, variables: dict[str, str], display: str | None, wayland: str | None
) -> None:
    """The environment names the display; anything of Wayland in it makes it a Wayland session."""
    found = find_desktop({"XDG_RUNTIME_DIR": str(runtime), **variables}, proc)
    assert found == Desktop(display, wayland and wayland.format(runtime))
    assert bool(found) is bool(display or wayland)


def test_only_what_tools_need(proc: Path, runtime: Path) -> None:
    """Tools of the desktop get the variables of the session, and no others."""
    (runtime / "bus").touch()
    variables = {"DISPLAY": ":3", "PATH": "/bin", "TOKEN": "x", "XDG_RUNTIME_DIR": str(runtime)}
    found = find_desktop(variables, proc).variables
    del variables["TOKEN"]
    assert found == variables | {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime / 'bus'}"}


def test_session_under_cron(proc: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without DISPLAY it is that of a session program; other programs' displays are not taken."""
    monkeypatch.delenv("XAUTHORITY", raising=False)
    cron = {"XDG_RUNTIME_DIR": str(runtime), "XDG_SESSION_ID": "c9", "PATH": "/bin"}
    (proc / "self").mkdir()
    process(proc, "xterm", DISPLAY=":8")
    process(proc, "xfce4-session", HOME="/home/ana")
    assert not find_desktop(cron, proc)
    process(proc, "i3", DISPLAY=":1", XAUTHORITY="/run/x", PATH="/home/ana/bin")
    found = find_desktop(cron, proc)
    assert found == Desktop(":1")
    assert (found.variables["PATH"], "XDG_SESSION_ID" in found.variables) == ("/bin", False)
    assert authority_file({}) == Path("/run/x")
    del os.environ["XAUTHORITY"]


def test_wayland_session_under_cron(proc: Path, runtime: Path) -> None:
    """A session program of a Wayland session makes it one."""
    process(proc, "plasmashell", WAYLAND_DISPLAY="wayland-1", DISPLAY=":0")
    found = find_desktop({"XDG_RUNTIME_DIR": str(runtime)}, proc)
    assert found == Desktop(":0", str(runtime / "wayland-1"))
    assert found.variables["WAYLAND_DISPLAY"] == str(runtime / "wayland-1")


def test_compositor_that_tells_nobody(proc: Path, runtime: Path) -> None:
    """A compositor is found by its socket if somebody listens there; what one left behind is passed by."""
    process(proc, "sway", HOME="/home/ana")
    (runtime / "wayland-0").touch()
    (runtime / "wayland-1.lock").touch()
    assert not find_desktop({"XDG_RUNTIME_DIR": str(runtime)}, proc)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(runtime / "wayland-1"))
        server.listen()
        found = find_desktop({"XDG_RUNTIME_DIR": str(runtime)}, proc)
    assert found == Desktop(None, str(runtime / "wayland-1"))


def test_user_manager(proc: Path, runtime: Path, tmp_path: Path) -> None:
    """A desktop is found in the environment of systemd's user manager, which is asked only where it runs."""
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\necho DISPLAY=:5\necho \"LONG=$'a b'\"\necho XDG_SESSION_TYPE=x11\n")
    program.chmod(0o755)
    variables = {"PATH": str(tmp_path), "XDG_RUNTIME_DIR": str(runtime)}
    assert not find_desktop(variables, proc)
    (runtime / "systemd").mkdir()
    (runtime / "systemd" / "private").touch()
    assert find_desktop(variables, proc) == Desktop(":5")
    program.write_text("#!/bin/sh\necho DISPLAY=:5\nexit 1\n")
    assert not find_desktop(variables, proc)


def test_authority_of_a_login_manager(proc: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys that a login manager keeps in the runtime directory are found where the home has none."""
    monkeypatch.delenv("XAUTHORITY", raising=False)
    (runtime / "gdm").mkdir()
    keys = runtime / "gdm" / "Xauthority"
    keys.touch()
    variables = {"DISPLAY": ":1", "HOME": str(runtime), "XDG_RUNTIME_DIR": str(runtime)}
    assert find_desktop(variables, proc).variables["XAUTHORITY"] == str(keys)
    assert authority_file(variables) == keys
    del os.environ["XAUTHORITY"]
    (runtime / ".Xauthority").touch()
    assert "XAUTHORITY" not in find_desktop(variables, proc).variables


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_systems_without_displays(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    """Systems that have neither X nor Wayland have a screen nevertheless."""
    monkeypatch.setattr(sys, "platform", system)
    assert find_desktop({}).native


def test_authority_file_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without XAUTHORITY the cookies lie in the home directory."""
    monkeypatch.delenv("XAUTHORITY", raising=False)
    assert authority_file({"HOME": "/home/ana"}) == Path("/home/ana/.Xauthority")


def test_time_zone(tmp_path: Path) -> None:
    """TZ beats /etc/localtime; what is no IANA name is UTC."""
    localtime = tmp_path / "localtime"
    assert time_zone({}, localtime) == "UTC"
    localtime.symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    assert time_zone({}, localtime) == "Europe/Berlin"
    assert time_zone({"TZ": "America/Lima"}, localtime) == "America/Lima"
    assert time_zone({"TZ": ":/usr/share/zoneinfo/America/Lima"}, localtime) == "America/Lima"
    assert time_zone({"TZ": "CET-1CEST,M3.5.0"}, localtime) == "UTC"
    assert time_zone({"TZ": "../../etc/passwd"}, localtime) == "UTC"
