"""Where the desktop session is, as its programs know it, and which time zone this machine keeps.

cron and systemd start us without DISPLAY; then it is looked up in the environment of the session's own
programs, which every desktop has running and which belong to the same user.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

#: Names in /proc/PID/comm, which holds 15 characters.
_SESSIONS = frozenset({
    "Hyprland", "awesome", "bspwm", "budgie-wm", "cinnamon", "cinnamon-sessio", "dwm",
    "enlightenment", "fluxbox", "gnome-session-b", "gnome-shell", "herbstluftwm", "i3",
    "kwin_wayland", "kwin_x11", "labwc", "lxqt-session", "lxsession", "marco", "mate-session",
    "openbox", "plasmashell", "river", "sway", "weston", "xfce4-session", "xfwm4", "xmonad",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Desktop:
    """An X display, if there is one; *wayland* when the session is not X's own."""

    display: str | None
    wayland: bool


def find_desktop(variables: Mapping[str, str], proc: Path = Path("/proc")) -> Desktop:
    """Return the desktop that *variables* name, or else that of this user's session."""
    if not (variables.get("DISPLAY") or _is_wayland(variables)):
        for session in _sessions(proc):
            if session.get("DISPLAY") or _is_wayland(session):
                variables = session
                if session.get("XAUTHORITY"):
                    os.environ.setdefault("XAUTHORITY", session["XAUTHORITY"])  # libxcb looks only there
                break
    return Desktop(variables.get("DISPLAY") or None, _is_wayland(variables))


def _is_wayland(variables: Mapping[str, str]) -> bool:
    return bool(variables.get("WAYLAND_DISPLAY")) or variables.get("XDG_SESSION_TYPE") == "wayland"


def _sessions(proc: Path) -> Iterator[dict[str, str]]:
    """Yield the environments of this user's session programs."""
    for folder in proc.iterdir():
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
    return Path(named) if named else Path(variables.get("HOME") or "/") / ".Xauthority"


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
