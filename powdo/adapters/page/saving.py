"""Where a page is written: a whole file that only its owner can read, or none."""

from __future__ import annotations

import os
from pathlib import Path

from powdo.errors import CannotCreateError
from powdo.settings.paths import write_private


def check_target(path: Path) -> Path:
    """Return where *path* leads, if a page can be written there. Raises: CannotCreateError.

    A page takes the place of a file by its name, which must not happen to a device or a pipe.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise CannotCreateError(f"cannot create '{path}': there is no folder '{target.parent}'")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise CannotCreateError(f"cannot create '{path}': the folder '{target.parent}' cannot be written")
    if os.path.lexists(target) and not target.is_file():
        raise CannotCreateError(f"cannot create '{path}': it is there, and no regular file")
    return target


def save(target: Path, text: str) -> None:
    """Write the page *text* to *target* at once. Raises: CannotCreateError, OutputError."""
    # Half a character pair is what a title may hold and no encoding can.
    write_private(target, text.encode("utf-8", "replace"))
