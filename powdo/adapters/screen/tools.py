"""Screenshots by the compositor's own tool, since under Wayland no other program sees the screen.

Rules:
- wlroots, Hyprland and whoever offers screen copying: grim, a monitor at a time, through a pipe;
- KDE: spectacle, GNOME: gnome-screenshot; they write one image of all monitors into a private folder;
- a tool gets the session's variables and nothing else, and a time limit; it inherits no secret;
- XWayland is never asked: it answers with a black screen and no error.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from powdo.adapters.screen.grab import Frame, decoded
from powdo.adapters.screen.wayland import Compositor

_TIMEOUT = 20.0
_COPYING = frozenset({"zwlr_screencopy_manager_v1", "ext_image_copy_capture_manager_v1"})

_Folder = Callable[[], Path]


class Missing(Exception):  # noqa: N818  # it is an answer, no error
    """No screenshot: *reason* and *detail* as in a look."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def shoot(compositor: Compositor, variables: Mapping[str, str], folder: _Folder) -> list[tuple[int, Frame]]:
    """Return each lit monitor's number and frame. Raises: Missing."""
    kinds = compositor.interfaces
    if kinds & _COPYING:
        return list(_grim(compositor, variables))
    if any(kind.startswith("org_kde_plasma") for kind in kinds):
        return [(1, _to_file("spectacle", ("-b", "-n", "-f", "-o"), variables, folder))]
    if "gtk_shell1" in kinds:
        return [(1, _to_file("gnome-screenshot", ("-f",), variables, folder))]
    raise Missing("wayland-unsupported", "this Wayland session does not show its screen")


def _grim(compositor: Compositor, variables: Mapping[str, str]) -> Iterator[tuple[int, Frame]]:
    outputs = compositor.outputs
    if not all(output.name for output in outputs):
        yield 1, _image("grim", _run("grim", ("-t", "ppm", "-"), variables))
        return
    for number, output in enumerate(outputs, 1):
        if output.lit:
            yield number, _image("grim", _run("grim", ("-t", "ppm", "-o", output.name, "-"), variables))


def _to_file(program: str, flags: Sequence[str], variables: Mapping[str, str], folder: _Folder) -> Frame:
    with _private(folder) as place:
        path = place / "screen.png"
        _run(program, (*flags, str(path)), variables, str(place))
        try:
            data = path.read_bytes()
        except OSError:
            raise Missing("tool-failed", f"'{program}' wrote no screenshot") from None
    return _image(program, data)


@contextmanager
def _private(folder: _Folder) -> Iterator[Path]:
    place = folder()
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _run(program: str, flags: Sequence[str], variables: Mapping[str, str], folder: str = "/") -> bytes:
    """Return what *program* writes to stdout."""
    path = shutil.which(program, path=variables.get("PATH"))
    if path is None:
        raise Missing("no-tool", f"'{program}' is not installed")
    try:
        done = subprocess.run(
            (path, *flags),
            check=False,
            env=dict(variables),
            cwd=folder,
            umask=0o077,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        raise Missing("tool-failed", f"'{program}' did not end within {_TIMEOUT:.0f} seconds") from None
    except OSError as error:
        raise Missing("tool-failed", f"cannot start '{program}': {error.strerror}") from None
    if done.returncode != 0:
        said = (done.stderr.decode("utf-8", "replace").strip().splitlines() or [""])[-1][:200]
        raise Missing("tool-failed", f"'{program}' failed with {done.returncode}: {said}")
    return done.stdout


def _image(program: str, data: bytes) -> Frame:
    frame = decoded(data)
    if frame is None:
        raise Missing("tool-failed", f"'{program}' gave no image")
    return frame
