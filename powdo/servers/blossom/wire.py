"""What all answers share: headers, refusals with an ASCII reason, and where a request came from."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from aiohttp import web
from aiohttp.web_request import BaseRequest

from powdo.servers.blossom.config import Network

#: On every answer; what a page of another origin may read of it.
COMMON = {
    "Server": "powdo",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": (
        "X-Reason, Content-Range, Accept-Ranges, Content-Length, ETag, Sunset, X-Cashu, X-Lightning"
    ),
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
PREFLIGHT = {
    "Access-Control-Allow-Headers": "Authorization, *",
    "Access-Control-Allow-Methods": "GET, HEAD, PUT, DELETE",
    "Access-Control-Max-Age": "86400",
}


class Refusal(Exception):  # noqa: N818  # an answer of the protocol, not an error of ours
    """An answer with *status* and a *reason* for people."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = dict(headers or {})

    def response(self) -> web.Response:
        """Return the answer."""
        reason = ascii_reason(self.reason)
        headers = COMMON | {"X-Reason": reason, "Cache-Control": "no-store"} | self.headers
        if self.status == 401:
            headers["WWW-Authenticate"] = "Nostr"
        return web.Response(status=self.status, text=reason + "\n", headers=headers)


def ascii_reason(text: str) -> str:
    """Return *text* as a header can carry it: printable ASCII on one line, at most 200 characters."""
    return "".join(sign if " " <= sign <= "~" else "?" for sign in text[:200])


def client_address(request: BaseRequest, proxies: tuple[Network, ...]) -> str:
    """Return the address a request came from, past the *proxies* we trust.

    X-Forwarded-For is read from its end, where our own proxies write, up to the first stranger.
    """
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    address = str(peer[0]) if peer else ""
    chain = [part.strip() for part in ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")]
    while chain and _trusted(address, proxies):
        claimed = chain.pop()
        try:
            address = str(ipaddress.ip_address(claimed))
        except ValueError:
            break
    return address


def _trusted(address: str, proxies: tuple[Network, ...]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in proxy for proxy in proxies)
