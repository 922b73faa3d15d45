"""Where a mirror may fetch from: hosts the operator names, at addresses that are public.

Rules:
- a name is resolved once, and the connection goes to the addresses that were looked at (no DNS rebinding);
- a name leads to public addresses only; an address, or `localhost`, that the operator names means itself;
- nothing of the environment counts: no proxy, no cookies, no credentials; no redirect is followed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import (
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
    ThreadedResolver,
)
from aiohttp.abc import ResolveResult
from yarl import URL

from powdo.nips.blossom import is_loopback

_UNICAST = ipaddress.ip_network("2000::/3")
#: Tunnels to IPv4 addresses, which nobody has looked at: Teredo and 6to4.
_TUNNELS = tuple(map(ipaddress.ip_network, ("2001::/32", "2002::/16")))


def is_public(address: str) -> bool:
    """Return whether an IP *address* belongs to a host of the Internet, of which there is one."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address) and (
        ip not in _UNICAST or any(ip in tunnel for tunnel in _TUNNELS)
    ):
        return False
    return ip.is_global and not ip.is_multicast


class _Resolver(ThreadedResolver):
    """Gives the addresses of a name that may be connected to."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of *host*. Raises: OSError."""
        found = await super().resolve(host, port, family)
        local = is_loopback(host)  # named by the operator: no other name gets here
        allowed = [
            each
            for each in found
            if (ipaddress.ip_address(each["host"]).is_loopback if local else is_public(each["host"]))
        ]
        if not allowed:
            raise OSError(None, "its address is not public")
        return allowed


@asynccontextmanager
async def fetching(url: URL, *, idle_timeout: float) -> AsyncIterator[ClientResponse]:
    """Give the answer to a GET of *url* once its headers are there, and end the connection afterwards.

    Raises: aiohttp.ClientError, TimeoutError.
    """
    client = ClientSession(
        connector=TCPConnector(resolver=_Resolver(), force_close=True),
        cookie_jar=DummyCookieJar(),
        headers={"User-Agent": "powdo", "Accept-Encoding": "identity"},
        timeout=ClientTimeout(total=None, sock_connect=idle_timeout, sock_read=idle_timeout),
        auto_decompress=False,
        trust_env=False,
    )
    async with client:
        async with asyncio.timeout(idle_timeout):
            answer = await client.get(url, allow_redirects=False)
        async with answer:
            yield answer
