"""Screenshots made small, for a page that shows two thousand of them.

Rules:
- the fewer there are, the larger they stay, since the page has no others to open;
- an image is a stranger's: only PNG and WebP are read, none of more pixels than a wall of displays has;
- one that cannot be read is told and left out; the page goes on.
"""

from __future__ import annotations

import base64
import io
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

from powdo.errors import BadRecordError

if TYPE_CHECKING:
    from PIL.Image import Image

#: How wide thumbnails are, up to how many of them: some 20 MB in all.
_WIDTHS = ((100, 1280), (400, 960), (1000, 640))
_NARROWEST = 400
_QUALITY = 45
#: A page with more could not be opened in reasonable time.
MOST = 4000
_MOST_PIXELS = 100_000_000
#: A larger image is unpacked alone: a file of a few hundred kilobytes may take a gigabyte of memory.
_LARGE_PIXELS = 20_000_000
#: Memory comes in pieces that go back to the system at once; smaller ones stay with the thread that had them.
_BLOCK = 1 << 26
_FORMATS = ("PNG", "WEBP")

Load = Callable[[], bytes]


class Thumbnail(NamedTuple):
    """A small image: its size in pixels and where it is, as a `data:` URL."""

    width: int
    height: int
    url: str


def _shrunk(image: Image, width: int) -> Image:
    """Return *image* at most *width* wide; first by a whole factor, which is a quarter of the work."""
    if image.width <= width:
        return image
    height = max(1, round(image.height * width / image.width))
    factor = image.width // width
    return (image.reduce(factor) if factor > 1 else image).resize((width, height))


class Thumbnails:
    """Makes thumbnails for a page with *count* screenshots, several at once."""

    def __init__(self, count: int) -> None:
        self._alone = threading.Lock()
        self._width = next((width for most, width in _WIDTHS if count <= most), _NARROWEST)

    def of(self, loads: Iterable[Load]) -> Iterator[Thumbnail | BadRecordError]:
        """Yield a thumbnail for each of *loads*, in their order, or why there is none."""
        workers = min(8, os.cpu_count() or 1)
        with ThreadPoolExecutor(workers) as pool:
            waiting: deque[Future[Thumbnail | BadRecordError]] = deque()
            try:
                for load in loads:
                    waiting.append(pool.submit(self._tried, load))
                    if len(waiting) > 4 * workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _tried(self, load: Load) -> Thumbnail | BadRecordError:
        try:
            return self.make(load())
        except BadRecordError as error:
            return error

    def make(self, data: bytes) -> Thumbnail:
        """Return the image in *data* made small. Raises: BadRecordError when it is none."""
        import PIL.Image

        PIL.Image.MAX_IMAGE_PIXELS = None  # it warns on stderr first; we refuse, before anything is unpacked
        PIL.Image.core.set_block_size(_BLOCK)  # type: ignore[attr-defined]  # as Pillow documents it
        file = io.BytesIO()
        try:
            with PIL.Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                pixels = image.width * image.height
                if pixels > _MOST_PIXELS:
                    raise BadRecordError(f"a screenshot of {image.width} x {image.height} pixels")
                with self._alone if pixels > _LARGE_PIXELS else nullcontext():
                    small = _shrunk(image.convert("RGB"), self._width)
            small.save(file, "WEBP", quality=_QUALITY, method=2)  # which refuses what is too high
        except (OSError, ValueError, SyntaxError):
            raise BadRecordError("a screenshot that is no image") from None
        text = base64.b64encode(file.getvalue()).decode("ascii")
        return Thumbnail(small.width, small.height, f"data:image/webp;base64,{text}")
