"""Proxies before a server: which ones are ours, and where a request came from before them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from aiohttp.web_request import BaseRequest

from powdo.errors import ConfigurationError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return the networks of CIDR notation. Raises: ConfigurationError."""
    result = []
    for text in texts:
        try:
            result.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise ConfigurationError(f"not a network: {error}") from None
    return tuple(result)


def forwarded(request: BaseRequest) -> list[str]:
    """Return for whom a request was passed on, as each proxy on its way wrote it, the last one at the end."""
    return [
        part.strip() for line in request.headers.getall("X-Forwarded-For", []) for part in line.split(",")
    ]


def peer(request: BaseRequest) -> str:
    """Return the address at the other end of the connection, or nothing when it is gone."""
    name = request.transport.get_extra_info("peername") if request.transport is not None else None
    return str(name[0]) if name else ""


def client_address(request: BaseRequest, proxies: tuple[Network, ...]) -> str:
    """Return the address a request came from, past the *proxies* we trust.

    X-Forwarded-For is read from its end, where our own proxies write, up to the first stranger.
    """
    address = peer(request)
    chain = forwarded(request)
    while chain and within(address, proxies):
        claimed = chain.pop()
        try:
            address = str(ipaddress.ip_address(claimed))
        except ValueError:
            break
    return address


def within(address: str, networks: tuple[Network, ...]) -> bool:
    """Return whether *address* is one of *networks*; what is no address is in none."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)


def is_address(text: str) -> bool:
    """Return whether *text* is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=1024)
def network_of(address: str) -> str:
    """Return whom *address* stands for: itself, or with IPv6 the /64 that one customer has."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
