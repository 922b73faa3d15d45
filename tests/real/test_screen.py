"""`powdo capture` on a real screen (Xvfb): what is photographed and what forbids it."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from powdo.adapters.screen import x11
from powdo.errors import RetryLaterError
from powdo.worktime.intervals import SECOND
from tests.activitywatch_double import Double
from tests.capture_helpers import Worker, opened, reasons, stop, unused_url
from tests.parts import needed


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """Give an X display of 640 x 400 with nothing on it."""
    with xvfb() as number:
        yield number


@contextmanager
def xvfb(*flags: str) -> Iterator[str]:
    """Run an X server with *flags* and give its display."""
    ours, theirs = os.pipe()
    screen = ("-screen", "0", "640x400x24", "-noreset", "-nolisten", "tcp")
    process = subprocess.Popen(
        [needed("Xvfb"), "-displayfd", str(theirs), *screen, *flags],
        pass_fds=(theirs,),
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    with os.fdopen(ours) as answer:
        number = answer.readline().strip()
    try:
        yield f":{number}"
    finally:
        stop(process)


@pytest.fixture
def windows(display: str) -> Iterator[Any]:
    """Give a function that opens an xterm of a class and title and waits until it is seen."""
    opened: list[subprocess.Popen[bytes]] = []

    def seen() -> int:
        return len(x11.ask(display, Path("/nonexistent")).windows)

    def open_window(name: str = "Editor", title: str = "cart.py") -> None:
        before = seen()
        command = [needed("xterm"), "-class", name, "-T", title, "-geometry", "60x20+10+10"]
        script = "seq -s ' ' 900; exec sleep 600"
        opened.append(
            subprocess.Popen([*command, "-e", "sh", "-c", script], env=os.environ | {"DISPLAY": display})
        )
        deadline = time.monotonic() + 20
        while seen() == before and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)  # the text follows the window

    yield open_window
    for process in opened:
        stop(process)
    deadline = time.monotonic() + 10
    while seen() and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    """Give a worker without display and ActivityWatch."""
    return Worker(tmp_path, options=f'activitywatch = "{unused_url()}"')


@pytest.mark.real
def test_screenshot(worker: Worker, display: str, windows: Any) -> None:
    """A screen with a window gives a palette PNG of full size, though ActivityWatch is away."""
    windows()
    worker.display = display
    (record,) = worker.capture()
    (shot,) = opened(record).screenshots
    image = Image.open(BytesIO((Path(record["path"]) / shot.file).read_bytes()))
    assert (image.format, image.mode, image.size) == ("PNG", "P", (640, 400))
    assert (shot.width, shot.height, shot.monitor) == (640, 400, 1)
    assert len(image.convert("RGB").getcolors() or ()) > 1
    assert reasons(record) == [("activity", "away")]
    assert "warning: no activity: cannot reach" in worker.said


@pytest.mark.real
def test_every_monitor(worker: Worker, display: str, windows: Any) -> None:
    """Each monitor is an image of its own; one that shows nothing is told, not stored."""
    windows()
    environment = os.environ | {"DISPLAY": display}
    xrandr = needed("xrandr")
    left = [xrandr, "--setmonitor", "left", "320/80x400/100+0+0", "screen"]
    right = [xrandr, "--setmonitor", "right", "320/80x400/100+320+0", "none"]
    for command in (left, right):
        subprocess.run(command, env=environment, check=True)
    worker.display = display
    try:
        (record,) = worker.capture("--no-activity")
    finally:
        for name in ("left", "right"):
            subprocess.run([xrandr, "--delmonitor", name], env=environment, check=True)
    shots = opened(record).screenshots
    assert [(shot.monitor, shot.width, shot.height) for shot in shots] == [(1, 320, 400), (2, 320, 400)]


@pytest.mark.real
def test_blank_frame(worker: Worker, display: str) -> None:
    """A screen of one colour is no screenshot, and with nothing else there is no record."""
    worker.display = display
    assert worker.capture() == []
    assert "no screenshot: a monitor shows one single colour" in worker.said


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "title", "option", "reason"),
    [
        ("KeePassXC", "vault", 'deny = ["^keepassxc$"]', "denied"),
        ("XTerm", "my vault", 'deny = ["my vault"]', "denied"),
        ("Firefox", "oncology – Firefox", 'private = ["oncology"]', "private"),
        ("Firefox", "x — Mozilla Firefox Private Browsing", "", "private"),
    ],
)
def test_windows_that_forbid(
    worker: Worker, display: str, windows: Any, name: str, title: str, option: str, reason: str
) -> None:
    """A denied or private window anywhere on the screen means no screenshot, and the reason is kept."""
    windows()
    windows(name, title)
    worker.display = display
    with Double() as server:
        at = int(time.time()) - 600
        event = (at * SECOND, (at + 300) * SECOND, {"app": "Code", "title": "cart.py"})
        server.buckets["aw-watcher-window_h"] = ("currentwindow", [event])
        worker.options = f'activitywatch = "{server.url}"\n{option}'
        (record,) = worker.capture("--since", "1d")
    assert record["screenshots"] == 0
    assert reasons(record) == [("screenshots", reason)]
    assert not worker.said


@pytest.mark.real
def test_only_the_owner_can_read(worker: Worker, display: str, windows: Any) -> None:
    """All that a capture writes is 0600 in directories of 0700."""
    windows()
    worker.display = display
    worker.capture()
    modes = {path.is_dir(): path.stat().st_mode & 0o777 for path in worker.state.rglob("*")}
    assert modes == {True: 0o700, False: 0o600}


@pytest.mark.real
def test_display_with_a_cookie(worker: Worker, tmp_path: Path) -> None:
    """A display that asks for a cookie is opened with that of XAUTHORITY, and not without."""
    cookie = os.urandom(16)
    fields = (socket.gethostname().encode(), b"", b"MIT-MAGIC-COOKIE-1", cookie)
    authority = tmp_path / "authority"
    authority.write_bytes(
        struct.pack(">H", 256) + b"".join(struct.pack(">H", len(item)) + item for item in fields)
    )
    with xvfb("-auth", str(authority)) as display:
        assert x11.ask(display, authority) == x11.Screen([], lit=True)
        with pytest.raises(RetryLaterError, match="cannot list the windows"):
            x11.ask(display, tmp_path / "none")
        worker.display = display
        worker.capture("--no-activity")
        assert "one single colour" not in worker.said
        assert "warning: no screenshot" in worker.said
        worker.variables = {"XAUTHORITY": str(authority)}
        worker.capture("--no-activity")
        assert "one single colour" in worker.said
