"""Which bytes a GET is answered with: Range, If-Range and If-None-Match of RFC 9110, without I/O.

An entity tag is `"<sha256>"` and strong: bytes under a hash never change.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_RANGE = re.compile(r"bytes[ \t]*=[ \t]*([0-9]*)[ \t]*-[ \t]*([0-9]*)[ \t]*", re.ASCII | re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_LONGEST = 20  # digits; a longer number is past any end


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes from *start* to *end*, both included."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """How many bytes it has."""
        return self.end - self.start + 1


class Unsatisfiable(Exception):  # noqa: N818  # an answer of the protocol, not an error of ours
    """The range lies past the end: 416."""


def parse_range(header: str | None, size: int) -> Part | None:
    """Return the part a Range *header* asks of *size* bytes, clamped; None for the whole.

    Other units, several ranges and malformed headers are ignored, as section 14.2 allows.
    Raises: Unsatisfiable.
    """
    match = _RANGE.fullmatch(header) if header is not None else None
    if match is None:
        return None
    first, last = match.groups()
    if not first:
        if not last:
            return None
        length = min(_number(last), size)
        if length == 0:
            raise Unsatisfiable
        return Part(size - length, size - 1)
    start = _number(first)
    if last and _number(last) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return Part(start, min(_number(last), size - 1) if last else size - 1)


def _number(digits: str) -> int:
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= _LONGEST else 10**_LONGEST


def range_applies(if_range: str | None, etag: str) -> bool:
    """Return whether an If-Range header lets the Range through: strong comparison, no dates (13.1.5)."""
    return if_range is None or if_range.strip() == etag


def not_modified(if_none_match: str | None, etag: str) -> bool:
    """Return whether the client has the blob already: weak comparison (13.1.2)."""
    if if_none_match is None:
        return False
    if if_none_match.strip() == "*":
        return True
    return etag[1:-1] in _TAG.findall(if_none_match)
