"""The relay's admin API in a thread of the test's own, in any weather; and powdo run in this process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

import click
from aiohttp import web

from powdo.run import Run
from powdo.servers.admin.api import PATHS, AdminApi
from powdo.servers.admin.guard import Guard
from powdo.servers.admin.handlers import Handlers
from powdo.servers.allowlist import Allowlist
from powdo.servers.proxies import parse_networks

SECRET = "known-to-the-tests-only"

#: fine; gone: nothing is done, no answer; mute: it is done, and no answer; broken: 500; a status: that one.
Weather = Literal["fine", "gone", "mute", "broken", "silent"] | int


class AdminRelay:
    """The admin API over an allowlist in memory; *asked* holds method and path of each request."""

    def __init__(self, path: Path | None = None, always: tuple[str, ...] = ()) -> None:
        self.allowlist = Allowlist(path, always)
        self.weather: Weather = "fine"
        self.asked: list[str] = []
        self.answer: Callable[[], web.Response] | None = None
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def pubkeys(self) -> set[str]:
        """Whom it lets in."""
        return set(self.allowlist.pubkeys())

    async def _start(self) -> str:
        handlers = Handlers(self.allowlist, tell=lambda _: None, warn=lambda _: None)
        self._api = AdminApi(handlers, Guard(SECRET, parse_networks(["127.0.0.0/8"]), ()))
        application = web.Application()
        application.router.add_route("*", PATHS, self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _stop(self) -> None:
        await self._runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}  # who was answered by silence
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        if self.answer is not None:
            return self.answer()
        if self.weather == "silent":
            await asyncio.sleep(60)
        if isinstance(self.weather, int) or self.weather == "broken":
            status = 500 if self.weather == "broken" else int(self.weather)
            return web.json_response({"error": "the weather"}, status=status)
        done = await self._api.answer(request) if self.weather != "gone" else web.Response()
        if self.weather != "fine":
            assert request.transport is not None
            request.transport.abort()
        return done


def call(group: click.Group, *words: str) -> Run:
    """Run a command of *group* in this process and return its run, whose console has the status."""
    run = group.main(list(words), standalone_mode=False)
    assert isinstance(run, Run)
    return run


def queue_lines(directory: Path) -> list[dict[str, Any]]:
    """Return the lines of the queue in the state *directory*."""
    path = directory / "allow-queue.jsonl"
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
