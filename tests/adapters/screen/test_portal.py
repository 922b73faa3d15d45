"""The screenshot portal, a stand-in on a real session bus, as `look` and `powdo capture` meet it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from powdo.adapters.screen import Look, Wishes, look, portal
from powdo.settings.desktop import Desktop
from powdo.worktime.privacy import Privacy, screen_refusal
from tests.bus import session_bus
from tests.capture_helpers import Worker, opened, unused_url
from tests.portal_double import Portal
from tests.wayland_double import WLR, Compositor

GNOME, KDE, COPY, OTHER = "gtk_shell1", "org_kde_plasma_shell", "zwlr_screencopy_manager_v1", "wl_shm"
PRIVATE = ("firefox", "x — Mozilla Firefox Private Browsing", False)


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a session bus."""
    with session_bus(tmp_path_factory.mktemp("bus")) as address:
        yield address


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Give where a portal leaves its picture."""
    (tmp_path / "Pictures").mkdir()
    return tmp_path / "Pictures" / "Screenshot from today – 1.png"


def paint(path: Path, *, plain: bool = False) -> Path:
    """Write a PNG of 64 x 40, of one colour when *plain*."""
    image = Image.new("RGB", (64, 40), "white")
    if not plain:
        image.paste((200, 10, 10), (5, 5, 30, 20))
    image.save(path)
    return path


def seen(
    folder: Path,
    bus: str,
    kind: str = GNOME,
    *,
    windows: list[tuple[str, str, bool]] | None = None,
    deny: str = "",
) -> Look:
    """Return what there is to see under a compositor of *kind* that tells its *windows* unless None."""
    (folder / "bin").mkdir(exist_ok=True)
    path = folder / "wayland-0"
    path.unlink(missing_ok=True)
    variables = {"PATH": str(folder / "bin"), "DBUS_SESSION_BUS_ADDRESS": bus}
    wanted = Privacy(deny=(re.compile(deny),) if deny else ())
    wishes = Wishes(
        refusal=lambda windows: screen_refusal(windows, wanted),
        strict=bool(deny),
        folder=lambda: folder / "unused",
    )
    listed = [] if windows is None else [WLR]
    with Compositor(path, [kind, *listed], windows=() if windows is None else windows):
        return look(Desktop(None, str(path), variables), wishes)


@pytest.mark.parametrize("kind", [GNOME, KDE, COPY, OTHER])
def test_granted(tmp_path: Path, bus: str, picture: Path, kind: str) -> None:
    """Without a tool the portal's picture is the screenshot, and it is not left among the worker's own."""
    with Portal(bus, lambda: (0, paint(picture).as_uri())) as service:
        found = seen(tmp_path, bus, kind)
    assert [(shot.monitor, shot.width, shot.height) for shot in found.screenshots] == [(1, 64, 40)]
    assert found.reason is None
    assert not picture.exists()
    (options,) = service.calls
    assert options["interactive"] == ("b", False)


def test_tool_first(tmp_path: Path, bus: str, picture: Path) -> None:
    """While the compositor's tool gives an image the portal is not asked; when it fails, it is."""
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "grim"
    Image.open(paint(tmp_path / "picture.png")).save(tmp_path / "picture.ppm")
    tool.write_text(f"#!/bin/sh\nexec {shutil.which('cat')} {tmp_path / 'picture.ppm'}\n")
    tool.chmod(0o755)
    with Portal(bus, lambda: (0, paint(picture).as_uri())) as service:
        assert seen(tmp_path, bus, COPY).screenshots
        assert service.calls == []
        tool.write_text("#!/bin/sh\nexit 1\n")
        assert seen(tmp_path, bus, COPY).screenshots
    assert (len(service.calls), picture.exists()) == (1, False)


def test_blank(tmp_path: Path, bus: str, picture: Path) -> None:
    """A picture of one colour is no screenshot here either."""
    with Portal(bus, lambda: (0, paint(picture, plain=True).as_uri())):
        found = seen(tmp_path, bus)
    assert (found.screenshots, found.reason, picture.exists()) == ((), "blank", False)


