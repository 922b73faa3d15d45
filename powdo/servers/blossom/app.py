"""The server itself: from a request to its handler, and from start to stop."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from aiohttp import web
from aiohttp.web_request import BaseRequest

from powdo.errors import CannotCreateError
from powdo.nips.blossom import BLOB_PATH
from powdo.servers import descriptors
from powdo.servers.allowlist import Allowlist
from powdo.servers.blossom.alone import alone
from powdo.servers.blossom.blobs import Blobs
from powdo.servers.blossom.config import Config
from powdo.servers.blossom.connections import Connections, Server
from powdo.servers.blossom.gate import Gate
from powdo.servers.blossom.locks import Locks
from powdo.servers.blossom.metadata import Metadata
from powdo.servers.blossom.mirror import Mirror
from powdo.servers.blossom.removals import Removals
from powdo.servers.blossom.retention import Retention
from powdo.servers.blossom.storage import Folder
from powdo.servers.blossom.sweeping import sweeping
from powdo.servers.blossom.tables import FILE
from powdo.servers.blossom.uploads import Uploads
from powdo.servers.blossom.wire import COMMON, PREFLIGHT, Refusal
from powdo.servers.log import logger
from powdo.servers.proxies import client_address

_LIST_PATH = re.compile(r"/list/([0-9a-f]{64})", re.ASCII)
#: Paths that try to name a blob, or an owner, and fail: 400 rather than 404.
_MALFORMED = re.compile(r"/list/.*|/*[^/]*[0-9A-Fa-f]{60}.*", re.ASCII | re.DOTALL)
_HASHES = re.compile(r"([0-9A-Fa-f]{8})[0-9A-Fa-f]{56}")
_ABOUT = "A Blossom server of powdo: it keeps encrypted blobs for the keys on its list.\n"
_SYNCING_THREADS = 8
_READ_BUFFER = 1 << 18
_LINGERING = 5.0
#: For what has not come to its end within `shutdown_timeout`, to be cancelled.
_CLEANING = 1.0


class Application:
    """Answers every request, whatever it is."""

    def __init__(self, config: Config, uploads: Uploads, blobs: Blobs, mirror: Mirror) -> None:
        self.connections = Connections(config)
        self._config = config
        self._uploads = uploads
        self._blobs = blobs
        self._mirror = mirror

    async def handle(self, request: BaseRequest) -> web.StreamResponse:
        """Return the answer to *request*."""
        address = client_address(request, self._config.trusted_proxies)
        response = await self._guarded(request, address)
        path = _shortened(_path(request))
        self._config.log(f"{address} {request.method} {path} {response.status}")
        return response

    async def _guarded(self, request: BaseRequest, address: str) -> web.StreamResponse:
        try:
            self.connections.works(request, address)
            return await self._route(request)
        except Refusal as refusal:
            return refusal.response()
        except (ConnectionError, web.RequestPayloadError):
            return Refusal(400, "the request was cut off", {"Connection": "close"}).response()
        except (OSError, sqlite3.Error) as error:
            self._config.warn(_shortened(f"cannot answer {request.method}: {error}"))
            if _full(error):
                return Refusal(507, "no room left").response()
            return Refusal(503, "storage is out of order").response()

    async def _route(self, request: BaseRequest) -> web.StreamResponse:
        method, path = request.method, _path(request)
        if method == "OPTIONS":
            return web.Response(status=204, headers=COMMON | PREFLIGHT)
        if match := BLOB_PATH.fullmatch(path):
            if method in ("GET", "HEAD"):
                return await self._blobs.get(request, match[1])
            if method == "DELETE":
                return await self._blobs.delete(request, match[1])
            raise _wrong_method("GET, HEAD, DELETE, OPTIONS")
        if path == "/upload":
            if method == "PUT":
                return await self._uploads.put(request)
            if method == "HEAD":
                return await self._uploads.check(request)
            raise _wrong_method("PUT, HEAD, OPTIONS")
        if path == "/mirror" and self._config.mirror_hosts:
            if method == "PUT":
                return await self._mirror.put(request)
            raise _wrong_method("PUT, OPTIONS")
        if match := _LIST_PATH.fullmatch(path):
            if method == "GET":
                return await self._blobs.list(request, match[1])
            raise _wrong_method("GET, OPTIONS")
        if path == "/" and method in ("GET", "HEAD"):
            return web.Response(text=_ABOUT, headers=COMMON)
        raise (
            Refusal(400, "the path is malformed")
            if _MALFORMED.fullmatch(path)
            else Refusal(404, "nothing here")
        )


def _full(error: OSError | sqlite3.Error) -> bool:
    """Return whether the disk has no room, for a blob or for its row."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def _path(request: BaseRequest) -> str:
    """Return the path as it was sent, nothing decoded; the absolute form is a proxy's way to say it."""
    target = request.raw_path
    if not target.startswith("/"):
        target = request.rel_url.raw_path or "/"
    return target.partition("?")[0].partition("#")[0]


