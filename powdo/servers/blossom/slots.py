"""How much may be under way at once: for one key, from one address, and in all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from powdo.servers.blossom.config import Config
from powdo.servers.blossom.wire import Refusal

#: After how many seconds a client is asked to come back: about what an upload takes.
_LATER = {"Retry-After": "5"}


class Slots:
    """Counts the *things* under way of each key, which are never more than *most*."""

    def __init__(self, most: int, things: str) -> None:
        self._most = most
        self._things = things
        self._taken: Counter[str] = Counter()

    def take(self, key: str, whose: str, status: int = 429) -> None:
        """Take a slot of *key*. Raises: Refusal with *status*."""
        if self._taken[key] >= self._most:
            reason = f"{whose} has {self._most} {self._things} under way, which is the limit"
            raise Refusal(status, reason, _LATER)
        self._taken[key] += 1

    def give_back(self, key: str) -> None:
        """Free a slot of *key*."""
        self._taken[key] -= 1
        if not self._taken[key]:
            del self._taken[key]


class UploadSlots:
    """The slots of uploads, from wherever the bytes come."""

    def __init__(self, config: Config) -> None:
        self._of_pubkey = Slots(config.max_uploads_per_pubkey, "uploads")
        self._of_address = Slots(config.max_uploads_per_address, "uploads")
        self._all = Slots(config.max_uploads, "uploads")

    @contextmanager
    def taken(self, pubkey: str, address: str) -> Iterator[None]:
        """Hold a slot of each kind until the block ends. Raises: Refusal 429, 503."""
        held: list[tuple[Slots, str]] = []
        try:
            for slots, key, whose, status in (
                (self._of_pubkey, pubkey, "this key", 429),
                (self._of_address, address, "this address", 429),
                (self._all, "", "the server", 503),
            ):
                slots.take(key, whose, status)
                held.append((slots, key))
            yield
        finally:
            for slots, key in held:
                slots.give_back(key)
