"""What all answers share: headers, and refusals with an ASCII reason."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

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
