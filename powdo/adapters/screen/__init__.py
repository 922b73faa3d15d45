"""The screen under X: every monitor as a small image, unless a window on it forbids that.

Rules:
- a screenshot is one image a monitor, at full size; a frame of one single colour is none (a locked or
  foreign session gives black without an error);
- the visible windows are asked for before and after the grab, so none can slip in between;
- what cannot be photographed has a reason, never a stand-in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from powdo.adapters.screen import x11
from powdo.errors import RetryLaterError

#: What a list of windows (names and title of each) forbids, by name; None when nothing.
Refusal = Callable[[Sequence[Sequence[str]]], str | None]


@dataclass(frozen=True, slots=True)
class Screenshot:
    """One monitor at *time* (microseconds): the bytes of an image of *kind* `png` or `webp`."""

    time: int
    monitor: int
    width: int
    height: int
    kind: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Look:
    """The screenshots of one look, and why there are none, or not one a monitor; *detail* is for people."""

    screenshots: tuple[Screenshot, ...] = ()
    reason: str | None = None
    detail: str = ""


def look(display: str, authority: Path, refusal: Refusal, *, strict: bool) -> Look:
    """Return the screenshots of *display*.

    With *strict* there are wishes about windows: then a screen whose windows cannot be listed is not taken.
    """
    before = _refused(display, authority, refusal, strict=strict)
    if before is not None:
        return before
    from powdo.adapters.screen.grab import grab

    moment = time.time_ns() // 1000
    frames = grab(display)
    if isinstance(frames, str):
        return Look(reason="no-display", detail=frames)
    after = _refused(display, authority, refusal, strict=strict)
    if after is not None:
        return after
    shots = []
    for number, frame in enumerate(frames, 1):
        if frame.is_blank():
            continue
        kind, data = frame.encode()
        shots.append(Screenshot(moment, number, frame.width, frame.height, kind, data))
    if len(shots) < len(frames):
        return Look(tuple(shots), "blank", "a monitor shows one single colour")
    return Look(tuple(shots))


def _refused(display: str, authority: Path, refusal: Refusal, *, strict: bool) -> Look | None:
    try:
        reason = refusal(x11.windows(display, authority))
    except RetryLaterError as error:
        if not strict:
            return None  # the grab itself says whether there is a display
        return Look(reason="no-display", detail=error.message)
    return None if reason is None else Look(reason=reason)
