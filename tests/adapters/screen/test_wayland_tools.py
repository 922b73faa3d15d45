"""Compositors of all kinds and their tools, each a stand-in, as `look` and `powdo capture` meet them."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from powdo.adapters.screen import Wishes, look, tools, wayland
from powdo.errors import RetryLaterError
from powdo.settings.desktop import Desktop
from powdo.worktime.privacy import Privacy, screen_refusal
from tests.capture_helpers import Worker, opened, unused_url
from tests.wayland_double import EXT, POWER, WLR, Compositor, string

COPY = "zwlr_screencopy_manager_v1"
KDE, GNOME = "org_kde_plasma_shell", "gtk_shell1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give where a compositor may listen."""
    return tmp_path / "wayland-0"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Give a PNG of 64 x 40 with something on it."""
    image = Image.new("RGB", (64, 40), "white")
    image.paste((200, 10, 10), (5, 5, 30, 20))
    image.save(tmp_path / "picture.png")
    image.save(tmp_path / "picture.ppm")
    return tmp_path / "picture.png"


@pytest.fixture
def tool(tmp_path: Path, picture: Path) -> Callable[[str, str], None]:
    """Give a function that installs a program; its script has the output file as $last."""
    (tmp_path / "bin").mkdir()

    def install(name: str, script: str) -> None:
        program = tmp_path / "bin" / name
        prefix = f'#!/bin/sh\nfor last; do :; done\ncd "{tmp_path}"\necho "$@" >> arguments\n'
        program.write_text(prefix + script + "\n")
        program.chmod(0o755)

    return install


def desktop(path: Path) -> Desktop:
    """Return the desktop of the compositor at *path*."""
    search = f"{path.parent / 'bin'}:/usr/bin:/bin"
    return Desktop(":0", str(path), {"PATH": search, "LANG": "C", "XDG_RUNTIME_DIR": str(path.parent)})


def wishes(path: Path, privacy: Privacy | None = None) -> Wishes:
    """Return what a worker with *privacy* wants; tools may write into `shots`."""
    wanted = privacy or Privacy()

    def folder() -> Path:
        (path.parent / "shots").mkdir(mode=0o700)
        return path.parent / "shots"

    return Wishes(
        refusal=lambda windows: screen_refusal(windows, wanted),
        strict=bool(wanted.deny or wanted.private),
        folder=folder,
    )


@pytest.mark.parametrize("kind", [WLR, EXT])
def test_windows(path: Path, kind: str) -> None:
    """The windows that a compositor lists are known by app and title; a minimized one is not visible."""
    windows = [("foot", "cart.py — é", False), ("keepass", "", True)]
    with Compositor(path, [kind], windows=windows):
        seen = wayland.ask(str(path)).windows
    assert seen == ((("foot", "cart.py — é"),) if kind == WLR else (("foot", "cart.py — é"), ("keepass", "")))


def test_no_list_is_not_no_windows(path: Path) -> None:
    """A compositor that lists no windows is told from one that has none."""
    with Compositor(path, [COPY]):
        assert wayland.ask(str(path)).windows is None
    path.unlink()
    with Compositor(path, [COPY, WLR]):
        assert wayland.ask(str(path)).windows == ()


def test_dark_screens(path: Path, tool: Callable[[str, str], None]) -> None:
    """A monitor that is off is left out; when all are, that is the reason."""
    tool("grim", "cat picture.ppm")
    with Compositor(path, [COPY, WLR, POWER], [("DP-1", False), ("DP-2", True)]):
        seen = look(desktop(path), wishes(path))
    assert [shot.monitor for shot in seen.screenshots] == [2]
    assert (path.parent / "arguments").read_text() == "-t ppm -o DP-2 -\n"
    path.unlink()
    with Compositor(path, [COPY, WLR, POWER], [("DP-1", False), ("DP-2", False)]):
        assert look(desktop(path), wishes(path)).reason == "screen-off"
    path.unlink()
    with Compositor(path, [COPY, WLR], []):
        assert look(desktop(path), wishes(path)).reason == "screen-off"


def test_monitors_without_names(path: Path, tool: Callable[[str, str], None]) -> None:
    """An older compositor that names no monitor gives one image of all."""
    tool("grim", "cat picture.ppm")
    with Compositor(path, [COPY], [("", True), ("", True)]):
        seen = look(desktop(path), wishes(path))
    assert [(shot.monitor, shot.width) for shot in seen.screenshots] == [(1, 64)]
    assert (path.parent / "arguments").read_text() == "-t ppm -\n"


@pytest.mark.parametrize(
    ("kind", "name", "arguments"),
    [(KDE, "spectacle", "-b -n -f -o"), (GNOME, "gnome-screenshot", "-f")],
)
def test_tools_that_write_files(
    path: Path, tool: Callable[[str, str], None], kind: str, name: str, arguments: str
) -> None:
    """KDE's and GNOME's tool write into a private folder, of which nothing is left; they see no secret."""
    tool(name, 'cat picture.png > "$last"; ls -ld shots "$last" > modes; env > variables')
    with Compositor(path, [kind]):
        seen = look(desktop(path), wishes(path))
    assert [(shot.monitor, shot.width, shot.height) for shot in seen.screenshots] == [(1, 64, 40)]
    file = path.parent / "shots" / "screen.png"
    assert (path.parent / "arguments").read_text() == f"{arguments} {file}\n"
    modes = [line[:10] for line in (path.parent / "modes").read_text().splitlines()]
    assert sorted(modes) == ["-rw-------", "drwx------"]
    assert not file.parent.exists()
    names = {line.partition("=")[0] for line in (path.parent / "variables").read_text().splitlines()}
    assert names <= {"PATH", "LANG", "XDG_RUNTIME_DIR", "PWD", "OLDPWD", "SHLVL", "_"}


@pytest.mark.parametrize(
    ("kind", "script", "reason", "detail"),
    [
        (COPY, "echo 'no luck' >&2; exit 3", "tool-failed", "'grim' failed with 3: no luck"),
        (COPY, "echo nonsense", "tool-failed", "'grim' gave no image"),
        (COPY, "head -c 900 picture.ppm", "tool-failed", "'grim' gave no image"),
        (COPY, "", "tool-failed", "'grim' gave no image"),
        (KDE, "", "tool-failed", "'spectacle' wrote no screenshot"),
        (KDE, ': > "$last"', "tool-failed", "'spectacle' gave no image"),
        (GNOME, None, "no-tool", "'gnome-screenshot' is not installed"),
        ("wl_shm", None, "wayland-unsupported", "this Wayland session does not show its screen"),
    ],
)
def test_no_screenshot(
    path: Path, tool: Callable[[str, str], None], kind: str, script: str | None, reason: str, detail: str
) -> None:
    """What a tool fails to give, and no portal either, is a reason; a half image is none."""
    if script is not None:
        tool("grim" if kind == COPY else "spectacle", script)
    with Compositor(path, [kind]):
        seen = look(desktop(path), wishes(path))
    assert (seen.screenshots, seen.reason) == ((), reason)
    assert seen.detail == f"{detail}; there is no screenshot portal"
    assert not (path.parent / "shots").exists()


def test_tool_that_hangs(
    path: Path, tool: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tool that does not end is ended."""
    monkeypatch.setattr(tools, "_TIMEOUT", 0.5)
    tool("grim", "exec sleep 60")
    with Compositor(path, [COPY]):
        seen = look(desktop(path), wishes(path))
    assert seen.detail == "'grim' did not end within 0 seconds; there is no screenshot portal"


