"""The way out that POWDO_PROXY names, for whoever does not want to show servers their address.

Rules:
- every connection to a relay, a Blossom server and the relay's admin API goes through it, or not at all;
- names are looked up by the proxy and never here;
- this machine is reached directly, and so are Kimai and ActivityWatch, which stand behind no public address;
- `.onion` names exist only behind a proxy (RFC 7686), and there need no TLS.
"""

from __future__ import annotations

from powdo.errors import ConfigurationError
from powdo.settings import environment
from powdo.settings.units import is_loopback, is_onion

_VARIABLE = "POWDO_PROXY"
_SCHEMES = {"socks5h": "socks5h", "socks5": "socks5h", "http": "http"}


def proxy() -> str | None:
    """Return the proxy as `socks5h://…` or `http://…`, or None. Raises: ConfigurationError."""
    text = environment.proxy_address()
    if not text:
        return None
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        sound = parts.hostname and parts.port and parts.path in ("", "/") and text.isascii()
    except ValueError:
        sound = False
    if not sound or parts.scheme not in _SCHEMES or (parts.username is None) != (parts.password is None):
        raise ConfigurationError(
            f"{_VARIABLE} is not a proxy's address", hint="write it as socks5h://127.0.0.1:9050"
        )
    return f"{_SCHEMES[parts.scheme]}://{parts.netloc}"


def way_to(host: str) -> str | None:
    """Return the proxy that *host* must be reached through, or None for none. Raises: ConfigurationError."""
    if is_loopback(host):
        return None
    found = proxy()
    if found is None and is_onion(host):
        raise ConfigurationError(
            f"'{host}' can be reached through a proxy only", hint=f"name Tor's in {_VARIABLE}"
        )
    return found
