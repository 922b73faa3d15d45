"""HTTP exchanges with Blossom servers, each with a deadline, and what their failures are for us."""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.auth import AuthBase

from powdo.deadlines import Deadlines
from powdo.errors import (
    ConfigurationError,
    KeyRejectedError,
    PeerAwayError,
    PeerProtocolError,
    PowdoError,
    RefusedError,
    RetryLaterError,
)
from powdo.nips.blossom import is_loopback
from powdo.settings.environment import authorities
from powdo.settings.proxy import way_to

#: A peer slower than this, over a whole exchange, is given up.
MIN_RATE = 16384
MAX_ANSWER = 1 << 20
_BLOCK = 1 << 18


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer with a small body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Token(AuthBase):
    """Sets the Authorization header; as *auth* of a request it also keeps ~/.netrc out."""

    def __init__(self, header: str | None) -> None:
        self._header = header

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Return *request* with the header."""
        if self._header is not None:
            request.headers["Authorization"] = self._header
        return request


class Transport:
    """One HTTP session; keeps connections open between exchanges."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._session = requests.Session()
        self._session.verify = authorities()
        self._session.headers["User-Agent"] = "powdo"
        self._session.headers["Accept-Encoding"] = "identity"
        self._deadlines = Deadlines(self._session, way_to)

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    @contextmanager
    def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        body: Iterable[bytes] | None = None,
        size: int = 0,
    ) -> Iterator[requests.Response]:
        """Yield the answer with its body unread; *size* bytes in all may travel.

        Raises: RetryLaterError, also for what goes wrong while the body is read.
        """
        try:
            with (
                self._deadlines.within(self._timeout + size / MIN_RATE, _origin(url)),
                self._session.send(
                    self._prepared(method, url, headers or {}, token, body),
                    timeout=self._timeout,
                    allow_redirects=False,
                    **self._options(url),
                ) as response,
            ):
                yield response
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise _failure(url, error) from None

    def _options(self, url: str) -> dict[str, Any]:
        """Return what the environment says of certificates, and without POWDO_PROXY of proxies.

        A proxy of the environment is for other machines only.
        """
        host = urlsplit(url).hostname or ""
        self._session.trust_env = not is_loopback(host)
        options = dict(self._session.merge_environment_settings(url, {}, True, None, None))
        return options if way_to(host) is None else options | {"proxies": {}}

    def _prepared(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        token: str | None,
        body: Iterable[bytes] | None,
    ) -> requests.PreparedRequest:
        """Return the request, without the session's merging of cookies and hooks: there are none."""
        request = requests.PreparedRequest()
        request.prepare(
            method, url, headers={**self._session.headers, **headers}, data=body, auth=Token(token)
        )
        return request

    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        body: Iterable[bytes] | None = None,
        size: int = 0,
    ) -> Answer:
        """Return a whole answer. Raises: RetryLaterError."""
        with self.exchange(method, url, headers=headers, token=token, body=body, size=size) as response:
            content = bytearray()
            for chunk in response.raw.stream(_BLOCK, decode_content=False):
                content += chunk
                if len(content) > MAX_ANSWER:
                    response.close()
                    raise nonsense(url, f"answers with more than {MAX_ANSWER} bytes")
            return Answer(response.status_code, response.headers, bytes(content))


def refusal(url: str, status: int, headers: Mapping[str, str]) -> PowdoError:
    """Return the error that an answer with *status* other than a success is."""
    reason = headers.get("X-Reason", "").strip()[:200]
    text = f"'{_origin(url)}' answers {status}" + (f": {reason}" if reason else "")
    if status in (401, 403):
        return KeyRejectedError(
            text, hint="the server must list this key; see `powdo keys show`" if status == 403 else None
        )
    if status == 402:
        return RefusedError(f"'{_origin(url)}' wants a payment", hint="use another server")
    if status in (404, 408, 425, 429) or status >= 500:
        later = headers.get("Retry-After", "").strip()[:40]
        kind = PeerAwayError if status in (429, 503) else RetryLaterError
        return kind(text, hint=f"it says to come back after '{later}'" if later else None)
    if status == 409:
        return PeerProtocolError(text)
    if 400 <= status < 500 and status != 416:
        return RefusedError(text)
    return nonsense(url, text.partition("' ")[2])


def nonsense(url: str, what: str) -> RetryLaterError:
    """Return the error for an answer no Blossom server gives: mostly somebody else answers, for a while."""
    return RetryLaterError(
        f"'{_origin(url)}' {what}", hint="something else than a Blossom server seems to answer there"
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _failure(url: str, error: Exception) -> PowdoError:
    """Return what a failed exchange is for us: a peer who is away, or something that is no server."""
    if isinstance(error, requests.exceptions.InvalidSchema):
        return ConfigurationError(
            "a SOCKS proxy of the environment serves no HTTP here", hint="name the proxy in POWDO_PROXY"
        )
    for cause in _causes(error):
        if isinstance(cause, http.client.HTTPException) and not isinstance(
            cause, http.client.RemoteDisconnected | http.client.IncompleteRead
        ):
            return nonsense(url, "does not answer in HTTP")
        if isinstance(cause, requests.exceptions.InvalidHeader | urllib3.exceptions.InvalidHeader):
            return nonsense(url, "answers with impossible headers")
    return PeerAwayError(f"cannot reach '{_origin(url)}': {_why(error)}")


def _why(error: Exception) -> str:
    causes = list(_causes(error))
    for cause in causes:  # first, since urllib3 counts a refused connection among its timeouts
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    if any(isinstance(cause, requests.Timeout | urllib3.exceptions.TimeoutError) for cause in causes):
        return "timed out"
    return "the connection broke off"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Return *error* and all that it wraps, outermost first."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop(0)
        if not isinstance(each, BaseException) or each in seen:
            continue
        seen.append(each)
        yield each
        waiting += [*each.args, getattr(each, "reason", None), each.__cause__, each.__context__]
