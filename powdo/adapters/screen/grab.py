"""Grabs the monitors with mss and makes small images of them with Pillow.

Text on a desktop has few colours, so a palette of 256 keeps it legible at a third of the size; photos do
not, so a frame that stays large is tried as WebP too.
"""

from __future__ import annotations

import io

import mss
from mss.exception import ScreenShotError
from PIL import Image

_COLOURS = 256
#: Bytes a pixel above which a palette image holds photos (250 kB at 1920 x 1080).
_LARGE = 0.12
_COARSE = 8


class Frame:
    """One monitor's pixels."""

    def __init__(self, image: Image.Image) -> None:
        self._image = image
        self.width, self.height = image.size

    def is_blank(self) -> bool:
        """Return whether all pixels have one colour."""
        coarse = self._image.reduce(min(_COARSE, self.width, self.height))
        return _is_plain(coarse) and _is_plain(self._image)

    def encode(self) -> tuple[str, bytes]:
        """Return (`png` or `webp`, the image's bytes), whichever is smaller where it matters."""
        buffer = io.BytesIO()
        small = self._image.quantize(_COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        small.save(buffer, "PNG", compress_level=6)
        png = buffer.getvalue()
        if len(png) > _LARGE * self.width * self.height:
            webp = self._webp()
            if webp is not None and len(webp) < len(png):
                return "webp", webp
        return "png", png

    def _webp(self) -> bytes | None:
        """Return the frame as WebP; None where Pillow has none or the frame is too large for it."""
        buffer = io.BytesIO()
        try:
            self._image.save(buffer, "WEBP", quality=50, method=2)
        except (OSError, ValueError, KeyError):
            return None
        return buffer.getvalue()

    def softened(self, blur: int, scale: float) -> Frame:
        """Return the frame in squares of *blur* pixels (0: sharp) and *scale* times as large."""
        size = (max(1, round(self.width * scale)), max(1, round(self.height * scale)))
        if blur:
            return Frame(self._image.reduce(blur).resize(size, Image.Resampling.NEAREST))
        return self if size == self._image.size else Frame(self._image.resize(size, Image.Resampling.LANCZOS))


def _is_plain(image: Image.Image) -> bool:
    return len(image.getcolors(1) or ()) == 1


def decoded(data: bytes) -> Frame | None:
    """Return the frame in *data*, a PNG or PPM; None when there is none."""
    try:
        with Image.open(io.BytesIO(data), formats=("PPM", "PNG")) as image:
            return Frame(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def grab(display: str | None) -> list[Frame] | str:
    """Return each monitor of *display* (None: this system's own screen), or why it cannot be grabbed."""
    make = getattr(mss, "MSS", None) or mss.mss  # the name until mss 10.2
    frames = []
    try:
        with make() if display is None else make(display=display) as screen:
            for monitor in screen.monitors[1:] or screen.monitors[:1]:
                shot = screen.grab(monitor)
                image = Image.frombuffer("RGB", tuple(shot.size), shot.raw, "raw", "BGRX", 0, 1)
                frames.append(Frame(image))
    except (ScreenShotError, OSError, ValueError) as error:
        return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return frames or "no monitor"
