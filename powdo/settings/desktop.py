"""Where the desktop session is, as its programs know it, and which time zone this machine keeps.

cron and systemd start us without DISPLAY; then it is looked up in the environment of the session's own
programs, which every desktop has running and which belong to the same user; then in that of systemd's user
manager; then among the sockets of compositors. Displays of other programs (`ssh -X`) are nobody's desktop.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: Names in /proc/PID/comm, which holds 15 characters: sessions, window managers, compositors, panels.
_SESSIONS = frozenset({
    "Hyprland", "awesome", "blackbox", "bspwm", "budgie-wm", "cinnamon", "cinnamon-sessio", "compiz",
    "cosmic-comp", "cosmic-session", "dwl", "dwm", "enlightenment", "fluxbox", "fvwm", "fvwm2", "fvwm3",
    "gala", "gnome-session-b", "gnome-shell", "herbstluftwm", "hyprland", "i3", "icewm", "icewm-session",
    "jwm", "ksmserver", "kwin_wayland", "kwin_x11", "labwc", "leftwm", "lxpanel", "lxqt-panel",
    "lxqt-session", "lxsession", "marco", "mate-panel", "mate-session", "metacity", "muffin", "niri",
    "openbox", "pekwm", "plasmashell", "qtile", "ratpoison", "river", "sawfish", "spectrwm",
    "startplasma-way", "startplasma-x11", "stumpwm", "sway", "twm", "wayfire", "weston", "wmaker",
    "xfce4-panel", "xfce4-session", "xfwm4", "xmonad",
})  # fmt: skip


#: What a program of the session needs to know; a tool that is started for the screen gets no more.
_NEEDED = (
    "PATH", "HOME", "LANG", "DISPLAY", "XAUTHORITY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS",
    "XDG_RUNTIME_DIR", "XDG_SESSION_ID", "XDG_SESSION_TYPE", "XDG_CURRENT_DESKTOP",
)  # fmt: skip
_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Desktop:
    """The session's X display and the socket of its Wayland compositor, where it has them.

    *variables* are those its programs run with. *native* is a system with neither: macOS, Windows.
    """

    display: str | None
    wayland: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict, compare=False)
    native: bool = False

    def __bool__(self) -> bool:
        """Return whether there is anything to look at."""
        return self.native or self.display is not None or self.wayland is not None


def find_desktop(variables: Mapping[str, str], proc: Path = Path("/proc")) -> Desktop:
    """Return the desktop that *variables* name, or else that of this user's session."""
    if sys.platform in ("darwin", "win32"):
        return Desktop(None, variables=variables, native=True)
    runtime = Path(variables.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    known = dict(variables)
    if not _is_desktop(known):
        for session in _candidates(known, proc, runtime):
            if _is_desktop(session):
                known.pop("XDG_SESSION_ID", None)  # cron's own session is never the one that is locked
                known |= {name: session[name] for name in _NEEDED[3:] if session.get(name)}
                break
    runtime = Path(known.setdefault("XDG_RUNTIME_DIR", str(runtime)))
    if (runtime / "bus").exists():
        known.setdefault("DBUS_SESSION_BUS_ADDRESS", f"unix:path={runtime / 'bus'}")
    wayland = _compositor(known, runtime)
    if wayland is not None:
        known["WAYLAND_DISPLAY"] = wayland
    _find_authority(known, runtime)
    needed = {name: known[name] for name in _NEEDED if known.get(name)}
    return Desktop(known.get("DISPLAY") or None, wayland, needed)


def _is_desktop(variables: Mapping[str, str]) -> bool:
    return bool(variables.get("DISPLAY")) or _is_wayland(variables)


def _is_wayland(variables: Mapping[str, str]) -> bool:
    return bool(variables.get("WAYLAND_DISPLAY")) or variables.get("XDG_SESSION_TYPE") == "wayland"


def _candidates(variables: Mapping[str, str], proc: Path, runtime: Path) -> Iterator[Mapping[str, str]]:
    """Yield the environments in which the session may be found, the most certain first."""
    yield from _sessions(proc)
    yield _manager(variables, runtime)
    # A compositor started from a terminal tells its own environment to nobody, but its socket is there.
    yield {"WAYLAND_DISPLAY": str(found)} if (found := _socket(runtime)) else {}


def _compositor(variables: Mapping[str, str], runtime: Path) -> str | None:
    """Return the socket of the compositor of *variables*; None in an X session."""
    if not _is_wayland(variables):
        return None
    name = variables.get("WAYLAND_DISPLAY")
    return str(runtime / name if name else _socket(runtime) or runtime / "wayland-0")


def _socket(runtime: Path) -> Path | None:
    """Return the first Wayland socket in *runtime* on which somebody listens."""
    import socket

    for path in sorted(runtime.glob("wayland-*[0-9]")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(_TIMEOUT)
            try:
                link.connect(str(path))
            except OSError:
                continue  # left behind by one that has ended
        return path
    return None


def _manager(variables: Mapping[str, str], runtime: Path) -> dict[str, str]:
    """Return the environment of systemd's user manager, into which desktops put theirs."""
    import shutil

    systemctl = shutil.which("systemctl", path=variables.get("PATH"))
    if systemctl is None or not (runtime / "systemd" / "private").exists():
        return {}
    import subprocess

    environment = {"PATH": variables.get("PATH", ""), "XDG_RUNTIME_DIR": str(runtime)}
    command = (systemctl, "--user", "show-environment")
    try:
        done = subprocess.run(
            command,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    lines = done.stdout.decode("utf-8", "replace").splitlines() if done.returncode == 0 else []
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _find_authority(variables: dict[str, str], runtime: Path) -> None:
    """Make known where the keys of the X display lie, where its login manager keeps them elsewhere."""
    if "XAUTHORITY" not in variables and not _home_authority(variables).exists():
        places = ("gdm/Xauthority", "xauth_*", ".mutter-Xwaylandauth.*")
        found = [path for place in places for path in sorted(runtime.glob(place))]
        if found:
            variables["XAUTHORITY"] = str(found[-1])
    if variables.get("XAUTHORITY"):
        os.environ.setdefault("XAUTHORITY", variables["XAUTHORITY"])  # libxcb looks only there


def _sessions(proc: Path) -> Iterator[dict[str, str]]:
    """Yield the environments of this user's session programs."""
    for folder in proc.iterdir() if proc.is_dir() else ():
        if not folder.name.isdigit():
            continue
        try:
            if folder.stat().st_uid != os.getuid():
                continue
            if (folder / "comm").read_text("utf-8", "replace").strip() not in _SESSIONS:
                continue
            content = (folder / "environ").read_bytes().decode("utf-8", "surrogateescape")
        except OSError:
            continue  # it ended meanwhile, or hides its environment
        yield dict(item.split("=", 1) for item in content.split("\0") if "=" in item)


def authority_file(variables: Mapping[str, str]) -> Path:
    """Return where the keys to X displays lie."""
    named = os.environ.get("XAUTHORITY")
    return Path(named) if named else _home_authority(variables)


def _home_authority(variables: Mapping[str, str]) -> Path:
    return Path(variables.get("HOME") or "/") / ".Xauthority"


def time_zone(variables: Mapping[str, str], localtime: Path = Path("/etc/localtime")) -> str:
    """Return the IANA name of this machine's time zone; UTC when it cannot be told."""
    named = variables.get("TZ", "").removeprefix(":")
    if named:
        name = named.rpartition("zoneinfo/")[2]
        return name if _is_zone(name) else "UTC"
    _, found, name = str(localtime.resolve()).rpartition("/zoneinfo/")
    return name.removeprefix("posix/") if found and name else "UTC"


def _is_zone(name: str) -> bool:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return False
    return True


def local_offset(at: int) -> int:
    """Return how many seconds east of UTC this machine's clock is at the unix second *at*."""
    return time.localtime(at).tm_gmtoff
