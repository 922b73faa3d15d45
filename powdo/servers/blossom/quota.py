"""How much is kept, told before a byte of a body is read.

Rules:
- what is under way counts as if it were there, so that uploads at once cannot pass a limit together;
- a blob counts for each of its owners, and once in all; what its owner sends again counts for nothing;
- 413 is said of a blob that can never find room, 507 of one that finds none now.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from powdo.servers.blossom.config import Config
from powdo.servers.blossom.metadata import Metadata
from powdo.servers.blossom.storage import Storage
from powdo.servers.blossom.usage import Usage
from powdo.servers.blossom.wire import Refusal

#: What stays free where nothing else is said: a twentieth of the disk, and no more than a gigabyte.
_SHARE = 20
_MOST_FREE = 1 << 30


@dataclass(slots=True)
class Room:
    """What an upload of *size* bytes by *pubkey* has been promised so far."""

    pubkey: str
    size: int
    of_owner: bool = False
    in_all: bool = False


class Quota:
    """Keeps room for uploads under way."""

    def __init__(self, config: Config, storage: Storage, metadata: Metadata) -> None:
        self._config = config
        self._storage = storage
        self._metadata = metadata
        self._least = _least(config)
        self._blobs: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._in_all = 0
        self._coming = 0

    @contextmanager
    def room(self, pubkey: str, size: int) -> Iterator[Room]:
        """Keep room on the disk for *size* bytes until the block ends. Raises: Refusal 507."""
        self._check_disk(size)
        room = Room(pubkey, size)
        self._coming += size
        try:
            yield room
        finally:
            self._coming -= size
            self._leave(room)

    def cover(self, room: Room, sha256: str | None) -> None:
        """Keep room for what the blob *sha256*, or one unknown yet, would add. Raises: Refusal 413, 507.

        Asked before the body comes, and again when it is there: what was kept before may have gone meanwhile.
        """
        if room.of_owner and room.in_all:
            return
        found = self._metadata.standing(room.pubkey, sha256, int(time.time()))
        if not room.of_owner and not found.owned:
            self._check_owner(room, found.used)
        if not room.in_all and not found.there:
            self._check_all(room)

    def _check_disk(self, size: int) -> None:
        if self._storage.free() - self._coming - size < self._least:
            raise Refusal(507, f"the disk is full: {self._least} bytes of it stay free")

    def _check_owner(self, room: Room, used: Usage) -> None:
        quota, most = self._config.quota, self._config.quota_blobs
        if room.size > quota:
            raise Refusal(413, f"a key may keep {quota} bytes in all")
        left = quota - used.bytes - self._bytes[room.pubkey]
        if room.size > left:
            raise Refusal(507, f"a key may keep {quota} bytes; this one has {max(left, 0)} left")
        if used.blobs + self._blobs[room.pubkey] >= most:
            raise Refusal(507, f"a key may keep {most} blobs; this one has none left")
        self._bytes[room.pubkey] += room.size
        self._blobs[room.pubkey] += 1
        room.of_owner = True

    def _check_all(self, room: Room) -> None:
        capacity = self._config.capacity
        if capacity is not None:
            if room.size > capacity:
                raise Refusal(413, f"the server keeps {capacity} bytes in all")
            if room.size > capacity - self._metadata.usage().bytes - self._in_all:
                raise Refusal(507, f"the server is full: it keeps {capacity} bytes in all")
        self._in_all += room.size
        room.in_all = True

    def _leave(self, room: Room) -> None:
        """Take a promise back: the blob has its rows by now, or does not come."""
        if room.in_all:
            self._in_all -= room.size
        if room.of_owner:
            self._bytes[room.pubkey] -= room.size
            self._blobs[room.pubkey] -= 1
            if not self._blobs[room.pubkey]:
                del self._blobs[room.pubkey], self._bytes[room.pubkey]


def _least(config: Config) -> int:
    if config.min_free is not None:
        return config.min_free
    return min(shutil.disk_usage(config.data).total // _SHARE, _MOST_FREE)
