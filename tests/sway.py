"""A real Wayland compositor without a screen: sway, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from powdo.adapters.screen import wayland
from tests.capture_helpers import stop
from tests.parts import needed

_NOBODY = 65534


def until(reached: Callable[[], Any]) -> Any:
    """Return what *reached* gives once that is something."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if found := reached():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come about within 20 seconds")


@dataclass
class Sway:
    """A compositor with two monitors of 1280 x 720 and the runtime directory *folder*."""

    folder: Path
    windows: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        """Return the variables of the session."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": str(self.folder),
            "WAYLAND_DISPLAY": "wayland-1",
        }

    @property
    def socket(self) -> str:
        """The compositor's socket."""
        return str(self.folder / "wayland-1")

    def start(self, *command: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start a program of the session; sway refuses to be root."""
        user: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
        return subprocess.Popen(
            (needed(command[0]), *command[1:]),
            env=self.environment() | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            **user,
        )

    def tell(self, *words: str) -> None:
        """Give sway a command."""
        ipc = next(self.folder.glob("sway-ipc.*"))
        subprocess.run([needed("swaymsg"), "-q", "-s", str(ipc), "--", *words], check=True)

    def open(self, app: str = "foot", title: str = "cart.py") -> None:
        """Open a terminal with text, and wait until it is seen."""
        script = "seq -s ' ' 2000; exec sleep 600"
        self.windows.append(self.start("foot", "--app-id", app, "--title", title, "sh", "-c", script))
        until(lambda: (app, title) in (wayland.ask(self.socket).windows or ()))
        time.sleep(0.5)  # the text follows the window

    def clear(self) -> None:
        """Close all windows."""
        while self.windows:
            stop(self.windows.pop())
        until(lambda: wayland.ask(self.socket).windows == ())


@contextmanager
def headless() -> Iterator[Sway]:
    """Give a sway that runs."""
    for program in ("sway", "grim", "foot"):
        needed(program)
    folder = Path(tempfile.mkdtemp(prefix="powdo-sway-"))  # nobody cannot enter pytest's own
    if os.geteuid() == 0:
        os.chown(folder, _NOBODY, _NOBODY)
    sway = Sway(folder)
    config = folder / "config"
    config.write_text("xwayland disable\n")
    config.chmod(0o644)
    headless = {"WLR_BACKENDS": "headless", "WLR_LIBINPUT_NO_DEVICES": "1", "WLR_RENDERER": "pixman"}
    process = sway.start("sway", "-c", str(config), WLR_HEADLESS_OUTPUTS="2", **headless)
    try:
        until(lambda: (folder / "wayland-1").exists() and list(folder.glob("sway-ipc.*")))
        yield sway
    finally:
        for window in sway.windows:
            stop(window)
        stop(process)
        shutil.rmtree(folder)
