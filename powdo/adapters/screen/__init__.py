"""The screen: every monitor as a small image, unless a window on it forbids that.

Rules:
- a screenshot is one image a monitor, at full size unless the worker wants it smaller or in squares;
- a frame of one single colour is none (a locked or foreign session gives black without an error), and
  neither is one that X makes of a Wayland session;
- the windows are asked for before and after the grab, so none can slip in between;
- what cannot be photographed has a reason, never a stand-in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from powdo.adapters.screen import x11
from powdo.errors import RetryLaterError
from powdo.settings.desktop import Desktop, authority_file

if TYPE_CHECKING:
    from powdo.adapters.screen.grab import Frame
    from powdo.adapters.screen.wayland import Compositor

    Frames = list[tuple[int, Frame]]  # with the number of the monitor

#: What a list of windows (names and title of each) forbids, by name; None when nothing.
Refusal = Callable[[Sequence[Sequence[str]]], str | None]

#: Gives a fresh folder that only its owner can enter.
Folder = Callable[[], Path]


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


_DARK = Look(reason="screen-off", detail="the screen is off")
_UNLISTED = Look(reason="windows-unknown", detail="this desktop does not tell its windows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the worker wants of screenshots.

    *refusal* says what windows forbid; with *strict* there are wishes about windows: then a screen whose
    windows cannot be listed is not taken. *blur* and *scale* as in [capture]; *folder* is for tools.
    """

    refusal: Refusal
    strict: bool
    folder: Folder
    blur: int = 0
    scale: float = 1.0


def look(desktop: Desktop, wishes: Wishes) -> Look:
    """Return the screenshots of *desktop*."""
    if desktop.wayland is not None:
        frames = _wayland(desktop, wishes)
    elif desktop.display is not None:
        frames = _x11(desktop, wishes)
    elif desktop.native:
        frames = _native(wishes)
    else:
        return Look(reason="no-display", detail="there is no display")
    return frames if isinstance(frames, Look) else _kept(frames, wishes)


def _kept(frames: Frames, wishes: Wishes) -> Look:
    """Return the images of *frames* that show something."""
    moment = time.time_ns() // 1000
    shots = []
    for number, frame in frames:
        if frame.is_blank():
            continue
        soft = frame.softened(wishes.blur, wishes.scale)
        kind, data = soft.encode()
        shots.append(Screenshot(moment, number, soft.width, soft.height, kind, data))
    if len(shots) < len(frames):
        return Look(tuple(shots), "blank", "a monitor shows one single colour")
    return Look(tuple(shots))


# --- X ---


def _x11(desktop: Desktop, wishes: Wishes) -> Frames | Look:
    before = _refused_x11(desktop, wishes)
    if before is not None:
        return before
    frames = _grabbed(desktop.display)
    if isinstance(frames, Look):
        return frames
    return _refused_x11(desktop, wishes) or frames


def _refused_x11(desktop: Desktop, wishes: Wishes) -> Look | None:
    try:
        screen = x11.ask(desktop.display or "", authority_file(desktop.variables))
    except RetryLaterError as error:
        # Not left to the grab to find out: it would wait for ever for a server that hangs.
        return Look(reason="no-display", detail=error.message)
    if not screen.lit:
        return _DARK
    return _refused(screen.windows, wishes)


def _refused(windows: Sequence[Sequence[str]] | None, wishes: Wishes) -> Look | None:
    if windows is None:
        return _UNLISTED if wishes.strict else None
    reason = wishes.refusal(windows)
    return None if reason is None else Look(reason=reason)


def _grabbed(display: str | None) -> Frames | Look:
    from powdo.adapters.screen.grab import grab

    frames = grab(display)
    if isinstance(frames, str):
        return Look(reason="no-display", detail=frames)
    return list(enumerate(frames, 1))


def _native(wishes: Wishes) -> Frames | Look:
    return _refused(None, wishes) or _grabbed(None)


# --- Wayland ---


def _wayland(desktop: Desktop, wishes: Wishes) -> Frames | Look:
    from powdo.adapters.screen import tools, wayland

    path = desktop.wayland or ""
    try:
        compositor = wayland.ask(path)
        refused = _refused(compositor.windows, wishes)
        if refused is not None:
            return refused
        if not any(output.lit for output in compositor.outputs):
            return _DARK
        frames = _shot(compositor, desktop.variables, wishes.folder)
        return _refused(wayland.ask(path).windows, wishes) or frames
    except tools.Missing as missing:
        return Look(reason=missing.reason, detail=missing.detail)
    except RetryLaterError as error:
        return Look(reason="no-display", detail=error.message)


def _shot(compositor: Compositor, variables: Mapping[str, str], folder: Folder) -> Frames:
    """Return what the compositor's tool gives, or else the desktop's portal. Raises: tools.Missing."""
    from powdo.adapters.screen import tools

    try:
        return tools.shoot(compositor, variables, folder)
    except tools.Missing as missing:
        from powdo.adapters.screen import portal

        try:
            return [(1, portal.shoot(variables))]
        except tools.Missing as further:
            reason = missing.reason if further.reason == "no-portal" else further.reason
            raise tools.Missing(reason, f"{missing.detail}; {further.detail}") from None
