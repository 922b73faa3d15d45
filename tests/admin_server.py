"""The admin API in a thread of this process, for the tests of several rooms."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from powdo.servers.admin import standalone
from powdo.servers.admin.api import AdminApi
from powdo.servers.admin.guard import Guard
from powdo.servers.admin.handlers import Handlers
from powdo.servers.allowlist import Allowlist
from powdo.servers.proxies import parse_networks
from tests.admin_client import SECRET


@contextmanager
def admin_api(
    path: Path,
    *,
    always: Sequence[str] = (),
    networks: Sequence[str] = ("127.0.0.0/8",),
    proxies: Sequence[str] = (),
    warn: Callable[[str], None] = print,
) -> Iterator[str]:
    """Serve the list in *path* until the block ends; yield the address."""
    guard = Guard(SECRET, parse_networks(networks), parse_networks(proxies))
    api = AdminApi(Handlers(Allowlist(path, always, warn=warn), tell=lambda _: None, warn=warn), guard)
    loop, stop, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    found: list[str] = []

    def listening(url: str) -> None:
        found.append(url)
        ready.set()

    def run() -> None:
        loop.run_until_complete(standalone.serve(api, "127.0.0.1", 0, stop, listening=listening, warn=warn))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        assert not thread.is_alive()
