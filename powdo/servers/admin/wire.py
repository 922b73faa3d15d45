"""What all answers share: JSON, refusals with a status, and bodies that end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import web

from powdo.errors import BadRecordError
from powdo.lines import decode_json, encode_json

MAX_BODY = 1 << 20
_PATIENCE = 30.0


class Refusal(Exception):  # noqa: N818  # an answer of the protocol, not an error of ours
    """An answer with *status* and a *reason*, which never repeats what was asked."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = dict(headers or {})


def respond(status: int, value: object, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return *value* as a JSON answer that nobody keeps; `Connection: close` makes it the last one."""
    response = web.Response(
        status=status,
        text=encode_json(value) + "\n",
        content_type="application/json",
        headers={"Server": "powdo", "Cache-Control": "no-store"} | dict(headers or {}),
    )
    if response.headers.get("Connection") == "close":
        response.force_close()
    return response


async def read_body(request: web.Request) -> bytes:
    """Return the body. Raises: Refusal 413 before more than MAX_BODY is read, 408, 400."""
    too_large = Refusal(413, f"a body is at most {MAX_BODY} bytes", {"Connection": "close"})
    if (request.content_length or 0) > MAX_BODY:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(_PATIENCE):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > MAX_BODY:
                    raise too_large
    except TimeoutError:
        raise Refusal(408, "the body did not come", {"Connection": "close"}) from None
    except (ConnectionError, web.RequestPayloadError):
        raise Refusal(400, "the request was cut off", {"Connection": "close"}) from None
    return bytes(body)


def parse_object(body: bytes) -> dict[str, object]:
    """Return the JSON object in *body*. Raises: Refusal 400."""
    try:
        value = decode_json(body)
    except BadRecordError as error:
        raise Refusal(400, error.message) from None
    if not isinstance(value, dict):
        raise Refusal(400, "the body is not a JSON object")
    return value
