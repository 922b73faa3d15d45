"""Finding the desktop session and the time zone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from powdo.settings.desktop import Desktop, authority_file, find_desktop, time_zone


def process(proc: Path, comm: str, **variables: str) -> None:
    """Add a process of ours called *comm* to *proc*."""
    folder = proc / str(len(list(proc.iterdir())) + 100)
    folder.mkdir()
    (folder / "comm").write_text(f"{comm}\n")
    (folder / "environ").write_bytes(b"".join(f"{k}={v}\0".encode() for k, v in variables.items()))


@pytest.mark.parametrize(
    ("variables", "desktop"),
    [
        ({"DISPLAY": ":3"}, Desktop(":3", wayland=False)),
        ({"DISPLAY": ":3", "WAYLAND_DISPLAY": "wayland-0"}, Desktop(":3", wayland=True)),
        ({"DISPLAY": ":3", "XDG_SESSION_TYPE": "wayland"}, Desktop(":3", wayland=True)),
        ({"DISPLAY": ":3", "XDG_SESSION_TYPE": "x11"}, Desktop(":3", wayland=False)),
        ({}, Desktop(None, wayland=False)),
        ({"DISPLAY": ""}, Desktop(None, wayland=False)),
    ],
)
def test_environment(tmp_path: Path, variables: dict[str, str], desktop: Desktop) -> None:
    """The environment names the display; anything of Wayland in it makes it a Wayland session."""
    assert find_desktop(variables, tmp_path) == desktop


def test_session_under_cron(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without DISPLAY it is that of a session program; other programs' displays are not taken."""
    monkeypatch.delenv("XAUTHORITY", raising=False)
    (tmp_path / "self").mkdir()
    process(tmp_path, "xterm", DISPLAY=":8")
    process(tmp_path, "xfce4-session", HOME="/home/ana")
    assert find_desktop({}, tmp_path) == Desktop(None, wayland=False)
    process(tmp_path, "i3", DISPLAY=":1", XAUTHORITY="/run/x")
    assert find_desktop({}, tmp_path) == Desktop(":1", wayland=False)
    assert authority_file({}) == Path("/run/x")
    del os.environ["XAUTHORITY"]


def test_wayland_session_under_cron(tmp_path: Path) -> None:
    """A session program of a Wayland session makes it one."""
    process(tmp_path, "sway", WAYLAND_DISPLAY="wayland-1", DISPLAY=":0")
    assert find_desktop({}, tmp_path).wayland


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
