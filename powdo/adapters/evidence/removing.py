"""Files go from the blob folder once no row needs them, while other runs may bring the same ones again.

Rules:
- a file is first put aside, then the database is asked once more; so whoever commits a row that needs it
  either is seen, and it goes back, or finds it missing after the commit and puts its own copy there;
- what a killed run has put aside is looked at by the next, as is a file that no row ever spoke of;
- one that no row speaks of is left alone for a day: a run may be about to commit.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path

from powdo.adapters.evidence.folder import place
from powdo.errors import OutputError
from powdo.settings.paths import fsync_path, private_dir

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ASIDE = ".removed"
#: No run takes longer from putting a file here to committing the row that needs it.
_UNCERTAIN = 86_400
_BATCH = 500
_CHUNK = 1 << 20

#: Which of some sha256 are needed by a row.
Needed = Callable[[Collection[str]], Collection[str]]


class Remover:
    """Removes files from *folder* that are not *needed*; with *overwrite* their bytes first."""

    def __init__(self, folder: Path, needed: Needed, *, overwrite: bool = False) -> None:
        self._folder = folder
        self._needed = needed
        self._overwrite = overwrite
        self._aside = folder / _ASIDE

    def remove(self, names: Collection[str]) -> dict[str, int]:
        """Return the size of each file of *names* that was there and is gone. Raises: OutputError."""
        free = sorted(set(names) - set(self._needed(names)))
        try:
            aside = [name for name in free if self._put_aside(name)]
            return self._settle(aside)
        except OSError as error:
            raise OutputError(f"cannot remove files from '{self._folder}': {error.strerror}") from None

    def leftovers(self) -> Iterator[dict[str, int]]:
        """Yield what `remove` returns for files that a killed run has left, a batch at a time."""
        with suppress(FileNotFoundError):
            names = [path.name for path in self._aside.iterdir() if _SHA256.fullmatch(path.name)]
            if names:
                yield self._settled(names)
        for names in self._old():
            if free := set(names) - set(self._needed(names)):
                yield self.remove(free)

    def _settled(self, names: list[str]) -> dict[str, int]:
        try:
            return self._settle(names)
        except OSError as error:
            raise OutputError(f"cannot remove files from '{self._folder}': {error.strerror}") from None

    def _old(self) -> Iterator[list[str]]:
        """Yield the names of the files that have lain in the folder for a day, in batches."""
        before = time.time() - _UNCERTAIN
        batch: list[str] = []
        for number in range(256):
            with suppress(FileNotFoundError), os.scandir(self._folder / f"{number:02x}") as entries:
                batch += [entry.name for entry in entries if _is_old(entry, before)]
            if len(batch) >= _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def _put_aside(self, name: str) -> bool:
        private_dir(self._aside)
        try:
            place(self._folder, name).rename(self._aside / name)
        except FileNotFoundError:
            return False
        return True

    def _settle(self, names: list[str]) -> dict[str, int]:
        """Destroy what was put aside, or put it back if it is needed by now."""
        back = set(self._needed(names)) if names else set()
        gone: dict[str, int] = {}
        for name in names:
            with suppress(FileNotFoundError):  # another run has settled it
                if name in back:
                    self._put_back(name)
                else:
                    gone[name] = self._destroy(self._aside / name)
        if names:
            fsync_path(self._aside)
        return gone

    def _put_back(self, name: str) -> None:
        target = place(self._folder, name)
        with suppress(FileExistsError):  # who needs it has brought it again
            target.hardlink_to(self._aside / name)
            fsync_path(target.parent)
        (self._aside / name).unlink()

    def _destroy(self, path: Path) -> int:
        size = path.stat().st_size
        if self._overwrite:
            with path.open("r+b") as file:
                for at in range(0, size, _CHUNK):
                    file.write(bytes(min(_CHUNK, size - at)))
                file.flush()
                os.fsync(file.fileno())
        path.unlink()
        return size


def _is_old(entry: os.DirEntry[str], before: float) -> bool:
    return _SHA256.fullmatch(entry.name) is not None and entry.stat(follow_symlinks=False).st_mtime < before
