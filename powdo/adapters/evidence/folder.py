"""The blob folder: what proves where stored time came from, each file under its sha256 as `ab/<sha256>`.

Rules:
- a file is there whole and on the disk, or not at all: it is written elsewhere, synced, then renamed;
- it is put here before the database speaks of it; one that no row speaks of does no harm;
- several hosts may share the folder; a run that works in a folder of `.work` holds a lock on it, so that what
  a killed run left there in plain text is told from what is in use, and goes with the next run.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from powdo.errors import CannotCreateError, OutputError
from powdo.settings.paths import fsync_path, private_dir

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_WORK = ".work"
#: Where locks tell nothing, work is removed once no living run can still be at it.
_ABANDONED = 86_400


class Evidence:
    """The files of all bundles below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = private_dir(folder)
        _make_folders(folder)
        self._work = private_dir(folder / _WORK)
        self._own: tuple[Path, int] | None = None
        self._sweep()

    def close(self) -> None:
        """Remove the folder of this run's work."""
        if self._own is not None:
            folder, lock = self._own
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
            self._own = None

    def path(self, sha256: str) -> Path:
        """Return where the file with *sha256* lies or would lie."""
        return place(self._folder, sha256)

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Return an empty private folder beside the evidence; files left in it go when the block ends."""
        folder = self._own_folder()
        try:
            yield folder
        finally:
            with suppress(OSError):  # what stays goes with the folder
                for entry in os.scandir(folder):
                    Path(entry.path).unlink(missing_ok=True)

    def _own_folder(self) -> Path:
        """Return the folder of this run, which looks used from now on: where there are no locks age tells."""
        if self._own is not None:
            try:
                os.utime(self._own[0])
            except FileNotFoundError:  # taken for an abandoned one by another host
                self.close()
        if self._own is None:
            self._own = self._locked_folder()
        return self._own[0]

    def _locked_folder(self) -> tuple[Path, int]:
        """Return a new folder and a descriptor that locks it; a sweep may be faster and remove it."""
        while True:
            folder = self._work / f"{_own_prefix()}{secrets.token_hex(8)}"
            try:
                folder.mkdir(mode=0o700)
            except OSError as error:
                raise CannotCreateError(f"cannot create '{folder}': {error.strerror}") from None
            lock = _open_folder(folder)
            if lock is None:
                continue
            if _lock(lock) is not False and folder.exists():
                return folder, lock
            os.close(lock)

    def keep(self, source: Path, sha256: str) -> Path:
        """Return where the file *source*, whose sha256 was checked, lies durably from now on; it is moved."""
        target = self.path(sha256)
        try:
            if not _is_file(target):
                fsync_path(source)
                source.replace(target)
                fsync_path(target.parent)
        except OSError as error:
            raise OutputError(f"cannot keep '{target}': {error.strerror}") from None
        return target

    def _sweep(self) -> None:
        try:
            for entry in os.scandir(self._work):
                if entry.is_dir(follow_symlinks=False):
                    _sweep_folder(entry)
        except FileNotFoundError:
            return  # another host was faster
        except OSError as error:
            raise OutputError(f"cannot clean up '{self._work}': {error.strerror}") from None


def place(folder: Path, sha256: str) -> Path:
    """Return where the file with *sha256* lies or would lie in the blob folder *folder*."""
    if _SHA256.fullmatch(sha256) is None:
        raise ValueError("not a sha256")
    return folder / sha256[:2] / sha256


def _own_prefix() -> str:
    """Return how the folders of this host's runs begin."""
    return re.sub(r"[^0-9A-Za-z-]", "_", os.uname().nodename)[:64] + "~"


def _open_folder(folder: Path) -> int | None:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def _lock(descriptor: int) -> bool | None:
    """Return whether the lock is ours now; None where the file system has no such locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _sweep_folder(entry: os.DirEntry[str]) -> None:
    """Remove *entry* if the run that worked there is gone."""
    lock = _open_folder(Path(entry.path))
    if lock is None:
        return
    try:
        free = _lock(lock)
        # A lock of another host may not be seen here, and where there are no locks age has to tell.
        certain = free and entry.name.startswith(_own_prefix())
        old = entry.stat(follow_symlinks=False).st_mtime < time.time() - _ABANDONED
        if certain or (old and free is not False):
            shutil.rmtree(entry.path, ignore_errors=True)
    finally:
        os.close(lock)


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _make_folders(folder: Path) -> None:
    """Make all folders that files can lie in at once; made one by one, each costs a sync of *folder*."""
    try:
        missing = {f"{number:02x}" for number in range(256)} - {path.name for path in folder.iterdir()}
        for name in sorted(missing):
            (folder / name).mkdir(mode=0o700, exist_ok=True)
        if missing:
            fsync_path(folder)
    except OSError as error:
        raise CannotCreateError(f"cannot create folders in '{folder}': {error.strerror}") from None