def test_windows_that_forbid(tmp_path: Path, bus: str, picture: Path) -> None:
    """A private window means that the portal is not asked; one that opens meanwhile discards the picture."""
    windows: list[tuple[str, str, bool]] = []

    def act() -> tuple[int, str]:
        windows.append(PRIVATE)
        return 0, paint(picture).as_uri()

    with Portal(bus, act) as service:
        late = seen(tmp_path, bus, OTHER, windows=windows)
        before = seen(tmp_path, bus, OTHER, windows=windows)
        unlisted = seen(tmp_path, bus, deny="keepass")
    assert (late.screenshots, late.reason, picture.exists()) == ((), "private", False)
    assert (before.reason, unlisted.reason, len(service.calls)) == ("private", "windows-unknown", 1)


@pytest.mark.parametrize(
    ("answer", "reason", "detail"),
    [
        ((1, ""), "portal-refused", "the screenshot was refused when the desktop asked"),
        ((2, ""), "portal-refused", "the desktop does not allow screenshots, or its portal failed"),
        ((0, ""), "portal-failed", "the portal names no file"),
        (None, "portal-silent", "nobody answered the portal within 1 seconds"),
        ("org.x.Error.NotAllowed", "portal-failed", "the portal failed: org.x.Error.NotAllowed"),
        ("org.freedesktop.DBus.Error.UnknownMethod", "no-tool", "there is no screenshot portal"),
    ],
)
def test_refused(
    tmp_path: Path,
    bus: str,
    monkeypatch: pytest.MonkeyPatch,
    answer: tuple[int, str] | str | None,
    reason: str,
    detail: str,
) -> None:
    """What the portal does not give has its reason, beside what keeps the tool from it."""
    monkeypatch.setattr(portal, "_TIMEOUT", 1.0)
    with Portal(bus, lambda: answer):
        found = seen(tmp_path, bus)
    expected = f"'gnome-screenshot' is not installed; {detail}"
    assert (found.screenshots, found.reason, found.detail) == ((), reason, expected)


@pytest.mark.parametrize(
    "uri",
    [
        "nonsense",
        "",
        "file:",
        "file://[",
        "file://elsewhere/a.png",
        "file:///a%00.png",
        "https://[::1]/a.png",
    ],
)
def test_uris_of_no_file(tmp_path: Path, bus: str, uri: str) -> None:
    """A URI that can be no file on this machine is told as such."""
    with Portal(bus, lambda: (0, uri)):
        found = seen(tmp_path, bus)
    assert (found.reason, found.detail.partition("; ")[2]) == ("portal-failed", "the portal names no file")


def _text(picture: Path) -> Path:
    picture.write_text("dear diary")
    return picture


def _link(picture: Path) -> Path:
    link = picture.with_name("link.png")
    link.symlink_to(picture)
    return link


def _pipe(picture: Path) -> Path:
    pipe = picture.with_name("pipe.png")
    os.mkfifo(pipe)
    return pipe


def _theirs(picture: Path) -> Path:
    if os.geteuid():  # only root can give a file away; whoever is not reads one of root's
        return Path("/etc/hostname")
    os.chown(picture, 65534, 65534)
    return picture


@pytest.mark.parametrize("make", [_text, _link, _pipe, _theirs])
def test_files_that_are_not_the_picture(
    tmp_path: Path, bus: str, picture: Path, make: Callable[[Path], Path]
) -> None:
    """What is no picture that the portal wrote as this user is neither taken nor deleted."""
    named: list[Path] = []

    def act() -> tuple[int, str]:
        named.append(make(paint(picture)))
        return 0, named[0].as_uri()

    with Portal(bus, act):
        found = seen(tmp_path, bus)
    assert (found.screenshots, found.reason) == ((), "portal-failed")
    assert named[0].exists()
    assert picture.exists()


