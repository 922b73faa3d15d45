"""Deadlines for HTTP exchanges, which also hold for a peer who sends a byte at a time.

A timeout of requests ends one silence only; here another thread shuts the sockets when the time is up.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from powdo.errors import RetryLaterError

_BLOCK = 1 << 18


class _Adapter(HTTPAdapter):
    """Remembers each open socket, so that a deadline can shut it from another thread."""

    def __init__(self, sockets: WeakSet[socket.socket]) -> None:
        class Plain(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                sockets.add(self.sock)

        class Secure(HTTPSConnection):
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


class Deadlines:
    """The deadlines of *session*, one exchange at a time."""

    def __init__(self, session: requests.Session) -> None:
        self._sockets: WeakSet[socket.socket] = WeakSet()
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(self._sockets))

    @contextmanager
    def within(self, seconds: float, peer: str) -> Iterator[None]:
        """Shut the connections to *peer* once *seconds* are over. Raises: RetryLaterError, in that case."""
        expired = threading.Event()
        watchdog = threading.Timer(seconds, self._shut, [expired])
        watchdog.daemon = True
        watchdog.start()
        try:
            yield
            if expired.is_set():  # a shut socket can look like the end of a body
                raise _late(peer)
        except Exception:
            if expired.is_set():
                raise _late(peer) from None
            raise
        finally:
            watchdog.cancel()

    def _shut(self, expired: threading.Event) -> None:
        expired.set()
        for each in list(self._sockets):
            try:
                socket.socket.shutdown(each, socket.SHUT_RDWR)  # under TLS too: no farewell, just the end
            except OSError:
                continue  # closed already


def _late(peer: str) -> RetryLaterError:
    return RetryLaterError(f"cannot reach '{peer}': timed out")


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
