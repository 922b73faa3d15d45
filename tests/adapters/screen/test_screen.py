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


def test_strict_wishes_need_the_windows() -> None:
    """When windows may forbid it and cannot be listed, there is no screenshot."""
    wishes = Wishes(refusal=lambda _: None, strict=True, folder=Path)
    seen = look(Desktop("127.0.0.1:1"), wishes)
    assert (seen.screenshots, seen.reason) == ((), "no-display")
    assert "cannot list the windows" in seen.detail
