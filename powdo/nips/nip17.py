"""NIP-17 kind 15: the rumor that says where an encrypted file lies and how it is opened."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from powdo.errors import BadRecordError
from powdo.nips.event import Tags, Unsigned

FILE_MESSAGE = 15
ZIP_AES256 = "zip-aes256"
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)
_MOST_FALLBACKS = 16
_OWN = frozenset(
    (
        "p",
        "file-type",
        "encryption-algorithm",
        "decryption-key",
        "decryption-nonce",
        "x",
        "ox",
        "size",
        "fallback",
    )
)


def _check_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if (
        not host
        or parts.scheme not in ("http", "https")
        or parts.username is not None
        or not url.isprintable()
    ):
        raise BadRecordError("the file message's URL is no http URL")
    return url


def _only(rumor: Unsigned, name: str) -> str:
    values = rumor.tag_values(name)
    if len(values) != 1:
        raise BadRecordError(f"the file message has {len(values)} '{name}' tags instead of one")
    return values[0]


def _hex(rumor: Unsigned, name: str, length: int) -> str:
    value = _only(rumor, name)
    if len(value) != length or not _HEX.fullmatch(value):
        raise BadRecordError(f"'{name}' in the file message is not {length} hex digits")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMessage:
    """A file message: *x* and *size* are of the encrypted blob, *ox* of the inner zip; all hex lower-case."""

    url: str
    decryption_key: str
    decryption_nonce: str
    x: str
    ox: str
    size: int
    recipients: tuple[str, ...]
    fallbacks: tuple[str, ...] = ()
    file_type: str = "application/zip"
    encryption_algorithm: str = ZIP_AES256
    extra: Tags = ()

    def to_rumor(self, author: str, created_at: int) -> Unsigned:
        """Return the kind 15 rumor of *author*."""
        tags: Tags = (
            *(("p", recipient) for recipient in self.recipients),
            ("file-type", self.file_type),
            ("encryption-algorithm", self.encryption_algorithm),
            ("decryption-key", self.decryption_key),
            ("decryption-nonce", self.decryption_nonce),
            ("x", self.x),
            ("ox", self.ox),
            ("size", str(self.size)),
            *(("fallback", url) for url in self.fallbacks),
            *self.extra,
        )
        return Unsigned(author, created_at, FILE_MESSAGE, tags, self.url)

    @classmethod
    def from_rumor(cls, rumor: Unsigned) -> FileMessage:
        """Return the file message in *rumor*, every field checked. Raises: BadRecordError."""
        if rumor.kind != FILE_MESSAGE:
            raise BadRecordError(f"kind {rumor.kind} is no file message")
        size = _only(rumor, "size")
        if not (size.isascii() and size.isdigit() and len(size) < 16):
            raise BadRecordError("'size' in the file message is not a number")
        fallbacks = rumor.tag_values("fallback")
        if len(fallbacks) > _MOST_FALLBACKS:
            raise BadRecordError("the file message has too many fallbacks")
        return cls(
            url=_check_url(rumor.content),
            decryption_key=_hex(rumor, "decryption-key", 64),
            decryption_nonce=_hex(rumor, "decryption-nonce", 32),
            x=_hex(rumor, "x", 64),
            ox=_hex(rumor, "ox", 64),
            size=int(size),
            recipients=rumor.tag_values("p"),
            fallbacks=tuple(_check_url(url) for url in fallbacks),
            file_type=_only(rumor, "file-type"),
            encryption_algorithm=_only(rumor, "encryption-algorithm"),
            extra=tuple(tag for tag in rumor.tags if tag and tag[0] not in _OWN),
        )
