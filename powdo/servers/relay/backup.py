"""A copy of the relay's events, made while the relay runs.

SQLite writes it from one moment's view of the file (VACUUM INTO): packed, so that an old relay's space is
given back with it. The relay writes on meanwhile, and its log grows by what it writes until the copy is done.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from powdo.errors import CannotCreateError, OutputError
from powdo.servers.relay.reading import opened
from powdo.settings.paths import fsync_path, half_written

_LOOK_AGAIN = 0.1
#: Steps of SQLite's virtual machine between two looks whether to go on: some milliseconds.
_STEPS = 100_000


def back_up(file: Path, target: Path, progress: Callable[[int], object]) -> None:
    """Copy the events in *file* to *target*, which must not be there (0600); *progress* gets bytes written.

    *target* is there only once it is whole and on the disk.

    Raises: CannotCreateError, InputMissingError, ConfigurationError, OutputError.
    """
    _refuse(target)
    with opened(file, "mode=rw") as db:
        part = half_written(target)
        try:
            _make(part)
            _copy(db, part, progress)
            fsync_path(part)
            _refuse(target)
            part.rename(target)
            fsync_path(target.parent)
        except OSError as error:
            raise OutputError(f"cannot write '{target}': {error.strerror}") from None
        finally:
            part.unlink(missing_ok=True)


def _make(part: Path) -> None:
    """Make an empty file that nobody else can read. Raises: CannotCreateError."""
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise CannotCreateError(f"cannot create '{part}': {error.strerror}") from None


def expected_size(file: Path) -> int:
    """Return about how many bytes a copy of *file* has. Raises: as `back_up`."""
    with opened(file, "mode=rw") as db:
        sql = (
            "SELECT (page_count - freelist_count) * page_size "
            "FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
        )
        return int(db.execute(sql).fetchone()[0])


def _refuse(target: Path) -> None:
    if os.path.lexists(target):
        raise CannotCreateError(f"'{target}' is there already", hint="name a new file for the backup")


def _copy(db: sqlite3.Connection, part: Path, progress: Callable[[int], object]) -> None:
    """Write the copy in a thread, so that a signal breaks it off at once. Raises: OutputError."""
    failed: list[sqlite3.Error] = []
    stopped, ended = threading.Event(), threading.Event()
    db.set_progress_handler(stopped.is_set, _STEPS)

    def copy() -> None:
        try:
            if db.execute("PRAGMA auto_vacuum").fetchone() == (0,):
                db.execute("PRAGMA auto_vacuum=INCREMENTAL")  # of the copy: the file itself cannot change
            db.execute("VACUUM INTO ?", (str(part),))
        except sqlite3.Error as error:
            failed.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=copy)
    done = 0
    try:
        with _undisturbed():
            thread.start()
        # join(), interrupted by a signal, takes the thread for ended before Python 3.13.
        while not ended.wait(_LOOK_AGAIN):
            size = part.stat().st_size
            progress(size - done)
            done = size
    finally:
        stopped.set()
        if thread.ident is not None:
            ended.wait()
    if failed:
        raise OutputError(f"cannot write '{part}': {failed[0]}")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold signals back: a thread that is half started could not be waited for."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
