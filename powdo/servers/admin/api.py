"""The admin API: the allowlist over HTTP with a secret.

    GET    /admin/allow                             200 {"pubkeys": […], "count": n}
    POST   /admin/allow       {"pubkey": KEY}       201 new, 200 known: {"pubkey": HEX}
    DELETE /admin/allow       {"pubkey": KEY}       200 {"pubkey": HEX}, 404
    POST   /admin/allow/sync  {"pubkeys": [KEY…]}   200 {"added": n, "removed": n, "total": n}

A refusal is {"error": REASON}. There is no CORS: no page of another origin has business here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from powdo.servers.admin.guard import Guard
from powdo.servers.admin.handlers import Handlers
from powdo.servers.admin.wire import Refusal, parse_object, read_body, respond

#: What the router of aiohttp sends here.
PATHS = "/admin{tail:(/.*)?}"

_Handler = Callable[[web.Request], Awaitable[web.Response]]


class AdminApi:
    """Answers who passes *guard*."""

    def __init__(self, handlers: Handlers, guard: Guard) -> None:
        self._handlers = handlers
        self._guard = guard
        self._routes: Mapping[str, Mapping[str, _Handler]] = {
            "/admin/allow": {"GET": self._list, "POST": self._add, "DELETE": self._remove},
            "/admin/allow/sync": {"POST": self._sync},
        }

    async def answer(self, request: web.Request) -> web.Response:
        """Return the answer to a request for a path below /admin."""
        try:
            self._guard.check(request)
            methods = self._routes.get(request.path)
            if methods is None:
                raise Refusal(404, "nothing here")
            handler = methods.get(request.method)
            if handler is None:
                raise Refusal(405, "the method is not for this path", {"Allow": ", ".join(methods)})
            return await handler(request)
        except Refusal as refusal:
            return respond(refusal.status, {"error": refusal.reason}, refusal.headers)

    async def _list(self, _request: web.Request) -> web.Response:
        pubkeys = await self._handlers.pubkeys()
        return respond(200, {"pubkeys": pubkeys, "count": len(pubkeys)})

    async def _add(self, request: web.Request) -> web.Response:
        pubkey, new = await self._handlers.add(await _field(request, "pubkey"))
        return respond(201 if new else 200, {"pubkey": pubkey})

    async def _remove(self, request: web.Request) -> web.Response:
        pubkey, was_in = await self._handlers.remove(await _field(request, "pubkey"))
        if not was_in:
            raise Refusal(404, "not on the allowlist")
        return respond(200, {"pubkey": pubkey})

    async def _sync(self, request: web.Request) -> web.Response:
        done = await self._handlers.sync(await _field(request, "pubkeys"))
        return respond(200, done._asdict())


async def _field(request: web.Request, name: str) -> object:
    """Return the value of *name* in the body. Raises: Refusal."""
    fields = parse_object(await read_body(request))
    if name not in fields:
        raise Refusal(400, f"the body has no '{name}'")
    return fields[name]


async def answer_off(_request: web.Request) -> web.Response:
    """Return the answer of a server without a secret."""
    return respond(404, {"error": "the admin API is off"})
