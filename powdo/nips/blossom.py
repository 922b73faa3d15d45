"""Blossom without I/O: addresses of blobs (BUD-01) and blob descriptors (BUD-02)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from powdo.errors import BadRecordError, PeerProtocolError
from powdo.lines import decode_json

#: The one shape of a path that names a blob; nothing else of a request path is ever used.
BLOB_PATH = re.compile(r"/([0-9a-f]{64})(?:\.[A-Za-z0-9]{1,10})?", re.ASCII)
OCTETS = "application/octet-stream"
_EXTENSIONS = {"application/zip": ".zip", OCTETS: ".bin"}
_HEX32 = re.compile(r"[0-9a-f]{64}", re.ASCII)


# --- addresses ------------------------------------------------------------------------------------


def is_hash(text: str) -> bool:
    """Return whether *text* is a sha256 in lower-case hex."""
    return _HEX32.fullmatch(text) is not None


def extension(media_type: str) -> str:
    """Return the extension a blob of *media_type* has in its address; always one (BUD-02)."""
    return _EXTENSIONS.get(media_type, ".bin")


def blob_url(server: str, sha256: str, media_type: str) -> str:
    """Return where *server* serves the blob *sha256*."""
    return f"{server.rstrip('/')}/{sha256}{extension(media_type)}"


def hash_in_url(url: str) -> str | None:
    """Return the sha256 a URL names: its last 64 hex digits in a row (BUD-03), or None."""
    found = re.findall(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", url, re.ASCII)
    return found[-1] if found else None


def domain(url: str) -> str:
    """Return the bare lower-case domain of *url*, as `server` tags hold it. Raises: BadRecordError."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if not host:
        raise BadRecordError(f"not a URL with a host: '{url[:80]}'")
    return host.lower()


def is_loopback(host: str) -> bool:
    """Return whether *host* is this machine by its name or literal address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(url: str) -> str:
    """Return *url* if it is https, or http to this machine or a `.onion` name. Raises: BadRecordError."""
    try:
        parts = urlsplit(url)
        port = parts.port  # raises for nonsense
    except ValueError:
        raise BadRecordError(f"not a URL: '{url[:80]}'") from None
    host = domain(url)
    if parts.username is not None or port == 0 or not url.isascii() or re.search(r"[\x00-\x20\x7f\\]", url):
        raise BadRecordError(f"not a URL of a blob or its server: '{url[:80]}'")
    plain = is_loopback(host) or host.endswith(".onion")  # Tor encrypts, and proves who answers
    if parts.scheme != "https" and not (parts.scheme == "http" and plain):
        raise BadRecordError(f"'{url[:80]}' is not https", hint="http is for this machine only")
    return url


def host_allowed(url: str, allowed: Collection[str]) -> bool:
    """Return whether *url* leads to one of *allowed*: `scheme://host[:port]`, `host:port` or `host`."""
    parts = urlsplit(url)
    try:
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return False
    for entry in allowed:
        wanted = urlsplit(entry if "://" in entry else f"//{entry}")
        try:
            wanted_port = wanted.port or {"http": 80, "https": 443}.get(wanted.scheme)
        except ValueError:
            continue
        same = wanted.hostname == parts.hostname and wanted.scheme in ("", parts.scheme)
        if same and wanted_port in (None, port):
            return True
    return False


# --- descriptors ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A blob descriptor (BUD-02)."""

    url: str
    sha256: str
    size: int
    type: str = OCTETS
    uploaded: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the descriptor as its JSON object."""
        return {
            "url": self.url,
            "sha256": self.sha256,
            "size": self.size,
            "type": self.type,
            "uploaded": self.uploaded,
        }


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        return None
    return value


def parse_descriptor(value: object) -> Descriptor:
    """Return the descriptor in *value*, all five fields as BUD-02 wants them. Raises: BadRecordError."""
    obj = value if isinstance(value, Mapping) else {}
    url, sha256, media_type = obj.get("url"), obj.get("sha256"), obj.get("type")
    size, uploaded = _count(obj.get("size")), _count(obj.get("uploaded"))
    if (
        not isinstance(url, str)
        or not isinstance(sha256, str)
        or not isinstance(media_type, str)
        or not is_hash(sha256)
        or size is None
        or uploaded is None
    ):
        raise BadRecordError("not a blob descriptor")
    check_address(url)
    if hash_in_url(url) != sha256:
        raise BadRecordError("the url of a blob descriptor names another blob")
    return Descriptor(url=url, sha256=sha256, size=size, type=media_type, uploaded=uploaded)


def read_answer(body: bytes) -> Descriptor:
    """Return the descriptor a server answered with, forgiving all but hash and size.

    Servers leave fields out or write them their own way; what a client needs is the two it compares.
    Raises: PeerProtocolError.
    """
    try:
        obj = decode_json(body)
    except BadRecordError as error:
        raise PeerProtocolError(f"blob descriptor is {error.message}") from None
    obj = obj if isinstance(obj, dict) else {}
    sha256, size = obj.get("sha256"), _count(obj.get("size"))
    if not isinstance(sha256, str) or not is_hash(sha256.lower()) or size is None:
        raise PeerProtocolError("answer is not a blob descriptor")
    url, media_type = obj.get("url"), obj.get("type")
    return Descriptor(
        url=url if isinstance(url, str) else "",
        sha256=sha256.lower(),
        size=size,
        type=media_type if isinstance(media_type, str) else OCTETS,
        uploaded=_count(obj.get("uploaded")) or 0,
    )
