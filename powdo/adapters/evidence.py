"""The blob folder: what proves where stored time came from, each file under its sha256 as `ab/cd/<sha256>`.

Rules:
- a file is there whole and on the disk, or not at all: it is written elsewhere, synced, then renamed;
- it is put here before the database speaks of it; one that no row speaks of does no harm;
- several hosts may share the folder.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from powdo.errors import CannotCreateError, OutputError
from powdo.settings.paths import private_dir

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_WORK = ".work"
#: Work of a run that was killed is removed once no living run can still be at it.
_ABANDONED = 86_400


class Evidence:
    """The files of all bundles below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = private_dir(folder)
        self._work = private_dir(folder / _WORK)
        self._sweep()

    def path(self, sha256: str) -> Path:
        """Return where the file with *sha256* lies or would lie."""
        if _SHA256.fullmatch(sha256) is None:
            raise ValueError("not a sha256")
        return self._folder / sha256[:2] / sha256[2:4] / sha256

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Return a fresh private folder beside the evidence, gone when the block ends."""
        folder = self._work / f"{time.time_ns()}-{secrets.token_hex(8)}"
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise CannotCreateError(f"cannot create '{folder}': {error.strerror}") from None
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep(self, source: Path, sha256: str) -> Path:
        """Return where the file *source*, whose sha256 was checked, lies durably from now on; it is moved."""
        target = self.path(sha256)
        try:
            if not _is_file(target):
                _make_folders(target.parent)
                _sync(source)
                source.replace(target)
                _sync(target.parent)
        except OSError as error:
            raise OutputError(f"cannot keep '{target}': {error.strerror}") from None
        return target

    def _sweep(self) -> None:
        oldest = time.time() - _ABANDONED
        try:
            for entry in os.scandir(self._work):
                if entry.stat(follow_symlinks=False).st_mtime < oldest:
                    shutil.rmtree(entry.path, ignore_errors=True)
        except FileNotFoundError:
            return  # another host was faster
        except OSError as error:
            raise OutputError(f"cannot clean up '{self._work}': {error.strerror}") from None


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _make_folders(folder: Path) -> None:
    """Make the missing folders down to *folder*, each entered durably into the one above."""
    for each in (folder.parent, folder):
        try:
            each.mkdir(mode=0o700)
        except FileExistsError:
            continue
        _sync(each.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
