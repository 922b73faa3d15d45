"""Screenshots made small."""

from __future__ import annotations

import base64
import struct
import threading
import time
import zlib
from io import BytesIO

import pytest
from PIL import Image

from powdo.adapters.page import Thumbnail, Thumbnails, thumbnails
from powdo.errors import BadRecordError
from tests.month import picture


def decoded(thumbnail: Thumbnail) -> Image.Image:
    """Return the image in a thumbnail's URL."""
    head, _, text = thumbnail.url.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(BytesIO(base64.b64decode(text)))


@pytest.mark.parametrize(("count", "width"), [(1, 1280), (101, 960), (401, 640), (2000, 400)])
def test_the_fewer_the_larger(count: int, width: int) -> None:
    """A page of few screenshots has room for larger ones; the shape stays."""
    thumbnail = Thumbnails(count).make(picture(1))
    assert (thumbnail.width, thumbnail.height) == (width, width * 1080 // 1920)
    assert decoded(thumbnail).size == (thumbnail.width, thumbnail.height)


def test_a_small_image_is_not_made_larger() -> None:
    """What is narrower than a thumbnail keeps its size."""
    assert Thumbnails(1).make(picture(2, (320, 180)))[:2] == (320, 180)


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    head = struct.pack(">2L5B", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no image",
        picture(3)[:2000],
        b"GIF89a" + bytes(20),
        _png(60_000, 60_000),
        _png(8, 8),
        picture(4, (2, 20_000)),
    ],
    ids=["empty", "text", "cut off", "GIF", "bomb", "no pixels", "too high"],
)
def test_what_is_no_screenshot_is_refused(data: bytes) -> None:
    """Nonsense, other formats, and images that unpack to gigabytes are one clear error, and no warning."""
    with pytest.raises(BadRecordError):
        Thumbnails(1).make(data)


def test_order_is_kept_and_one_that_fails_stops_nothing() -> None:
    """Each image has its place among the answers, however long the others take."""
    sizes = [(64 + number, 36) for number in range(40)]
    loads = [lambda size=size: picture(1, size) for size in sizes]
    loads[7] = lambda: b"no image"
    made = list(Thumbnails(len(loads)).of(loads))
    assert isinstance(made[7], BadRecordError)
    assert [item[:2] for item in made if isinstance(item, Thumbnail)] == sizes[:7] + sizes[8:]


def test_large_images_are_unpacked_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many threads shrink screenshots, but only one at a time what would fill the memory."""
    monkeypatch.setattr(thumbnails, "_LARGE_PIXELS", 100 * 100)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    together: dict[bool, int] = {True: 0, False: 0}
    most = dict(together)
    guard, shrunk = threading.Lock(), thumbnails._shrunk

    def slowly(image: Image.Image, width: int) -> Image.Image:
        large = image.height > 100
        with guard:
            together[large] += 1
            most[large] = max(most[large], together[large])
        time.sleep(0.05)
        with guard:
            together[large] -= 1
        return shrunk(image, width)

    monkeypatch.setattr(thumbnails, "_shrunk", slowly)
    images = [picture(1, (200, 200)), picture(2, (100, 100))] * 6
    made = list(Thumbnails(1).of([lambda data=data: data for data in images]))
    assert [item[:2] for item in made] == [(200, 200), (100, 100)] * 6
    assert most[True] == 1
