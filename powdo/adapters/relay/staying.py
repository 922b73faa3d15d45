"""Connections to relays that stay where they were sent.

websockets follows a redirect to any host, also where it leads from this machine past the proxy that other
hosts are to be reached through. We follow none, as over HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.asyncio import client as waiting
from websockets.exceptions import InvalidStatus
from websockets.sync import client as blocking

from powdo.adapters.relay.errors import MovedError


class Blocking(blocking.ClientConnection):
    """A connection of threads."""

    def handshake(self, *arguments: Any, **options: Any) -> None:
        """Shake hands. Raises: MovedError, and what websockets raises."""
        with _staying():
            super().handshake(*arguments, **options)


class Waiting(waiting.ClientConnection):
    """A connection of a loop."""

    async def handshake(self, *arguments: Any, **options: Any) -> None:
        """Shake hands. Raises: MovedError, and what websockets raises."""
        with _staying():
            await super().handshake(*arguments, **options)


@contextmanager
def _staying() -> Iterator[None]:
    try:
        yield
    except InvalidStatus as error:
        if 300 <= error.response.status_code < 400:
            raise MovedError("a redirect") from None
        raise
