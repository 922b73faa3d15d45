"""Relay management (NIP-86): the operator changes the allowlist with signed calls, from anywhere.

The signature (NIP-98) is the authorization: it covers the relay's URL and the body, holds for a minute
and counts once. So the networks of the admin API do not apply here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from aiohttp import web

from powdo.errors import PeerProtocolError
from powdo.nips.event import Event
from powdo.nips.nip98 import MAX_SKEW, check_body, read_header
from powdo.servers.admin.handlers import Handlers
from powdo.servers.admin.wire import Refusal, parse_object, read_body, respond

CONTENT_TYPE = "application/nostr+json+rpc"
METHODS = ("allowpubkey", "unallowpubkey", "listallowedpubkeys")


class Management:
    """Answers calls that *operator* (a hex pubkey) has signed."""

    def __init__(self, handlers: Handlers, operator: str) -> None:
        self._handlers = handlers
        self._operator = operator
        self._seen: dict[str, int] = {}

    async def answer(self, request: web.Request, urls: Sequence[str]) -> web.Response:
        """Return the answer to one call; *urls* are the relay's own."""
        try:
            fields = parse_object(await self._authorized_body(request, urls))
        except Refusal as refusal:
            return respond(refusal.status, {"result": None, "error": refusal.reason}, refusal.headers)
        try:
            return respond(200, {"result": await self._call(fields)})
        except Refusal as refusal:
            return respond(200, {"result": None, "error": refusal.reason})

    async def _authorized_body(self, request: web.Request, urls: Sequence[str]) -> bytes:
        """Return the body, which the operator signed, now and for us. Raises: Refusal."""
        headers = request.headers.getall("Authorization", [])
        if len(headers) != 1:
            raise _unauthorized("one Authorization header is needed (NIP-98)")
        try:
            event = read_header(headers[0], request.method, urls=urls, now=int(time.time()))
            if event.pubkey != self._operator:
                raise Refusal(403, "only the operator manages this relay")
            body = await read_body(request)
            check_body(event, body)
        except PeerProtocolError as error:
            raise _unauthorized(error.message) from None
        self._use(event)
        return body

    def _use(self, event: Event) -> None:
        """Let a token count once: remember it for as long as its date would let it pass.

        It is known by its signature: the same call made twice within a second has the same id.
        """
        now = int(time.time())
        self._seen = {each: until for each, until in self._seen.items() if until >= now}
        if event.sig in self._seen:
            raise _unauthorized("token was used before")
        self._seen[event.sig] = event.created_at + MAX_SKEW

    async def _call(self, fields: dict[str, object]) -> object:
        """Return the result of one call; reasons that come with a key are not kept. Raises: Refusal."""
        method, params = fields.get("method"), fields.get("params", [])
        if not isinstance(params, list):
            raise Refusal(400, "'params' is not a list")
        match method:
            case "supportedmethods":
                return METHODS
            case "listallowedpubkeys":
                return [{"pubkey": pubkey} for pubkey in await self._handlers.pubkeys()]
            case "allowpubkey":
                await self._handlers.add(params[0] if params else None)
            case "unallowpubkey":
                await self._handlers.remove(params[0] if params else None)
            case _:
                raise Refusal(400, "no such method; 'supportedmethods' lists them")
        return True


def _unauthorized(reason: str) -> Refusal:
    return Refusal(401, reason, {"WWW-Authenticate": "Nostr"})
