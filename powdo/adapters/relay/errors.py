"""What goes wrong on the way to a relay, in powdo's own errors."""

from __future__ import annotations

import os
import ssl

from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
    PayloadTooBig,
    ProxyError,
    WebSocketException,
)

from powdo.errors import (
    ConfigurationError,
    PeerAwayError,
    PeerProtocolError,
    PowdoError,
    RefusedError,
    RetryLaterError,
)
from powdo.nips.relay_messages import prefix

_FINAL_STATUS = frozenset({401, 403, 404, 405, 410})
_FOR_NOW = {"rate-limited": PeerAwayError, "error": RetryLaterError}
_SHOWN = 200

#: What websockets raises: errors of the system and of the protocol.
FAILURES = (OSError, WebSocketException, EOFError)


class MovedError(InvalidHandshake):
    """A redirect, which is not followed."""


def unreachable(url: str, error: BaseException) -> PowdoError:
    """Return the error that tells why *url* cannot be reached or went away."""
    if isinstance(error, InvalidURI):
        return ConfigurationError(f"not a relay address: '{url}'")
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        kind = RefusedError if status in _FINAL_STATUS else PeerAwayError
        return kind(f"cannot reach '{url}': HTTP status {status}")
    if isinstance(error, MovedError):
        return PeerAwayError(
            f"cannot reach '{url}': it sends us elsewhere",
            hint="redirects are not followed; name the relay itself",
        )
    return PeerAwayError(f"cannot reach '{url}': {_reason(error)}", hint="a later run tries again")


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or 'handshake failed'}"
    if isinstance(error, ConnectionClosed):
        if isinstance(error.__cause__, PayloadTooBig):
            return "a message is too long"
        said = error.rcvd.reason[:_SHOWN] if error.rcvd and error.rcvd.reason else ""
        return f"connection closed: {said}" if said else "connection closed"
    if isinstance(error, ProxyError):
        return f"the proxy says: {error.__cause__ or error}"[:_SHOWN]
    if isinstance(error, InvalidHandshake | EOFError):
        return "it does not speak websocket"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)  # asyncio puts the address into strerror
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)[:_SHOWN] or type(error).__name__


def nonsense(url: str, error: PeerProtocolError) -> PeerProtocolError:
    """Return *error* with the relay it came from."""
    return PeerProtocolError(f"'{url}' breaks the protocol: {error.message[:_SHOWN]}", hint=error.hint)


def babble(url: str, error: PeerProtocolError) -> RetryLaterError:
    """Return the error for a message that is none: mostly something else answers there, for a while."""
    return PeerAwayError(
        f"'{url}' breaks the protocol: {error.message[:_SHOWN]}",
        hint="something else than a relay seems to answer there; a later run tries again",
    )


def refusal(url: str, message: str) -> PowdoError:
    """Return the error for an event or subscription that *url* refuses with *message* (NIP-01 prefixes)."""
    kind = prefix(message)
    text = f"refused by '{url}': {message[:_SHOWN] or 'no reason given'}"
    if kind in _FOR_NOW:
        return _FOR_NOW[kind](text, hint="a later run tries again")
    hints = {
        "auth-required": "the relay wants to know who you are: [identity] must name a key on its allowlist",
        "restricted": "ask the operator of the relay to put your public key on its allowlist",
        "pow": "the relay wants proof of work, or a public key on its allowlist",
    }
    return RefusedError(text, hint=hints.get(kind))
