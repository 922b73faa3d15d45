"""`powdo capture` on a real Wayland compositor (headless sway with grim)."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from powdo.adapters.screen import wayland
from powdo.errors import RetryLaterError
from powdo.settings.desktop import find_desktop
from tests.capture_helpers import Worker, opened, reasons, unused_url
from tests.sway import Sway, headless

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def compositor() -> Iterator[Sway]:
    """Give a headless sway."""
    with headless() as sway:
        yield sway


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
