"""A running service that mines for others, for the tests of service and client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from powdo.adapters.database.pow_books import Books
from powdo.adapters.miner import make_miner
from powdo.nips.pow_search import Slice
from powdo.nips.pow_template import Template
from powdo.nips.pow_terms import Terms
from powdo.servers.pow.application import Config, PowServer
from powdo.servers.pow.rules import Rules
from powdo.servers.pow.service import Service
from powdo.servers.relay.limits import Limits

#: What nobody finds in a test's time, and what the terms below allow all the same.
NEVER = 60
TERMS = Terms(min_target=4, max_target=64, base=1000, rate=1000, speed=1e30)


def event(content: str = "hello", **fields: Any) -> dict[str, Any]:
    """Return a minimal event (form A)."""
    return {"kind": 1, "tags": [], "content": content} | fields


class StubbornMiner:
    """A miner that finds nothing, and ends a slice when it is stopped; it counts the slices of each event."""

    name, workers = "stubborn", 1

    def __init__(self) -> None:
        self.slices: dict[str, int] = {}
        self._stopped = threading.Event()

    def work(self, template: Template, first: int, seconds: float) -> Slice:
        """Wait for *seconds* as if they were a tenth as long."""
        content = template.event.content
        self.slices[content] = self.slices.get(content, 0) + 1
        self._stopped.wait(seconds / 10)
        return Slice(1000, 1, None)

    def stop(self) -> None:
        """End the slice."""
        self._stopped.set()

    def resume(self) -> None:
        """Go on."""
        self._stopped.clear()

    def close(self) -> None:
        """Stop."""
        self.stop()


@asynccontextmanager
async def running_service(
    folder: Path,
    *,
    miner: Any = None,
    limits: Limits | None = None,
    idle: float = 600.0,
    warnings: list[str] | None = None,
    **rules: Any,
) -> AsyncIterator[tuple[str, Books]]:
    """Yield the address of a service in this process, and its books; warnings go to a list, if any."""
    expected, warnings = warnings is not None, [] if warnings is None else warnings
    told = {"terms": TERMS, "members": frozenset()} | rules
    with closing(Books(f"sqlite:///{folder}/pow.sqlite")) as books:
        service = Service(
            miner or make_miner(None, 1), books, Rules(**told), name="test", warn=warnings.append
        )
        config = Config(host="127.0.0.1", port=0, warn=warnings.append, idle=idle, limits=limits or Limits())
        stop = asyncio.Event()
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        server = asyncio.ensure_future(PowServer(config, service).serve(ready.set_result, stop))
        try:
            await asyncio.wait({ready, server}, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                server.result()
            yield ready.result(), books
        finally:
            stop.set()
            await server
        assert books.audit() == []
        assert expected or warnings == []
