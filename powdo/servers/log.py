"""What aiohttp would log of a server: our failures in a line each, and nothing of what strangers send."""

from __future__ import annotations

import logging
from collections.abc import Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

#: A request that is no HTTP, or a body that breaks off: the peer is told, and fills nobody's journal.
_THEIRS = (HttpProcessingError, web.RequestPayloadError, ConnectionError)


class _Handler(logging.Handler):
    def __init__(self, warn: Callable[[str], None]) -> None:
        super().__init__()
        self._warn = warn

    def emit(self, record: logging.LogRecord) -> None:
        """Tell what went wrong in us."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, _THEIRS):
            self._warn(f"{record.getMessage()}: {error!r}" if error else record.getMessage())


def logger(warn: Callable[[str], None]) -> logging.Logger:
    """Return a logger, known to nobody else, that tells *warn*."""
    made = logging.Logger("powdo.servers", logging.ERROR)
    made.addHandler(_Handler(warn))
    return made
