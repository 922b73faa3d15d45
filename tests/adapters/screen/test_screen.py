"""Images of frames, and the X protocol against servers that are none."""

from __future__ import annotations

import os
import socket
import struct
import threading
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from powdo.adapters.screen import Wishes, look, x11
from powdo.adapters.screen.grab import Frame
from powdo.errors import RetryLaterError
from powdo.settings.desktop import Desktop


def test_text_becomes_a_palette_png() -> None:
    """A frame of few colours is kept exactly."""
    image = Image.new("RGB", (320, 200), "white")
    image.paste((10, 20, 30), (5, 5, 100, 50))
    kind, data = Frame(image).encode()
    assert (kind, Image.open(BytesIO(data)).mode) == ("png", "P")
    assert Image.open(BytesIO(data)).convert("RGB").tobytes() == image.tobytes()


def test_a_photo_becomes_webp() -> None:
    """A frame that stays large as a palette image is kept as WebP, which is smaller."""
    size = (320, 200)
    noise = Image.frombytes("RGB", (32, 20), os.urandom(32 * 20 * 3)).resize(size, Image.Resampling.BICUBIC)
    kind, data = Frame(noise).encode()
    assert (kind, Image.open(BytesIO(data)).format, Image.open(BytesIO(data)).size) == ("webp", "WEBP", size)


@pytest.mark.parametrize("colour", ["black", "white", "#123456"])
def test_blank_frames(colour: str) -> None:
    """One colour is blank; a single other pixel is not."""
    image = Image.new("RGB", (641, 403), colour)
    assert Frame(image).is_blank()
    image.putpixel((640, 402), (9, 9, 9))
    assert not Frame(image).is_blank()


@pytest.mark.parametrize(("blur", "scale"), [(12, 1.0), (7, 0.5), (0, 0.33), (256, 0.1)])
def test_softened(blur: int, scale: float) -> None:
    """A blurred frame holds one colour for each square of the screen, a scaled one fewer pixels."""
    image = Image.frombytes("RGB", (320, 200), os.urandom(320 * 200 * 3))
    soft = Frame(image).softened(blur, scale)
    assert (soft.width, soft.height) == (round(320 * scale), round(200 * scale))
    colours = len(soft._image.getcolors(1 << 20) or ())
    assert colours <= -(-320 // blur) * -(-200 // blur) if blur else colours > 1000


def test_sharp_and_whole() -> None:
    """Without wishes the frame is left as it is."""
    frame = Frame(Image.new("RGB", (320, 200)))
    assert frame.softened(0, 1.0) is frame


def authority(folder: Path, *entries: tuple[int, bytes, bytes, bytes, bytes]) -> Path:
    """Return an Xauthority file with *entries*: family, address, display, name, value."""
    path = folder / "authority"
    path.write_bytes(
        b"".join(
            struct.pack(">H", family) + b"".join(struct.pack(">H", len(part)) + part for part in parts)
            for family, *parts in entries
        )
    )
    return path


def test_cookie_of_the_display(tmp_path: Path) -> None:
    """The cookie is that of this host and display; another display's is not sent."""
    here = socket.gethostname().encode()
    name = b"MIT-MAGIC-COOKIE-1"
    path = authority(
        tmp_path,
        (256, here, b"1", name, b"other display"),
        (256, here, b"7", b"XDM-AUTHORIZATION-1", b"other kind"),
        (256, b"elsewhere", b"7", name, b"elsewhere"),
        (256, here, b"7", name, b"mine"),
    )
    assert x11._cookie(path, 7) == b"mine"
    assert x11._cookie(path, 9) == b""
    assert x11._cookie(tmp_path / "none", 7) == b""
    path.write_bytes(path.read_bytes()[:31])
    assert x11._cookie(path, 7) == b""


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        struct.pack("<BBHHH", 0, 9, 11, 0, 3) + b"no access...",
        struct.pack("<BBHHH", 1, 0, 11, 0, 2) + bytes(8),
        struct.pack("<BBHHH", 1, 0, 11, 0, 20) + bytes(80),
    ],
)
def test_servers_that_are_none(answer: bytes) -> None:
    """Whatever listens there, it ends in an error that says the windows cannot be listed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1] - 6000

        def serve() -> None:
            link, _ = server.accept()
            with link:
                link.recv(100)
                link.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(RetryLaterError, match="cannot list the windows"):
            x11.ask(f"127.0.0.1:{number}", Path("/nonexistent"))
        thread.join()


@pytest.mark.parametrize("strict", [True, False])
def test_windows_are_needed(strict: bool) -> None:
    """When the windows of an X display cannot be listed, there is no screenshot."""
    wishes = Wishes(refusal=lambda _: None, strict=strict, folder=Path)
    seen = look(Desktop("127.0.0.1:1"), wishes)
    assert (seen.screenshots, seen.reason) == ((), "no-display")
    assert "cannot list the windows" in seen.detail


def x_server(server: socket.socket, dpms: bytes | None) -> None:
    """Be an X server without windows for one client; *dpms* is its power level and whether it is enabled."""
    link, _ = server.accept()
    with link, link.makefile("rb") as requests:
        requests.read(12)
        setup = bytes(16) + struct.pack("<HxxBB", 0, 1, 0) + bytes(10) + struct.pack("<L", 7) + bytes(36)
        link.sendall(struct.pack("<BxHHH", 1, 11, 0, len(setup) // 4) + setup)
        while head := requests.read(4):
            opcode, size = struct.unpack("<BxH", head)
            requests.read(4 * size - 4)
            body = bytes(24)
            if opcode == 98:
                body = struct.pack("<BB", dpms is not None, 200) + bytes(22)
            elif opcode == 200 and dpms is not None:
                body = dpms + bytes(21)
            link.sendall(struct.pack("<BxHL", 1, 0, 0) + body)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("dpms", "lit"),
    [(None, True), (b"\0\0\1", True), (b"\3\0\1", False), (b"\1\0\1", False), (b"\3\0\0", True)],
)
def test_power_saving(dpms: bytes | None, lit: bool) -> None:
    """A monitor in standby or off is not photographed, but where nothing tells its power it counts as on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=x_server, args=(server, dpms))
        thread.start()
        display = f"127.0.0.1:{server.getsockname()[1] - 6000}"
        assert x11.ask(display, Path("/nonexistent")) == x11.Screen([], lit=lit)
        thread.join()


@pytest.mark.timeout(30)
def test_dark_screen() -> None:
    """When the monitors of an X session are off, that is the reason, and nothing is grabbed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=x_server, args=(server, b"\2\0\1"))
        thread.start()
        display = f"127.0.0.1:{server.getsockname()[1] - 6000}"
        seen = look(Desktop(display), Wishes(refusal=lambda _: None, strict=False, folder=Path))
        thread.join()
    assert (seen.screenshots, seen.reason) == ((), "screen-off")


def test_nothing_to_look_at() -> None:
    """Without any display there is a reason, and a system without a list of windows heeds strict wishes."""
    wishes = Wishes(refusal=lambda _: None, strict=True, folder=Path)
    assert look(Desktop(None), wishes).reason == "no-display"
    assert look(Desktop(None, native=True), wishes).reason == "windows-unknown"
