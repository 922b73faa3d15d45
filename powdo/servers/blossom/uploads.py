"""PUT /upload (BUD-02) and HEAD /upload (BUD-06): what is taken, and the way of a blob to the disk."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

from aiohttp import StreamReader, web
from aiohttp.web_request import BaseRequest

from powdo.nips.blossom import OCTETS, Descriptor, blob_url, is_hash
from powdo.nips.blossom_tokens import Token
from powdo.servers.blossom.config import Config
from powdo.servers.blossom.gate import Gate
from powdo.servers.blossom.locks import Locks
from powdo.servers.blossom.metadata import Metadata
from powdo.servers.blossom.quota import Quota, Room
from powdo.servers.blossom.receiving import Body
from powdo.servers.blossom.rows import Blob
from powdo.servers.blossom.slots import UploadSlots
from powdo.servers.blossom.storage import Storage
from powdo.servers.blossom.tables import NEVER
from powdo.servers.blossom.wire import COMMON, Refusal
from powdo.servers.proxies import client_address, network_of

_LENGTH = re.compile(r"[0-9]{1,15}", re.ASCII)
_MOMENT = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,127}/[a-z0-9!#$&^_.+-]{1,127}", re.ASCII)
_ENCODER = json.JSONEncoder(separators=(",", ":"))
#: The timer of a body is set anew once its end has moved by this share of `idle_timeout`, not for each read:
#: a rest may be cut that much short.
_SLACK = 1 / 32


@dataclass(frozen=True, slots=True)
class Offer:
    """A blob before its bytes: whose it is to be, the hash it is *claimed* to have, its type and length.

    *wish* is when it may go, by its owner, or NEVER.
    """

    token: Token
    claimed: str | None
    media_type: str
    length: int
    wish: int

    @property
    def sha256(self) -> str | None:
        """The hash that the blob must have, where only one will do."""
        if self.claimed is None and len(self.token.hashes) == 1:
            return next(iter(self.token.hashes))
        return self.claimed


class Uploads:
    """Takes blobs of listed keys."""

    def __init__(
        self,
        config: Config,
        base: str,
        gate: Gate,
        storage: Storage,
        metadata: Metadata,
        locks: Locks,
        executor: Executor,
    ) -> None:
        self._config = config
        self._base = base
        self._gate = gate
        self._storage = storage
        self._metadata = metadata
        self._locks = locks
        self._executor = executor
        self._slots = UploadSlots(config)
        self._placing = 0
        self._quota = Quota(config, storage, metadata)

    async def check(self, request: BaseRequest) -> web.StreamResponse:
        """Answer HEAD /upload: whether a PUT with these properties would be taken."""
        token, claimed = self.admit(request)
        if claimed is None:
            raise Refusal(400, "X-SHA-256 is required")
        length = self.length(request.headers.get("X-Content-Length"), "X-Content-Length")
        media_type = self.media_type(request.headers.get("X-Content-Type"))
        offer = Offer(token, claimed, media_type, length, wished_end(request))
        with self.slot(request, token), self.room(offer):
            return web.Response(status=200, headers=COMMON)

    async def put(self, request: BaseRequest) -> web.StreamResponse:
        """Answer PUT /upload: 201 for a new blob once it is durable, 200 for one that was there."""
        token, claimed = self.admit(request)
        media_type = self.media_type(request.headers.get("Content-Type"))
        if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise Refusal(415, "Content-Encoding is not taken: blobs are kept as they come")
        length = self.length(request.headers.get("Content-Length"), "Content-Length")
        offer = Offer(token, claimed, media_type, length, wished_end(request))
        with self.slot(request, token), self.room(offer) as room:
            await _continue(request)
            return await self.take(offer, room, request.content)

    def slot(self, request: BaseRequest, token: Token) -> AbstractContextManager[None]:
        """Hold the slots of an upload until the block ends. Raises: Refusal 429, 503."""
        address = client_address(request, self._config.trusted_proxies)
        return self._slots.taken(token.pubkey, network_of(address))

    @contextmanager
    def room(self, offer: Offer) -> Iterator[Room]:
        """Keep room for the blob until the block ends. Raises: Refusal 413, 507."""
        with self._quota.room(offer.token.pubkey, offer.length) as room:
            self._quota.cover(room, offer.sha256)
            yield room

    async def take(self, offer: Offer, room: Room, content: StreamReader) -> web.Response:
        """Return the answer once the blob of *content* is durable.

        Raises: Refusal 400, 401, 408, 409, 507.
        """
        incoming = self._storage.receive()
        try:
            body = Body(incoming, self._executor)
            await self._receive(content, body, offer.length)
            if not self._placing:  # the disk has nothing else to do
                body.hasten()
            sha256 = body.finish()
            if offer.claimed is not None and sha256 != offer.claimed:
                raise Refusal(409, "the body does not have the hash of X-SHA-256")
            self._gate.require_hash(offer.token, sha256)
            blob = Blob(sha256, offer.length, offer.media_type, int(time.time()))
            return await self._locks.change(sha256, partial(self._keep, body, blob, offer, room))
        finally:
            incoming.discard()

    def admit(self, request: BaseRequest) -> tuple[Token, str | None]:
        """Return the token and the hash the client claims. Raises: Refusal."""
        token = self._gate.token(request, "upload")
        claimed = request.headers.get("X-SHA-256")
        if claimed is not None:
            if not is_hash(claimed):
                raise Refusal(400, "X-SHA-256 is not a sha256 in lower-case hex")
            self._gate.require_hash(token, claimed)
        self._gate.require_listed(token)
        return token, claimed

    def length(self, text: str | None, name: str) -> int:
        """Return the number of bytes that the header *name* says. Raises: Refusal 400, 411, 413."""
        if text is None:
            raise Refusal(411, f"{name} is required")
        if not _LENGTH.fullmatch(text):
            raise Refusal(400, f"{name} is not a number of bytes")
        length = int(text)
        if length == 0:
            raise Refusal(400, "an empty blob is not taken")
        if length > self._config.max_size:
            raise Refusal(413, f"blobs are limited to {self._config.max_size} bytes")
        return length

    def media_type(self, text: str | None) -> str:
        """Return the type of a blob, without parameters. Raises: Refusal 400, 415."""
        media_type = (text or OCTETS).partition(";")[0].strip().lower()
        if not _MEDIA_TYPE.fullmatch(media_type):
            raise Refusal(400, "the content type is malformed")
        if media_type not in self._config.types:
            raise Refusal(415, f"taken are {', '.join(sorted(self._config.types))}")
        return media_type

    async def _receive(self, content: StreamReader, body: Body, length: int) -> None:
        """Let *body* have all that comes. Raises: Refusal 400, 408."""
        loop = asyncio.get_running_loop()
        idle, rate = self._config.idle_timeout, self._config.min_rate
        begin = loop.time()
        try:
            async with asyncio.timeout_at(begin + idle) as timer:
                async for data, _ in content.iter_chunks():  # as they came: nothing is put together
                    if body.length + len(data) > length:
                        raise Refusal(400, "the body is longer than Content-Length")
                    now = loop.time()
                    if body.add(data):
                        timer.reschedule(None)  # what the disk takes is not the sender's fault
                        await body.spill()
                        begin += loop.time() - now
                        now = loop.time()
                    # a sender may rest for *idle* seconds, but over all must keep up the least rate
                    end = min(now + idle, begin + idle + body.length / rate)
                    if (armed := timer.when()) is None or end - armed > idle * _SLACK:
                        timer.reschedule(end)
        except TimeoutError:
            raise Refusal(408, "the body came too slowly", {"Connection": "close"}) from None
        if body.length != length:
            raise Refusal(400, "the body is shorter than Content-Length")

    async def _keep(self, body: Body, blob: Blob, offer: Offer, room: Room) -> web.Response:
        """Return the answer once bytes and row are durable. Raises: Refusal 507."""
        self._quota.cover(room, blob.sha256)
        kept = None
        if not self._has(blob):
            kept = self._executor.submit(body.commit, blob.sha256)
        self._placing += 1
        try:
            created = self._descriptor(blob, 201)  # while the disk works
            before = await self._metadata.add(blob, offer.token.pubkey, wish=offer.wish, after=kept)
        finally:
            self._placing -= 1
        return created if before is None else self._descriptor(before, 200)

    def _has(self, blob: Blob) -> bool:
        """Return whether the bytes of *blob* are there, and its row with them."""
        if self._storage.size(blob.sha256) != blob.size:  # asked first: nearly every blob is new
            return False
        return self._metadata.get(blob.sha256, blob.uploaded) is not None

    def _descriptor(self, blob: Blob, status: int) -> web.Response:
        return web.Response(
            status=status,
            headers=COMMON | {"Content-Type": "application/json", "Cache-Control": "no-store"},
            body=_ENCODER.encode(describe(blob, self._base)).encode(),
        )


def describe(blob: Blob, base: str) -> dict[str, object]:
    """Return the blob descriptor of *blob* on the server *base*."""
    return Descriptor(
        url=blob_url(base, blob.sha256, blob.type),
        sha256=blob.sha256,
        size=blob.size,
        type=blob.type,
        uploaded=blob.uploaded,
    ).to_json()


def wished_end(request: BaseRequest) -> int:
    """Return until when the owner wants the blob kept (X-Expiration), or NEVER. Raises: Refusal 400."""
    texts = request.headers.getall("X-Expiration", [])
    if not texts:
        return NEVER
    if len(texts) > 1 or not _MOMENT.fullmatch(texts[0]):
        raise Refusal(400, "X-Expiration is not a moment in unix seconds")
    if int(texts[0]) <= time.time():
        raise Refusal(400, "X-Expiration is in the past")
    return int(texts[0])


async def _continue(request: BaseRequest) -> None:
    """Ask a client that waits for it to send the body, now that it would be taken (RFC 9110, 10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
