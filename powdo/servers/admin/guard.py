"""Who may call the admin API: an address of the right networks that knows the secret.

The address comes first: from elsewhere nobody learns whether a secret is right. Behind a proxy that is not
trusted every stranger would look like the proxy; so a request that was passed on by one has no address.
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Callable

from aiohttp import web

from powdo.errors import KeyRejectedError
from powdo.servers.admin.wire import Refusal
from powdo.servers.proxies import Network, client_address, forwarded, is_address, network_of, within
from powdo.servers.relay.rates import Buckets

SHORTEST = 16
_WRONG_PER_MINUTE = 10
_RETRY = {"Retry-After": str(60 // _WRONG_PER_MINUTE)}
_TOKEN = re.compile(r"[!-~]+", re.ASCII)
_MISSING = {"WWW-Authenticate": 'Bearer realm="powdo"'}
_WRONG = {"WWW-Authenticate": 'Bearer realm="powdo", error="invalid_token"'}


class Guard:
    """Compares what requests bring with *secret*. Raises: KeyRejectedError for one too easily guessed."""

    def __init__(
        self,
        secret: str,
        networks: tuple[Network, ...],
        proxies: tuple[Network, ...],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if len(secret) < SHORTEST or not _TOKEN.fullmatch(secret):
            raise KeyRejectedError(
                f"the relay admin secret is not {SHORTEST} or more printable ASCII characters without spaces",
                hint="make one with `openssl rand -hex 32`",
            )
        self._secret = secret.encode()
        self._networks = networks
        self._proxies = proxies
        self._clock = clock
        self._wrong = Buckets(_WRONG_PER_MINUTE)

    def check(self, request: web.Request) -> None:
        """Let pass who may. Raises: Refusal 403, 429, 401."""
        address = self._address(request)
        if not within(address, self._networks):
            raise Refusal(403, "not from this address")
        key, now = network_of(address), self._clock()
        if not self._wrong.has(key, now):
            raise Refusal(429, "too many wrong secrets", _RETRY)
        headers = request.headers.getall("Authorization", [])
        if not headers:
            raise Refusal(401, "a secret is needed: Authorization: Bearer SECRET", _MISSING)
        if len(headers) > 1 or not self._is_right(headers[0]):
            self._wrong.take(key, now)
            raise Refusal(401, "the secret is wrong", _WRONG)

    def _address(self, request: web.Request) -> str:
        """Return where *request* comes from; nothing when a proxy passed it on that we cannot believe."""
        chain = forwarded(request)
        if chain and not (within(request.remote or "", self._proxies) and all(map(is_address, chain))):
            return ""
        return client_address(request, self._proxies)

    def _is_right(self, header: str) -> bool:
        scheme, _, given = header.partition(" ")
        told = given.strip(" ").encode("utf-8", "surrogateescape")
        return scheme.lower() == "bearer" and hmac.compare_digest(told, self._secret)
