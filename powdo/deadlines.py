"""Deadlines for HTTP exchanges, which also hold for a peer who sends a byte at a time, and their way out.

A timeout of requests ends one silence only; here another thread shuts the sockets when the time is up.
A proxy is a way for connections, below HTTP: TLS goes through it to the server, and what the server is
called is told to the proxy and looked up nowhere else.
"""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from powdo.errors import PeerAwayError

_BLOCK = 1 << 18

#: What says which proxy (`socks5h://…` or `http://…`) a host must be reached through, or None.
WayTo = Callable[[str], str | None]


def _opened(
    connection: HTTPConnection, directly: Callable[[], socket.socket], way_to: WayTo
) -> socket.socket:
    """Return a socket to where *connection* goes, *directly* or through the proxy that leads there."""
    proxy = way_to(connection.host)
    return directly() if proxy is None else _through(proxy, connection)


def _through(proxy: str, connection: HTTPConnection) -> socket.socket:
    """Return a socket that leads through *proxy* to where *connection* goes. Raises: PeerAwayError."""
    from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
    from python_socks.sync import Proxy

    peer = f"{connection.host}:{connection.port}"
    way = Proxy.from_url(proxy.replace("socks5h:", "socks5:", 1), rdns=True)
    try:
        return way.connect(connection.host, connection.port, timeout=connection.timeout)
    except ProxyError as error:
        raise PeerAwayError(f"cannot reach '{peer}': the proxy says: {str(error)[:200]}") from None
    except ProxyTimeoutError:
        raise _late(peer) from None
    except ProxyConnectionError as error:
        raise PeerAwayError(
            f"cannot reach the proxy: {(error.strerror or str(error))[:200].lower()}", hint="see POWDO_PROXY"
        ) from None


class _Adapter(HTTPAdapter):
    """Remembers each open socket, so that a deadline can shut it from another thread."""

    def __init__(self, sockets: WeakSet[socket.socket], way_to: WayTo) -> None:
        class Plain(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return _opened(self, super()._new_conn, way_to)

            def connect(self) -> None:
                super().connect()
                sockets.add(self.sock)

        class Secure(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return _opened(self, super()._new_conn, way_to)

            def connect(self) -> None:
                super().connect()
                sockets.add(self.sock)

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        self._pools = {"http": PlainPool, "https": SecurePool}
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the pools with our connections and large blocks."""
        super().init_poolmanager(*args, blocksize=_BLOCK, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        """Return a proxy's pools, with our connections too."""
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = self._pools
        return manager


class _Watchdog:
    """Calls *bark* when the deadline is over.

    Its thread sleeps through deadlines that were met and ends when it wakes up to none: to start one for each
    exchange takes as long as to ask for a small blob.
    """

    def __init__(self, bark: Callable[[], None]) -> None:
        self._bark = bark
        self._changed = threading.Condition()
        self._deadline = self._wakes = math.inf

    def watch(self, deadline: float) -> None:
        """Make *deadline*, a time of the monotonic clock, the one that counts."""
        with self._changed:
            self._deadline = deadline
            if deadline >= self._wakes:
                return
            asleep, self._wakes = self._wakes < math.inf, deadline
            if asleep:
                self._changed.notify()
            else:
                threading.Thread(target=self._run, daemon=True).start()

    def rest(self) -> None:
        """Forget the deadline."""
        with self._changed:
            self._deadline = math.inf

    def _run(self) -> None:
        with self._changed:
            while self._wakes < math.inf:
                now = time.monotonic()
                if now < self._wakes:
                    self._changed.wait(self._wakes - now)
                    continue
                if self._deadline <= now:
                    self._deadline = math.inf
                    self._bark()
                self._wakes = self._deadline


class Deadlines:
    """The deadlines of *session*, one exchange at a time; *way_to* says which proxy leads to a host."""

    def __init__(self, session: requests.Session, way_to: WayTo = lambda host: None) -> None:
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._watchdog = _Watchdog(self._shut)
        self._expired = False
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(self._sockets, way_to))

    @contextmanager
    def within(self, seconds: float, peer: str) -> Iterator[None]:
        """Shut the connections to *peer* once *seconds* are over. Raises: PeerAwayError, in that case."""
        self._expired = False
        self._watchdog.watch(time.monotonic() + seconds)
        try:
            yield
            if self._expired:  # a shut socket can look like the end of a body
                raise _late(peer)
        except Exception:
            if self._expired:
                raise _late(peer) from None
            raise
        finally:
            self._watchdog.rest()

    def _shut(self) -> None:
        self._expired = True
        for each in list(self._sockets):
            try:
                socket.socket.shutdown(each, socket.SHUT_RDWR)  # under TLS too: no farewell, just the end
            except OSError:
                continue  # closed already


def _late(peer: str) -> PeerAwayError:
    return PeerAwayError(f"cannot reach '{peer}': timed out")


def innermost(error: requests.ConnectionError) -> str:
    """Return the innermost words of a connection error."""
    inner: BaseException = error
    for _ in range(8):
        following = getattr(inner, "reason", None) or (inner.args[0] if inner.args else None)
        if not isinstance(following, BaseException):
            following = inner.__cause__  # urllib3 says the system's words in its own, and keeps the error
        if following is None:
            break
        inner = following
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror.lower()
    return (str(inner).rpartition(": ")[2] or "connection failed")[:120].lower()
