"""How both clients open a connection."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from powdo.adapters.relay.staying import Blocking
from powdo.settings.proxy import way_to
from powdo.settings.units import is_loopback

#: What a relay may send in one message; an event of 1 MiB is more than any relay keeps.
MAX_MESSAGE = 2 << 20
_LONGEST_GOODBYE = 5.0


def connect_options(url: str, timeout: float) -> dict[str, Any]:
    """Return the arguments of websockets' `connect` for threads; a loop needs another `create_connection`.

    No compression: ciphertext does not shrink, and compressed secrets leak their length. No name of ours:
    a relay need not know the software. Without POWDO_PROXY a proxy of the environment is used, off this
    machine. Raises: ConfigurationError.
    """
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    return {
        "open_timeout": timeout,
        "close_timeout": min(timeout, _LONGEST_GOODBYE),
        "compression": None,
        "create_connection": Blocking,
        "max_size": MAX_MESSAGE,
        "user_agent_header": None,
        "proxy": way_to(host) or (None if is_loopback(host) else True),
    }
