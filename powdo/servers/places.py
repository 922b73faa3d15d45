"""The connections of a server: how many there may be, in all and from one address."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from aiohttp import web

C = TypeVar("C")


class Places(Generic[C]):
    """At most *most* connections, and *most_per_address* from one address that is not this machine's."""

    def __init__(self, most: int, most_per_address: int) -> None:
        self.taken: set[C] = set()
        self._most = most
        self._most_per_address = most_per_address
        self._addresses: Counter[str] = Counter()

    def check(self, address: str, what: str) -> None:
        """Return when there is a place for *address* at the server that is *what*. Raises: HTTPException."""
        if len(self.taken) >= self._most:
            raise last(web.HTTPServiceUnavailable(text=f"the {what} is full\n"))
        if not is_own(address) and self._addresses[address] >= self._most_per_address:
            raise last(web.HTTPTooManyRequests(text="too many connections from your address\n"))

    @contextmanager
    def hold(self, connection: C, address: str) -> Iterator[None]:
        """Count *connection* until the block ends."""
        self.taken.add(connection)
        self._addresses[address] += 1
        try:
            yield
        finally:
            self.taken.discard(connection)
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]


def last(refusal: web.HTTPException) -> web.HTTPException:
    """Return *refusal* as the last word on its connection, which would otherwise be kept for an hour."""
    refusal.force_close()
    return refusal


def is_own(address: str) -> bool:
    """Return whether *address* is one of this machine's own."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
