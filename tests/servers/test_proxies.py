"""`powdo.servers.proxies`: where a request came from, asked of a server on loopback."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web
from aiohttp.web_request import BaseRequest

from powdo.errors import ConfigurationError
from powdo.servers.proxies import client_address, parse_networks


def _seen(proxies: list[str], *forwarded: str) -> str:
    """Return what address a server sees behind *proxies*, of a request with these X-Forwarded-For."""
    networks = parse_networks(proxies)

    async def answer(request: BaseRequest) -> web.Response:
        return web.Response(text=client_address(request, networks))

    async def main() -> str:
        runner = web.ServerRunner(web.Server(answer))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        headers = [("X-Forwarded-For", value) for value in forwarded]
        try:
            host, port = runner.addresses[0]
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://{host}:{port}", headers=headers) as found,
            ):
                return await found.text()
        finally:
            await runner.cleanup()

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        ([], ["192.0.2.1"], "127.0.0.1"),
        (["127.0.0.0/8"], [], "127.0.0.1"),
        (["127.0.0.0/8"], ["10.0.0.1, 192.0.2.1"], "192.0.2.1"),
        (["127.0.0.0/8"], ["192.0.2.1", "192.0.2.2"], "192.0.2.2"),
        (["127.0.0.0/8", "10.0.0.0/8"], ["192.0.2.1, 10.0.0.1"], "192.0.2.1"),
        (["127.0.0.0/8", "10.0.0.0/8"], ["192.0.2.1, ::ffff:10.0.0.1"], "192.0.2.1"),
        (["127.0.0.0/8"], ["192.0.2.1, nonsense"], "127.0.0.1"),
    ],
)
def test_only_trusted_proxies_are_believed(proxies: list[str], forwarded: list[str], expected: str) -> None:
    """From the end, all that our own proxies wrote is read, in each header, up to the first stranger."""
    assert _seen(proxies, *forwarded) == expected


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "proxy.example", "10.0.0.0/33"])
def test_what_is_no_network_is_refused(text: str) -> None:
    """A name, host bits and nonsense are no network."""
    with pytest.raises(ConfigurationError, match="not a network"):
        parse_networks([text])
