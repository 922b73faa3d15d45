"""PUT /mirror (BUD-04): a blob comes from another server, and is kept as an upload is."""

from __future__ import annotations

import asyncio

from aiohttp import ClientError, ClientResponse, web
from aiohttp.web_request import BaseRequest
from yarl import URL

from powdo.errors import BadRecordError
from powdo.lines import decode_json
from powdo.nips.blossom import check_address, host_allowed
from powdo.nips.blossom_tokens import Token
from powdo.servers.blossom.config import Config
from powdo.servers.blossom.origins import fetching
from powdo.servers.blossom.uploads import Offer, Uploads, wished_end
from powdo.servers.blossom.wire import Refusal

_LONGEST_BODY = 8192
#: What would be the fault of the sender of a body is the origin's here, and bytes that the token does not
#: name are a conflict (BUD-04).
_BLAME = {400: 502, 408: 502, 411: 502, 401: 409}


class Mirror:
    """Fetches blobs for listed keys from the hosts in the configuration."""

    def __init__(self, config: Config, uploads: Uploads) -> None:
        self._config = config
        self._uploads = uploads

    async def put(self, request: BaseRequest) -> web.StreamResponse:
        """Answer PUT /mirror: as an upload of the bytes that the wished URL gives."""
        token, claimed = self._uploads.admit(request)
        if not token.hashes:
            raise Refusal(401, "token names no blob")
        wish = wished_end(request)
        url = self._allowed(await self._named(request))
        try:
            with self._uploads.slot(request, token):
                return await self._fetch(url, token, claimed, wish)
        except Refusal as refusal:
            if refusal.status not in _BLAME:
                raise
            raise Refusal(_BLAME[refusal.status], f"origin: {refusal.reason}") from None
        except (ClientError, ConnectionError, TimeoutError):
            raise Refusal(502, "the origin cannot be reached, or broke off") from None

    async def _fetch(self, url: URL, token: Token, claimed: str | None, wish: int) -> web.Response:
        async with fetching(url, idle_timeout=self._config.idle_timeout) as origin:
            length, media_type = self._checked(origin)
            offer = Offer(token, claimed, media_type, length, wish)
            with self._uploads.room(offer) as room:
                return await self._uploads.take(offer, room, origin.content)

    async def _named(self, request: BaseRequest) -> str:
        """Return the URL in the body. Raises: Refusal 400, 408, 413."""
        body = b""
        try:
            async with asyncio.timeout(self._config.idle_timeout):
                while data := await request.content.readany():
                    body += data
                    if len(body) > _LONGEST_BODY:
                        raise Refusal(413, f"the body is limited to {_LONGEST_BODY} bytes")
        except TimeoutError:
            raise Refusal(408, "the body came too slowly", {"Connection": "close"}) from None
        try:
            value = decode_json(body)
        except BadRecordError:
            value = None
        url = value.get("url") if isinstance(value, dict) else None
        if not isinstance(url, str):
            raise Refusal(400, 'the body is not {"url": ...}')
        return url

    def _allowed(self, text: str) -> URL:
        """Return the URL if its host is one of ours to mirror. Raises: Refusal 400, 403."""
        try:
            url = URL(check_address(text), encoded=True)
            origin = str(url.origin())  # of what is connected to, not of what another parser makes of it
        except (BadRecordError, ValueError):
            raise Refusal(400, "the url is not one of a blob") from None
        if not host_allowed(origin, self._config.mirror_hosts):
            raise Refusal(403, "blobs of this host are not mirrored here")
        return url

    def _checked(self, origin: ClientResponse) -> tuple[int, str]:
        """Return length and type of the blob that *origin* is about to send. Raises: Refusal."""
        if origin.status != 200:
            raise Refusal(502, f"the origin answers {origin.status}")
        if origin.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise Refusal(502, "the origin sends a coded body")
        length = self._uploads.length(origin.headers.get("Content-Length"), "Content-Length")
        return length, self._uploads.media_type(origin.headers.get("Content-Type"))
