"""Downloads: a blob from whichever address has it, and nothing but that blob."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

import requests

from powdo.adapters.blossom.transport import Transport, refusal
from powdo.errors import (
    BadRecordError,
    KeyRejectedError,
    OutputError,
    PeerAwayError,
    PeerProtocolError,
    PowdoError,
    RefusedError,
    RetryLaterError,
    worse,
)
from powdo.nips.blossom import check_address, hash_in_url, host_allowed
from powdo.nips.blossom_tokens import make_token
from powdo.nips.curve import SecretKey

#: Larger pieces go back to the system each time, and come from it anew, page by page.
_BLOCK = 1 << 16
_HOPS = 5
#: Seconds after which a connection is not used again: a router between may have forgotten it without a word.
_IDLE = 10.0
_REDIRECTS = (301, 302, 303, 307, 308)


class Downloads:
    """Fetches blobs from allowed servers, and keeps its connections between one blob and the next.

    *allowed_origins* are `scheme://host[:port]`, `host:port` or `host`; nothing else is ever contacted.
    *key* signs a token where a server wants one.
    """

    def __init__(
        self, allowed_origins: Collection[str], *, timeout: float = 30.0, key: SecretKey | None = None
    ) -> None:
        self._allowed = allowed_origins
        self._key = key
        self._transport = Transport(timeout)
        self._used = time.monotonic()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def fetch(
        self,
        urls: Sequence[str],
        *,
        sha256: str,
        size: int,
        destination: Path,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Write the blob of *sha256* and *size* to *destination*, from the first of *urls* that has it.

        The file appears whole or not at all; to sync it is left to who wants to keep it.

        Raises: RefusedError when no address is allowed; RetryLaterError when one may work later;
        PeerProtocolError for wrong bytes; KeyRejectedError; OutputError.
        """
        allowed = [url for url in urls if _may_ask(url, self._allowed)]
        if not allowed:
            raise RefusedError("no address of the blob is on an allowed host")
        if time.monotonic() - self._used > _IDLE:
            self._transport.close()  # opens anew with the next request
        source = _Source(self._transport, sha256, size, self._allowed, self._key)
        failures: list[PowdoError] = []
        for url in allowed:
            try:
                with _new_file(destination) as file:
                    source.copy(url, file, progress)
            except (KeyRejectedError, PeerProtocolError, RefusedError, RetryLaterError) as failure:
                failures.append(failure)
            else:
                self._used = time.monotonic()
                return
        raise _summary(failures)


def _may_ask(url: str, allowed: Collection[str]) -> bool:
    try:
        return host_allowed(check_address(url), allowed)
    except BadRecordError:
        return False


def _summary(failures: Sequence[PowdoError]) -> PowdoError:
    """Return the failure to report of several addresses: the hopeful one, else the worst."""
    for failure in failures:
        if isinstance(failure, RetryLaterError):
            return failure
    result = failures[0]
    for failure in failures[1:]:
        if worse(result.status, failure.status) != result.status:
            result = failure
    return result


@contextmanager
def _new_file(destination: Path) -> Iterator[BinaryIO]:
    """Yield a private file that becomes *destination* if the block ends well."""
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=destination.parent, prefix=f".{destination.name}.")
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            yield file
        Path(temporary).replace(destination)
        temporary = ""
    except OSError as error:
        raise OutputError(f"cannot write '{destination}': {error.strerror}") from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


class _Source:
    """One blob, wanted from one address and where it redirects to."""

    def __init__(
        self,
        transport: Transport,
        sha256: str,
        size: int,
        allowed: Collection[str],
        key: SecretKey | None,
    ) -> None:
        self._transport = transport
        self._sha256 = sha256
        self._size = size
        self._allowed = allowed
        self._key = key

    def copy(self, url: str, file: BinaryIO, progress: Callable[[int], object] | None) -> None:
        """Write the blob to *file*. Raises: what `download` raises."""
        token: str | None = None
        for _ in range(_HOPS):
            with self._transport.exchange("GET", url, token=token, size=self._size) as response:
                status = response.status_code
                if status == 200:
                    self._body(url, response, file, progress)
                    return
                response.close()
                if status in _REDIRECTS:
                    url, token = self._redirected(url, response.headers.get("Location", "")), None
                elif status == 401 and token is None and self._key is not None:
                    token = self._token(self._key, url)
                else:
                    raise refusal(url, status, response.headers)
        raise PeerProtocolError(f"'{_origin(url)}' redirects too often")

    def _token(self, key: SecretKey, url: str) -> str:
        return make_token(
            key,
            "get",
            server=url,
            hashes=[self._sha256],
            now=int(time.time()),
            aux=secrets.token_bytes(32),
        )

    def _redirected(self, url: str, location: str) -> str:
        """Return where *url* redirects to, if we may go there (BUD-01: it names the same hash)."""
        try:
            target = urljoin(url, location)
        except ValueError:
            target = ""
        if not location or not _may_ask(target, self._allowed) or hash_in_url(target) != self._sha256:
            raise PeerProtocolError(f"'{_origin(url)}' redirects to where the blob must not be fetched from")
        return target

    def _body(
        self,
        url: str,
        response: requests.Response,
        file: BinaryIO,
        progress: Callable[[int], object] | None,
    ) -> None:
        told = response.headers.get("Content-Length")
        if told is not None and told != str(self._size):
            response.close()
            if str(self._size).startswith(told):  # cut off among its headers, where nothing tells the end
                raise _broken_off(url)
            raise PeerProtocolError(f"'{_origin(url)}' has a blob of another size")
        digest, received = hashlib.sha256(), 0
        for data in response.raw.stream(_BLOCK, decode_content=False):
            received += len(data)
            if received > self._size:
                response.close()
                raise PeerProtocolError(f"'{_origin(url)}' sends more than the blob has")
            digest.update(data)
            _write(file, data)
            if progress is not None:
                progress(len(data))
        if received < self._size:  # cut off where no header says how much was to come
            raise _broken_off(url)
        if digest.hexdigest() != self._sha256:
            raise PeerProtocolError(f"'{_origin(url)}' sends bytes that do not have the blob's hash")


def _write(file: BinaryIO, data: bytes) -> None:
    try:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
    except OSError as error:  # named here, for around it an OSError means the network
        raise OutputError(f"cannot write a download: {error.strerror}") from None


def _broken_off(url: str) -> PeerAwayError:
    return PeerAwayError(f"cannot reach '{_origin(url)}': the connection broke off")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
