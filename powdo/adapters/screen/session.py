"""Whether the session is locked, as logind and the desktop's screen saver know it.

Both are asked where they are; where neither is, nothing is known and nothing is said. The services are
called through busctl or gdbus, whichever is installed, and are never started for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

_TIMEOUT = 3.0
_SYSTEM_BUS = "/run/dbus/system_bus_socket"
#: Service, object and interface of the screen savers, in the order they are asked.
_SAVERS = (
    ("org.freedesktop.ScreenSaver", "/org/freedesktop/ScreenSaver", "org.freedesktop.ScreenSaver"),
    ("org.gnome.ScreenSaver", "/org/gnome/ScreenSaver", "org.gnome.ScreenSaver"),
    ("org.cinnamon.ScreenSaver", "/org/cinnamon/ScreenSaver", "org.cinnamon.ScreenSaver"),
    ("org.mate.ScreenSaver", "/org/mate/ScreenSaver", "org.mate.ScreenSaver"),
    ("org.xfce.ScreenSaver", "/org/xfce/ScreenSaver", "org.xfce.ScreenSaver"),
)


def is_locked(variables: Mapping[str, str], *, system_bus: str = _SYSTEM_BUS) -> bool:
    """Return whether anyone says that the session of *variables* is locked."""
    if os.path.exists(system_bus):  # noqa: PTH110  # a stat, where pathlib has nothing to add
        session = variables.get("XDG_SESSION_ID") or "auto"
        hint = _say(("loginctl", "show-session", session, "--property=LockedHint", "--value"), variables)
        if hint == "yes":
            return True
    if not variables.get("DBUS_SESSION_BUS_ADDRESS"):
        return False
    return any(_is_active(saver, variables) for saver in _present(variables))


def _present(variables: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return the screen savers that run, told by one listing of the bus."""
    busctl = ("busctl", "--user", "--no-legend", "--acquired", "list")
    gdbus = (
        "gdbus", "call", "--session", "--timeout=2", "--dest=org.freedesktop.DBus",
        "--object-path=/org/freedesktop/DBus", "--method=org.freedesktop.DBus.ListNames",
    )  # fmt: skip
    listing = _say(busctl, variables) or _say(gdbus, variables)
    names = set(listing.replace("'", " ").replace(",", " ").split())
    return [saver for saver in _SAVERS if saver[0] in names]


def _is_active(saver: tuple[str, str, str], variables: Mapping[str, str]) -> bool:
    service, path, interface = saver
    busctl = ("busctl", "--user", "--auto-start=no", "--timeout=2", "call", *saver, "GetActive")
    gdbus = (
        "gdbus", "call", "--session", "--timeout=2", f"--dest={service}", f"--object-path={path}",
        f"--method={interface}.GetActive",
    )  # fmt: skip
    return (_say(busctl, variables) or _say(gdbus, variables)) in ("b true", "(true,)")


def _say(command: Sequence[str], variables: Mapping[str, str]) -> str:
    """Return what *command* says; nothing when it is not installed, fails or takes too long."""
    path = shutil.which(command[0], path=variables.get("PATH"))
    if path is None:
        return ""
    try:
        done = subprocess.run(
            (path, *command[1:]),
            check=False,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else ""
