"""The rumor that says where an encrypted file lies and how it is opened (NIP-17, kind 15).

Rules:
- *x* and *size* are of the encrypted file, *ox* of the file inside;
- powdo's own algorithm `zip-aes256` has a key of 32 bytes and, as its nonce, the 16-byte salt of the zip,
  both in hex;
- each tag but `p` and `fallback` stands exactly once; what a rumor carries besides is passed through.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from powdo.errors import BadRecordError
from powdo.nips.event import Tags, Unsigned

KIND = 15
ZIP_AES256 = "zip-aes256"
MAX_FALLBACKS = 16

_OWN = frozenset(
    "p file-type encryption-algorithm decryption-key decryption-nonce x ox size fallback".split()  # noqa: SIM905 - a list of tag names reads best as one line
)
_is_hex = re.compile("[0-9a-f]+").fullmatch


class FileMessage(NamedTuple):
    """Where a file lies, and how it is opened; all hex is lower-case."""

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
        """Return the rumor of *author* that tells this file."""
        tags: Tags = (
            *(("p", pubkey) for pubkey in self.recipients),
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
        return Unsigned(author, created_at, KIND, tags, self.url)

    @classmethod
    def from_rumor(cls, rumor: Unsigned) -> FileMessage:
        """Return the file that *rumor* tells of.

        Raises:
            BadRecordError: another kind, a tag missing, doubled or malformed, or a URL that is not http.
        """
        if rumor.kind != KIND:
            raise BadRecordError(f"kind {rumor.kind} is no file message")
        recipients = rumor.tag_values("p")
        if not recipients or not all(len(pubkey) == 64 and _is_hex(pubkey) for pubkey in recipients):
            raise BadRecordError("the file message must name its recipients in hex")
        fallbacks = rumor.tag_values("fallback")
        if len(fallbacks) > MAX_FALLBACKS:
            raise BadRecordError(f"the file message has more than {MAX_FALLBACKS} fallbacks")
        return cls(
            url=_url(rumor.content),
            decryption_key=_hex(rumor, "decryption-key", 64),
            decryption_nonce=_hex(rumor, "decryption-nonce", 32),
            x=_hex(rumor, "x", 64),
            ox=_hex(rumor, "ox", 64),
            size=_size(rumor),
            recipients=recipients,
            fallbacks=tuple(map(_url, fallbacks)),
            file_type=_only(rumor, "file-type"),
            encryption_algorithm=_only(rumor, "encryption-algorithm"),
            extra=tuple(tag for tag in rumor.tags if tag[0] not in _OWN),
        )


def blob_named(rumor: Unsigned) -> str | None:
    """Return the hash of the file that *rumor* announces, None where it tells none or is not sound there."""
    values = rumor.tag_values("x")
    return values[0] if len(values) == 1 and len(values[0]) == 64 and _is_hex(values[0]) else None


def _only(rumor: Unsigned, name: str) -> str:
    found = [tag for tag in rumor.tags if tag[0] == name]
    if len(found) != 1 or len(found[0]) < 2:
        raise BadRecordError(f"the file message must have one '{name}' tag")
    return found[0][1]


def _hex(rumor: Unsigned, name: str, length: int) -> str:
    value = _only(rumor, name)
    if len(value) != length or not _is_hex(value):
        raise BadRecordError(f"'{name}' of the file message must be {length} lower-case hex digits")
    return value


def _size(rumor: Unsigned) -> int:
    value = _only(rumor, "size")
    if not value.isascii() or not value.isdigit() or len(value) > 15 or str(int(value)) != value:
        raise BadRecordError("'size' of the file message must be a plain number")
    return int(value)


def _url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port  # a bad port raises only when it is read
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.username is not None:
        raise BadRecordError("the file message has a URL that is not http or https")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise BadRecordError("the file message has a URL with foreign characters")
    return url
