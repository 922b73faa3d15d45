"""The admin API as a server of its own, beside a relay that has none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from powdo.errors import CannotCreateError
from powdo.servers.admin.api import PATHS, AdminApi


async def serve(
    api: AdminApi, host: str, port: int, listening: Callable[[str], None], stop: asyncio.Event
) -> None:
    """Serve until *stop*; *listening* is told the address once clients can come.

    Raises: CannotCreateError.
    """
    application = web.Application()
    application.router.add_route("*", PATHS, api.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=5.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise CannotCreateError(f"cannot listen on '{host}:{port}': {error.strerror or error}") from None
        listening(f"http://{f'[{host}]' if ':' in host else host}:{runner.addresses[0][1]}")
        await stop.wait()
    finally:
        await runner.cleanup()