@pytest.mark.parametrize("kind", [COPY, KDE, GNOME])
def test_unlisted_windows(path: Path, tool: Callable[[str, str], None], kind: str) -> None:
    """Who denies windows gets no screenshot where windows are not listed, and no tool is run."""
    for name in ("grim", "spectacle", "gnome-screenshot"):
        tool(name, "exit 1")
    private = Privacy(deny=(re.compile("keepass"),))
    with Compositor(path, [kind]):
        assert look(desktop(path), wishes(path, private)).reason == "windows-unknown"
    assert not (path.parent / "arguments").exists()


def test_window_that_opens_meanwhile(path: Path, tool: Callable[[str, str], None]) -> None:
    """A private window that appears while the tool runs discards the screenshot."""
    tool("grim", "cat picture.ppm; touch shot")
    window = ("firefox", "x — Mozilla Firefox Private Browsing", False)

    class Late(Compositor):
        @property
        def windows(self) -> list[tuple[str, str, bool]]:  # type: ignore[override]  # it changes by itself
            return [window] if (path.parent / "shot").exists() else []

        @windows.setter
        def windows(self, value: object) -> None:
            """Keep nothing."""

    with Late(path, [COPY, WLR]):
        seen = look(desktop(path), wishes(path))
    assert (seen.screenshots, seen.reason) == ((), "private")
    assert (path.parent / "shot").exists()


def event(target: int, opcode: int, data: bytes) -> bytes:
    """Return the bytes of an event."""
    return struct.pack("=II", target, (8 + len(data)) << 16 | opcode) + data


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        struct.pack("=II", 1, 4 << 16),
        struct.pack("=II", 1, 0xFFFF << 16) + bytes(100),
        event(1, 0, struct.pack("=II", 1, 2) + string("go away")),
        event(2, 0, bytes(3)),
        event(2, 0, struct.pack("=II", 1, 0xFFFFFFFF)),
    ],
)
def test_servers_that_are_none(path: Path, answer: bytes) -> None:
    """Whatever listens there, it ends in an error that says the compositor cannot be asked."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            link, _ = server.accept()
            with link:
                link.recv(1000)
                link.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(RetryLaterError, match="cannot ask the compositor"):
            wayland.ask(str(path))
        thread.join()


def test_capture_under_kde(tmp_path: Path, path: Path, tool: Callable[[str, str], None]) -> None:
    """`powdo capture` keeps what spectacle gives and leaves no other trace of it."""
    tool("spectacle", 'cp picture.png "$last"')
    variables = dict(desktop(path).variables) | {"WAYLAND_DISPLAY": "wayland-0", "NSEC_MASTER_KEY": "x"}
    worker = Worker(tmp_path, options=f'activitywatch = "{unused_url()}"', variables=variables)
    with Compositor(path, [KDE]):
        (record,) = worker.capture("--no-activity")
    (shot,) = opened(record).screenshots
    assert (shot.width, shot.height) == (64, 40)
    assert [entry.name for entry in (worker.state / "outbox").iterdir() if entry.is_dir()] == [record["id"]]
