"""The admin API as a server of its own, beside a relay that has none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from powdo.errors import CannotCreateError
from powdo.servers.admin.api import PATHS, AdminApi
from powdo.servers.log import logger


async def serve(
    api: AdminApi,
    host: str,
    port: int,
    stop: asyncio.Event,
    *,
    listening: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:
    """Serve until *stop*; *listening* is told the address once clients can come, *warn* what fails in us.

    Raises: CannotCreateError.
    """
    application = web.Application()
    application.router.add_route("*", PATHS, api.answer)
    runner = web.AppRunner(application, access_log=None, logger=logger(warn), shutdown_timeout=5.0)
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