def test_older_picture(tmp_path: Path, bus: str, picture: Path) -> None:
    """A picture that was there before the call is neither taken nor deleted."""
    paint(picture)
    time.sleep(1.5)  # the date that counts cannot be set back
    with Portal(bus, lambda: (0, picture.as_uri())):
        found = seen(tmp_path, bus)
    assert (found.screenshots, found.reason, picture.exists()) == ((), "portal-failed", True)


def test_absent_and_half_pictures(tmp_path: Path, bus: str, picture: Path) -> None:
    """A picture that is not there is told; one that was cut off is no screenshot, and deleted."""
    halves = [90]

    def act() -> tuple[int, str]:
        if halves:
            picture.write_bytes(paint(picture).read_bytes()[: halves.pop()])
        return 0, picture.as_uri()

    with Portal(bus, act):
        half, absent = seen(tmp_path, bus), seen(tmp_path, bus)
    assert not picture.exists()
    assert half.detail.endswith("; the portal gave no image")
    assert absent.detail.endswith("; cannot read and delete the portal's picture: no such file or directory")
    assert half.reason == absent.reason == "portal-failed"


@pytest.mark.parametrize("address", ["", "nonsense", "tcp:host=::1,port=1", "unix:path=/nonexistent"])
def test_no_bus(tmp_path: Path, address: str) -> None:
    """Without a session bus the tool's reason stays, and why there is no way round it."""
    found = seen(tmp_path, address)
    why = "'gnome-screenshot' is not installed; there is no screenshot portal"
    assert (found.reason, found.detail) == ("no-tool", why)


def test_no_portal(tmp_path: Path, bus: str) -> None:
    """A bus without a portal is told as such."""
    found = seen(tmp_path, bus, OTHER)
    assert found.reason == "wayland-unsupported"
    assert found.detail.endswith("does not show its screen; there is no screenshot portal")


def test_bus_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bus that accepts and says nothing is given up."""
    monkeypatch.setattr(portal, "_BUS_TIMEOUT", 0.5)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "silent"))
        server.listen()
        assert seen(tmp_path, f"unix:path={tmp_path / 'silent'}").reason == "no-tool"


def test_capture(tmp_path: Path, bus: str, picture: Path) -> None:
    """`powdo capture` keeps the portal's picture, and its refusal as the reason."""
    variables = {
        "PATH": str(tmp_path),
        "XDG_RUNTIME_DIR": str(tmp_path),
        "WAYLAND_DISPLAY": "wayland-0",
        "DBUS_SESSION_BUS_ADDRESS": bus,
    }
    refusing: list[bool] = []

    def act() -> tuple[int, str]:
        return (2, "") if refusing else (0, paint(picture).as_uri())

    worker = Worker(tmp_path, options=f'activitywatch = "{unused_url()}"', variables=variables)
    with Portal(bus, act), Compositor(tmp_path / "wayland-0", [GNOME]):
        (record,) = worker.capture("--no-activity")
        refusing.append(True)
        assert worker.capture("--no-activity") == []
    (shot,) = opened(record).screenshots
    assert (shot.monitor, shot.width, shot.height) == (1, 64, 40)
    assert "no screenshot: 'gnome-screenshot' is not installed; the desktop does not allow" in worker.said
    assert "hint: powdo-capture(1) tells how to allow them again" in worker.said


def test_end_while_asked(tmp_path: Path, bus: str) -> None:
    """A capture that waits for the portal's answer ends at once when it is told to."""
    variables = {"XDG_RUNTIME_DIR": str(tmp_path), "WAYLAND_DISPLAY": "wayland-0"}
    variables |= {"PATH": str(tmp_path), "DBUS_SESSION_BUS_ADDRESS": bus}
    worker = Worker(tmp_path, variables=variables)
    asked = threading.Event()
    with Portal(bus, asked.set), Compositor(tmp_path / "wayland-0", [GNOME]):
        process = worker.start("--no-activity")
        assert asked.wait(20)
        process.terminate()
        output, _ = process.communicate(timeout=20)
    assert (process.returncode, output) == (-signal.SIGTERM, b"")
