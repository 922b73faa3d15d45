"""The relay behind a TLS proxy: clients prove who they are to its public address, and count by their own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from powdo.nips.bech32 import encode_npub
from tests.relay_helpers import Client, new_key, signed, wrap_for
from tests.relay_wire import Served, relay_process
from tests.tls_proxy import Proxy, tls_proxy

ALICE = new_key()


@asynccontextmanager
async def behind(folder: Path) -> AsyncIterator[tuple[Proxy, Served]]:
    """Yield a proxy, and the relay behind it that lets Alice in and two connections of one address."""
    config = folder / "powdo.toml"
    config.write_text("[relay]\nmax_connections_per_address = 2\n")
    async with tls_proxy(folder) as proxy:
        words = ("--url", proxy.url, "--trusted-proxy", "127.0.0.1/32", "--allow", encode_npub(ALICE.pubkey))
        with relay_process(folder / "data", "-c", str(config), *words) as relay:
            proxy.upstream = relay.port
            yield proxy, relay


@asynccontextmanager
async def client(proxy: Proxy, **options: object) -> AsyncIterator[Client]:
    """Yield a connection through the proxy."""
    async with connect(proxy.url, ssl=proxy.trusting, compression=None, **options) as connection:  # type: ignore[arg-type]  # the caller's own
        made = Client(connection, proxy.url)
        made.challenge = (await made.hear())[1]
        yield made


def test_clients_authenticate_to_the_public_address(tmp_path: Path) -> None:
    """AUTH with the wss URL lets a member publish and read wraps; one made for another relay does not."""

    async def scenario() -> None:
        async with behind(tmp_path) as (proxy, relay), client(proxy) as alice:
            refused = await alice.authenticate(ALICE, url="wss://relay.example")
            assert (refused[0], refused[1].partition(":")[0]) == (False, "invalid")
            wrap = wrap_for(ALICE.pubkey)
            assert (await alice.publish(wrap))[0] is False
            for url in (proxy.url, f"WSS://LOCALHOST:{proxy.port}/"):
                assert await alice.authenticate(ALICE, url=url) == (True, "")
            assert await alice.publish(wrap) == (True, "")
            assert await alice.ids({"kinds": [1059], "#p": [ALICE.pubkey]}) == [wrap.id]
            assert relay.stderr.read_text() == ""

    asyncio.run(scenario())


def test_addresses_are_those_before_the_proxy(tmp_path: Path) -> None:
    """Each address has its own share, and nobody gets another's by writing X-Forwarded-For."""

    async def scenario() -> None:
        async with behind(tmp_path) as (proxy, _), client(proxy), client(proxy):
            for claimed in ({}, {"X-Forwarded-For": "198.51.100.9"}):
                with pytest.raises(InvalidStatus) as refused:
                    async with client(proxy, additional_headers=claimed):
                        pass
                assert refused.value.response.status_code == 429
            proxy.client = "192.0.2.2"
            async with client(proxy) as other:
                assert await other.ids({"kinds": [1]}) == []

    asyncio.run(scenario())


def test_people_and_clients_are_told_the_public_address(tmp_path: Path) -> None:
    """The page names the wss URL, and NIP-11 comes through as well."""

    async def scenario() -> None:
        async with behind(tmp_path) as (proxy, _), aiohttp.ClientSession() as session:
            address = f"https://localhost:{proxy.port}/"
            headers = {"Accept": "text/html", "Connection": "close"}
            async with session.get(address, headers=headers, ssl=proxy.trusting) as response:
                assert proxy.url in await response.text()
            headers["Accept"] = "application/nostr+json"
            async with session.get(address, headers=headers, ssl=proxy.trusting) as response:
                assert (await response.json(content_type=None))["limitation"]["restricted_writes"] is True

    asyncio.run(scenario())


def test_a_signal_says_goodbye_through_the_proxy(tmp_path: Path) -> None:
    """A subscriber gets what was committed, then 1001."""

    async def scenario() -> None:
        async with behind(tmp_path) as (proxy, relay), client(proxy) as reader:
            assert await reader.ids({"kinds": [1]}) == []
            async with client(proxy) as writer:
                event = signed(ALICE)
                assert await writer.publish(event) == (True, "")
            relay.process.send_signal(signal.SIGTERM)
            assert (await reader.hear())[2]["id"] == event.id
            with pytest.raises(ConnectionClosed) as closed:
                await reader.hear()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
            assert await asyncio.to_thread(relay.process.wait, 8) == -signal.SIGTERM

    asyncio.run(scenario())