def _shortened(text: str) -> str:
    """Return *text* with no more of hashes and keys than tells them apart, for the log."""
    return _HASHES.sub(r"\1...", text)


def _wrong_method(allowed: str) -> Refusal:
    return Refusal(405, "the method is not for this path", {"Allow": allowed})


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Serve until *stop* is set; `config.ready` is called with the local URL once connections are taken.

    Raises: BusyError, CannotCreateError, ConfigurationError.
    """
    with alone(config.data), closing(_listen(config)) as listener:
        storage = Folder(config.data)
        storage.prepare()
        allowlist = Allowlist(
            config.allowlist or config.data / "allowlist.json", config.allow, warn=config.warn
        )
        metadata = Metadata(config.data / FILE, Retention(config.retention))
        executor = ThreadPoolExecutor(_SYNCING_THREADS, "blossom-sync")
        try:
            storage.settle(metadata.has)
            if await metadata.reschedule():
                config.tell("other rules of retention than before hold for what is kept already")
            port = listener.getsockname()[1]
            base = config.base(port)
            removals = Removals(None if config.open else allowlist, metadata, config.warn)
            gate = Gate(allowlist, removals, config.domains(port), everyone=config.open)
            locks = Locks(storage, config.warn)
            uploads = Uploads(config, base, gate, storage, metadata, locks, executor)
            application = Application(
                config,
                uploads,
                Blobs(config, base, gate, storage, metadata, locks),
                Mirror(config, uploads),
            )
            async with sweeping(config, storage), removals.followed():
                await _run(config, application, listener, config.local(port), stop)
        finally:
            executor.shutdown()
            await metadata.close()


def _listen(config: Config) -> socket.socket:
    """Return a listening socket. Raises: CannotCreateError."""
    name = f"[{config.host}]:{config.port}" if ":" in config.host else f"{config.host}:{config.port}"
    try:
        found = socket.getaddrinfo(
            config.host or None, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1024)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise CannotCreateError(f"cannot listen on '{name}': {error.strerror}") from None
    return listener


async def _run(
    config: Config, application: Application, listener: socket.socket, url: str, stop: asyncio.Event
) -> None:
    """Take connections until *stop*; what is being answered then may end."""
    server = Server(
        application.handle,
        application.connections,
        config,
        access_log=None,
        logger=logger(config.warn),
        auto_decompress=False,
        lingering_time=_LINGERING,
        read_bufsize=_READ_BUFFER,
    )
    descriptors.watch(asyncio.get_running_loop(), config.warn)
    runner = web.ServerRunner(server, shutdown_timeout=_CLEANING)
    await runner.setup()
    site = web.SockSite(runner, listener, backlog=1024)
    try:
        await site.start()
        config.ready(url)
        await stop.wait()
        await site.stop()
        await application.connections.end(config.shutdown_timeout)
    finally:
        await runner.cleanup()
