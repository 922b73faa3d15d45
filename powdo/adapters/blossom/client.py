"""One Blossom server as an uploader and owner of blobs sees it."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from powdo.adapters.blossom.transport import Answer, Transport, nonsense, refusal
from powdo.errors import BadRecordError, InputMissingError, PeerProtocolError, PowdoError
from powdo.nips.blossom import (
    OCTETS,
    Descriptor,
    blob_url,
    check_address,
    hash_in_url,
    parse_descriptor,
    read_answer,
)
from powdo.nips.blossom_tokens import make_token
from powdo.nips.curve import SecretKey
from powdo.records import decode_json

ZIP = "application/zip"
_OTHER_TYPE = {ZIP: OCTETS, OCTETS: ZIP}
_BLOCK = 1 << 20
_PAGE = 100

Progress = Callable[[int], object]


def check_file(path: Path, *, sha256: str, size: int) -> None:
    """Let pass a file that has this hash and size. Raises: InputMissingError, BadRecordError."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            length = file.tell()
    except OSError as error:
        raise InputMissingError(f"cannot read '{path}': {error.strerror}") from None
    if (digest, length) != (sha256, size):
        raise BadRecordError(f"'{path}' is not the file the record describes")


class _Body:
    """The bytes of a file for one request: exactly *size* of them, counted to *progress*."""

    def __init__(self, path: Path, size: int, progress: Progress | None) -> None:
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise InputMissingError(f"cannot read '{path}': {error.strerror}") from None
        self._path = path
        self._size = size
        self._left = size
        self._progress = progress

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read(_BLOCK):
            yield data

    def read(self, amount: int = -1) -> bytes:
        """Return the next bytes. Raises: BadRecordError when the file has become shorter."""
        wanted = self._left if amount < 0 else min(amount, self._left)
        data = self._file.read(wanted) if wanted else b""
        if wanted and not data:
            raise BadRecordError(f"'{self._path}' became shorter while it was uploaded")
        self._left -= len(data)
        if self._progress is not None and data:
            self._progress(len(data))
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class BlossomClient:
    """Speaks to *server* with the key that signs its tokens. Raises: BadRecordError for a bad address."""

    def __init__(self, server: str, key: SecretKey, *, timeout: float = 30.0) -> None:
        self.server = check_address(server).rstrip("/")
        self._key = key
        self._transport = Transport(timeout)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def _token(self, verb: str, *hashes: str) -> str:
        return make_token(
            self._key,
            verb,
            server=self.server,
            hashes=hashes,
            now=int(time.time()),
            aux=secrets.token_bytes(32),
        )

    # --- upload ---

    def upload(
        self,
        path: Path,
        *,
        sha256: str,
        size: int,
        media_type: str = ZIP,
        progress: Progress | None = None,
    ) -> Descriptor:
        """Return the descriptor of the blob in the file *path*, once the server has it.

        Raises: KeyRejectedError, RefusedError, RetryLaterError, PeerProtocolError, BadRecordError.
        """
        if self.has(sha256, size):
            return self._described(sha256, size, media_type, int(time.time()))
        if self._asked(sha256, size, media_type) == 415:
            media_type = _OTHER_TYPE.get(media_type, OCTETS)
        answer = self._put(path, sha256, size, media_type, progress)
        if answer.status == 415:
            media_type = _OTHER_TYPE.get(media_type, OCTETS)
            answer = self._put(path, sha256, size, media_type, progress)
        if answer.status not in (200, 201):
            raise self._refusal("/upload", answer)
        try:
            said = read_answer(answer.body)
        except PeerProtocolError as error:
            raise nonsense(self.server, f"answers an upload with nonsense: {error.message}") from None
        return self._checked(said, sha256, size)

    def has(self, sha256: str, size: int) -> bool:
        """Return whether the server says that it has the blob, and says its right size too."""
        answer = self._transport.ask("HEAD", f"{self.server}/{sha256}")
        return answer.status == 200 and answer.headers.get("Content-Length") == str(size)

    def _asked(self, sha256: str, size: int, media_type: str) -> int:
        """Return the status of HEAD /upload (BUD-06). Raises: where it is a final no, or not now.

        Servers that do not know the question, or get it wrong, are simply sent the blob.
        """
        headers = {"X-SHA-256": sha256, "X-Content-Type": media_type, "X-Content-Length": str(size)}
        answer = self._transport.ask(
            "HEAD", f"{self.server}/upload", headers=headers, token=self._token("upload", sha256)
        )
        if answer.status in (402, 403, 413, 429, 507):
            raise self._refusal("/upload", answer)
        return answer.status

    def _put(self, path: Path, sha256: str, size: int, media_type: str, progress: Progress | None) -> Answer:
        """Return the answer to PUT /upload; a token that is not taken is signed anew, once."""
        headers = {"Content-Type": media_type, "X-SHA-256": sha256}
        for again in (False, True):
            body = _Body(path, size, None if again else progress)
            try:
                answer = self._transport.ask(
                    "PUT",
                    f"{self.server}/upload",
                    headers=headers,
                    token=self._token("upload", sha256),
                    body=body,
                    size=size,
                )
            finally:
                body.close()
            if answer.status != 401:
                break
        return answer

    def _checked(self, said: Descriptor, sha256: str, size: int) -> Descriptor:
        """Return what the server said if it is about our blob, with an address that is the server's."""
        if said.sha256 != sha256:
            raise PeerProtocolError(f"'{self.server}' answers with the hash of another blob")
        if said.size != size:
            raise PeerProtocolError(f"'{self.server}' answers with another size than was sent")
        built = self._described(sha256, size, said.type, said.uploaded)
        try:
            check_address(said.url)
        except BadRecordError:
            return built
        same = urlsplit(said.url)[:2] == urlsplit(self.server)[:2]
        return said if same and hash_in_url(said.url) == sha256 else built

    def _described(self, sha256: str, size: int, media_type: str, uploaded: int) -> Descriptor:
        url = blob_url(self.server, sha256, media_type)
        return Descriptor(url=url, sha256=sha256, size=size, type=media_type, uploaded=uploaded)

    def _refusal(self, path: str, answer: Answer) -> PowdoError:
        return refusal(self.server + path, answer.status, answer.headers)

    # --- what an owner may do ---

    def delete(self, sha256: str) -> bool:
        """Return whether there was such a blob of ours on the server; it is not ours any more (BUD-12).

        Raises: KeyRejectedError, RefusedError, RetryLaterError, PeerProtocolError.
        """
        answer = self._transport.ask("DELETE", f"{self.server}/{sha256}", token=self._token("delete", sha256))
        if answer.status in (200, 204, 404, 410):
            return answer.status < 300
        raise self._refusal(f"/{sha256}", answer)

    def owned(self) -> Iterator[Descriptor]:
        """Yield the descriptors of our blobs, youngest first (BUD-12).

        Raises: KeyRejectedError, RefusedError, RetryLaterError, PeerProtocolError.
        """
        cursor = ""
        seen: set[str] = set()
        while True:
            page = self._page(cursor)
            fresh = [item for item in page if item.sha256 not in seen]
            yield from fresh
            seen.update(item.sha256 for item in fresh)
            if len(page) < _PAGE or not fresh:  # a server that knows no cursor repeats itself
                return
            cursor = f"&cursor={page[-1].sha256}"

    def _page(self, cursor: str) -> list[Descriptor]:
        url = f"{self.server}/list/{self._key.pubkey}"
        answer = self._transport.ask("GET", f"{url}?limit={_PAGE}{cursor}", token=self._token("list"))
        if answer.status != 200:
            raise refusal(url, answer.status, answer.headers)
        try:
            value: Any = decode_json(answer.body)
            return [parse_descriptor(item) for item in value if isinstance(value, list)]
        except (BadRecordError, TypeError) as error:
            raise nonsense(self.server, f"answers with no list of blobs: {error}") from None
