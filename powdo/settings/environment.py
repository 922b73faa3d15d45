"""The environment, read once: the one module that looks at it for settings.

Secrets are taken out of it at the first look, before any child process could inherit them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType

_SECRETS = ("NSEC_MASTER_KEY", "NOSTR_RELAY_ADMIN_SECRET", "POWDO_KIMAI_TOKEN")
_secrets: dict[str, str] = {}


def take_secrets() -> None:
    """Move the secrets from the environment to where only `secret` finds them."""
    for name in _SECRETS:
        value = os.environ.pop(name, None)
        if value is not None:
            _secrets[name] = value


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
