"""The environment, read once: the one module that looks at it for settings.

Secrets are taken out of it at the first look, before any child process could inherit them. Of POWDO_PROXY
that is user and password: the address stays, so that a powdo somewhere below a child asks the proxy in vain
and never goes without it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType

_SECRETS = ("NSEC_MASTER_KEY", "NOSTR_RELAY_ADMIN_SECRET", "POWDO_KIMAI_TOKEN")
_PROXY = "POWDO_PROXY"
_secrets: dict[str, str] = {}


def take_secrets() -> None:
    """Move the secrets from the environment to where only `secret` and `proxy_address` find them."""
    for name in _SECRETS:
        value = os.environ.pop(name, None)
        if value is not None:
            _secrets[name] = value
    address = os.environ.get(_PROXY, "")
    if "@" in address:
        _secrets[_PROXY] = address
        os.environ[_PROXY] = without_user(address)


def without_user(url: str) -> str:
    """Return *url*, which may be malformed, without the user and password in it."""
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def proxy_address() -> str | None:
    """Return what POWDO_PROXY says, user and password included, or None."""
    address = variables().get(_PROXY)
    whole = _secrets.get(_PROXY)
    return whole if whole is not None and without_user(whole) == address else address or None


def secret(name: str) -> str | None:
    """Return the secret that the environment variable *name* held, or None."""
    take_secrets()
    return _secrets.get(name) or None


def authorities() -> str | bool:
    """Return the file of certificate authorities to trust, as requests wants it: True for the usual ones.

    A private relay, Blossom server or Kimai may have a certificate of its own.
    """
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        if found := os.environ.get(name):
            return found
    return True


def variables() -> Mapping[str, str]:
    """Return the rest of the environment."""
    take_secrets()
    return MappingProxyType(dict(os.environ))
