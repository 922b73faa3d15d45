"""`powdo capture` on a real Wayland compositor (headless sway with grim)."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from powdo.adapters.screen import wayland
from powdo.errors import RetryLaterError
from powdo.settings.desktop import find_desktop
from tests.capture_helpers import Worker, opened, reasons, stop, unused_url
from tests.parts import needed

pytestmark = pytest.mark.real

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


@pytest.fixture(scope="module")
def compositor() -> Iterator[Sway]:
    """Give a headless sway."""
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
        stop(process)
        shutil.rmtree(folder)


@pytest.fixture
def sway(compositor: Sway) -> Iterator[Sway]:
    """Give the compositor, without windows at the beginning and at the end."""
    yield compositor
    compositor.clear()


@pytest.fixture
def worker(tmp_path: Path, sway: Sway) -> Worker:
    """Give a worker in the session."""
    variables = {"XDG_RUNTIME_DIR": str(sway.folder), "WAYLAND_DISPLAY": "wayland-1"}
    return Worker(tmp_path, options=f'activitywatch = "{unused_url()}"', variables=variables)


def test_screenshot_of_each_monitor(worker: Worker, sway: Sway) -> None:
    """A monitor with text is an image; one with nothing on it is told as blank."""
    sway.open()
    (record,) = worker.capture("--no-activity")
    (shot,) = opened(record).screenshots
    image = Image.open(BytesIO((Path(record["path"]) / shot.file).read_bytes()))
    assert (shot.monitor, image.size) == (1, (1280, 720))
    assert len(image.convert("RGB").getcolors() or ()) > 4
    assert ("screenshots", "blank") in reasons(record)
    sway.tell("focus", "output", "HEADLESS-2")
    sway.open("editor", "main.py")
    (record,) = worker.capture("--no-activity")
    assert [shot.monitor for shot in opened(record).screenshots] == [1, 2]
    assert not worker.said


def test_no_black_frame(worker: Worker, sway: Sway) -> None:
    """An X display inside the Wayland session is not photographed, nor is a screen without windows."""
    worker.variables["DISPLAY"] = ":0"
    assert worker.capture("--no-activity") == []
    assert "no screenshot: a monitor shows one single colour" in worker.said


@pytest.mark.parametrize(
    ("app", "title", "option", "reason"),
    [
        ("org.keepassxc.KeePassXC", "vault", 'deny = ["keepassxc"]', "denied"),
        ("firefox", "x — Mozilla Firefox Private Browsing", "", "private"),
    ],
)
def test_windows_that_forbid(
    worker: Worker, sway: Sway, app: str, title: str, option: str, reason: str
) -> None:
    """A denied or private window means no screenshot, without a warning."""
    sway.open()
    sway.open(app, title)
    worker.options += f"\n{option}"
    assert worker.capture("--no-activity", "-v") == []
    assert f"no screenshot: a visible window is {reason}" in worker.said
    assert "warning" not in worker.said


def test_found_under_cron(worker: Worker, sway: Sway) -> None:
    """Without any variable of the session the compositor is found by its socket in the runtime directory."""
    sway.open()
    worker.variables = {"XDG_RUNTIME_DIR": str(sway.folder)}
    (record,) = worker.capture("--no-activity")
    assert record["screenshots"] == 1


def test_blur_and_scale(worker: Worker, sway: Sway) -> None:
    """A blurred screenshot is made of squares, a scaled one is smaller."""
    sway.open()
    worker.options += "\nblur = 16\nscale = 0.5"
    (record,) = worker.capture("--no-activity")
    (shot,) = opened(record).screenshots
    assert (shot.width, shot.height) == (640, 360)
    image = Image.open(BytesIO((Path(record["path"]) / shot.file).read_bytes())).convert("RGB")
    squares = image.reduce(8).resize(image.size, Image.Resampling.NEAREST)
    assert squares.tobytes() == image.tobytes()


def test_without_grim(worker: Worker, sway: Sway, tmp_path: Path) -> None:
    """Without its tool the reason is kept and the tool named."""
    worker.variables["PATH"] = str(tmp_path)
    assert worker.capture("--no-activity") == []
    assert "no screenshot: 'grim' is not installed" in worker.said


def test_nobody_listens(sway: Sway, tmp_path: Path) -> None:
    """A compositor that has gone is told so, and a session is not found in the socket it left."""
    stale = tmp_path / "wayland-7"
    stale.touch()
    with pytest.raises(RetryLaterError, match="cannot ask the compositor"):
        wayland.ask(str(stale))
    assert not find_desktop({"XDG_RUNTIME_DIR": str(tmp_path)}, tmp_path)
