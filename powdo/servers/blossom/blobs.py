"""GET, HEAD and DELETE /<sha256> (BUD-01, 12) and GET /list/<pubkey> (BUD-12)."""

from __future__ import annotations

import asyncio
import json
import time
from email.utils import formatdate
from functools import partial
from typing import BinaryIO

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest

from powdo.nips.blossom import extension, is_hash
from powdo.nips.blossom_tokens import Token
from powdo.servers.blossom.config import Config
from powdo.servers.blossom.gate import Gate
from powdo.servers.blossom.locks import Locks
from powdo.servers.blossom.metadata import Metadata
from powdo.servers.blossom.ranges import Part, Unsatisfiable, not_modified, parse_range, range_applies
from powdo.servers.blossom.rows import Blob, Dropped
from powdo.servers.blossom.storage import Storage
from powdo.servers.blossom.tables import NEVER
from powdo.servers.blossom.uploads import describe
from powdo.servers.blossom.wire import COMMON, Refusal

_PAGE = 100
_LARGEST_PAGE = 1000
_YEAR = 365 * 86400


class FilePart(web.StreamResponse):
    """An answer whose body the kernel copies from *file*; the file is closed in any case."""

    def __init__(
        self, file: BinaryIO, part: Part, *, status: int, headers: dict[str, str], patience: float
    ) -> None:
        super().__init__(status=status, headers=headers)
        self._file = file
        self._part = part
        self._patience = patience
        self.content_length = part.length

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Send headers and body."""
        try:
            writer = await super().prepare(request)
            if request.method != "HEAD":
                await self._send(request)
            await self.write_eof()
        finally:
            self._file.close()
        return writer

    async def _send(self, request: BaseRequest) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._patience):
                sent = await loop.sendfile(transport, self._file, self._part.start, self._part.length)
        except TimeoutError:
            transport.abort()
            raise ConnectionResetError from None
        if sent != self._part.length:  # the disk has lost bytes: let the client see a cut, not a short blob
            transport.abort()
            raise ConnectionResetError


class Blobs:
    """Serves blobs, and lets their owners list and delete them."""

    def __init__(
        self, config: Config, base: str, gate: Gate, storage: Storage, metadata: Metadata, locks: Locks
    ) -> None:
        self._config = config
        self._base = base
        self._gate = gate
        self._storage = storage
        self._metadata = metadata
        self._locks = locks
        self._scope = "private" if config.private else "public"
        self._headers = COMMON | {"Accept-Ranges": "bytes"}

    async def get(self, request: BaseRequest, sha256: str) -> web.StreamResponse:
        """Answer GET and HEAD; a token is looked at on a private server only."""
        if self._config.private:
            self._gate.reader(request, sha256)
        now = int(time.time())
        blob = self._metadata.get(sha256, now)
        if blob is None:
            raise Refusal(404, "no such blob")
        etag = f'"{sha256}"'
        headers = self._headers | {"ETag": etag} | self._lifetime(blob, now)
        if not_modified(request.headers.get("If-None-Match"), etag):
            return web.Response(status=304, headers=headers)
        part = self._part(request, blob, etag)
        headers |= {
            "Content-Type": blob.type,
            "Content-Disposition": f'attachment; filename="{sha256}{extension(blob.type)}"',
        }
        if part is not None:
            headers["Content-Range"] = f"bytes {part.start}-{part.end}/{blob.size}"
        file = self._storage.open(sha256)
        if file is None:
            raise Refusal(404, "no such blob")
        whole = Part(0, blob.size - 1)
        patience = self._config.idle_timeout + blob.size / self._config.min_rate
        return FilePart(file, part or whole, status=206 if part else 200, headers=headers, patience=patience)

    def _lifetime(self, blob: Blob, now: int) -> dict[str, str]:
        """Return how long an answer may be kept, and when the blob goes (RFC 8594)."""
        age = min(_YEAR, blob.expires - now)
        headers = {"Cache-Control": f"{self._scope}, max-age={age}, immutable"}
        if blob.expires < NEVER:
            headers["Sunset"] = formatdate(blob.expires, usegmt=True)
        return headers

    def _part(self, request: BaseRequest, blob: Blob, etag: str) -> Part | None:
        if request.method == "HEAD" or not range_applies(request.headers.get("If-Range"), etag):
            return None
        try:
            return parse_range(request.headers.get("Range"), blob.size)
        except Unsatisfiable:
            raise Refusal(
                416, "the range lies past the end", {"Content-Range": f"bytes */{blob.size}"}
            ) from None

    async def delete(self, request: BaseRequest, sha256: str) -> web.StreamResponse:
        """Answer DELETE: the key of the token no longer owns the blob; without owners it goes."""
        token = self._gate.token(request, "delete")
        self._gate.require_hash(token, sha256)
        self._gate.require_owner(token)
        outcome = await self._locks.change(sha256, partial(self._drop, sha256, token))
        status = {Dropped.MISSING: 404, Dropped.FOREIGN: 403, Dropped.SPENT: 401}.get(outcome)
        if status is not None:
            raise Refusal(status, outcome.value)
        return web.Response(status=204, headers=COMMON)

    async def _drop(self, sha256: str, token: Token) -> Dropped:
        outcome = await self._metadata.drop(
            sha256, token.pubkey, token=token.signature, expires=token.expires, now=int(time.time())
        )
        if outcome is Dropped.GONE:
            self._storage.remove(sha256)
        return outcome

    async def list(self, request: BaseRequest, pubkey: str) -> web.StreamResponse:
        """Answer GET /list/<pubkey>, to its owner only: it would be a public diary of work otherwise."""
        token = self._gate.token(request, "list")
        if token.pubkey != pubkey:
            raise Refusal(403, "blobs are listed to their owner only")
        self._gate.require_owner(token)
        cursor = request.query.get("cursor")
        if cursor is not None and not is_hash(cursor):
            raise Refusal(400, "cursor is not a sha256")
        limit = request.query.get("limit", str(_PAGE))
        if not (limit.isascii() and limit.isdigit() and len(limit) < 10 and int(limit) > 0):
            raise Refusal(400, "limit is not a number")
        blobs = self._metadata.owned(
            pubkey, after=cursor, limit=min(int(limit), _LARGEST_PAGE), now=int(time.time())
        )
        if blobs is None:
            raise Refusal(400, "cursor is not a blob of this key")
        return web.Response(
            headers=COMMON | {"Content-Type": "application/json", "Cache-Control": "no-store"},
            body=json.dumps([describe(blob, self._base) for blob in blobs]).encode(),
        )
