"""What a Data Vending Machine answers (NIP-90, kind 7000): a rumor here, since it travels in a gift wrap.

Rules:
- `e` is the request's id and `p` its author, `x` the sha256 of the blob it was about;
- `status` stands once; its third item is a reason for people;
- a range of numbers that the DVM asks for is a tag `missing` of ours: device, first and last.
"""

from __future__ import annotations

import re
from typing import NamedTuple, cast, get_args

from powdo.errors import BadRecordError
from powdo.nips.event import Tags, Unsigned
from powdo.records.receipt import Status

KIND = 7000
#: So many ranges are asked for at once.
MAX_MISSING = 32

_is_hex64 = re.compile("[0-9a-f]{64}").fullmatch
_is_number = re.compile("0|[1-9][0-9]{0,14}").fullmatch


class Missing(NamedTuple):
    """The numbers from *first* to *last* of *device*, which the DVM has not got."""

    device: str
    first: int
    last: int


class Feedback(NamedTuple):
    """The answer to one request; *content* is a statement as JSON text, or empty."""

    status: Status
    request: str
    author: str
    blob: str | None = None
    reason: str = ""
    content: str = ""
    missing: tuple[Missing, ...] = ()

    def to_rumor(self, dvm: str, created_at: int) -> Unsigned:
        """Return the rumor in which *dvm* says so."""
        tags: Tags = (
            ("status", self.status, self.reason) if self.reason else ("status", self.status),
            ("e", self.request),
            ("p", self.author),
            *(() if self.blob is None else (("x", self.blob),)),
            *(("missing", item.device, str(item.first), str(item.last)) for item in self.missing),
        )
        return Unsigned(dvm, created_at, KIND, tags, self.content)

    @classmethod
    def from_rumor(cls, rumor: Unsigned) -> Feedback:
        """Return the answer in *rumor*.

        Raises:
            BadRecordError: another kind, a status that ends nothing, or a tag missing or malformed.
        """
        if rumor.kind != KIND:
            raise BadRecordError(f"kind {rumor.kind} is no feedback of a DVM")
        stated = [tag for tag in rumor.tags if tag[0] == "status"]
        if len(stated) != 1 or len(stated[0]) < 2 or stated[0][1] not in get_args(Status):
            raise BadRecordError(f"the feedback must have one status of {', '.join(get_args(Status))}")
        asked = [tag for tag in rumor.tags if tag[0] == "missing"]
        if len(asked) > MAX_MISSING:
            raise BadRecordError(f"the feedback asks for more than {MAX_MISSING} ranges")
        blobs = rumor.tag_values("x")
        return cls(
            status=cast("Status", stated[0][1]),
            request=_hex(rumor, "e"),
            author=_hex(rumor, "p"),
            blob=_hex(rumor, "x") if blobs else None,
            reason=stated[0][2] if len(stated[0]) > 2 else "",
            content=rumor.content,
            missing=tuple(map(_missing, asked)),
        )


def _hex(rumor: Unsigned, name: str) -> str:
    values = rumor.tag_values(name)
    if len(values) != 1 or not _is_hex64(values[0]):
        raise BadRecordError(f"the feedback must have one '{name}' tag of 64 lower-case hex digits")
    return values[0]


def _missing(tag: tuple[str, ...]) -> Missing:
    if len(tag) != 4 or not _is_number(tag[2]) or not _is_number(tag[3]) or int(tag[2]) > int(tag[3]):
        raise BadRecordError("the feedback asks for numbers that are none")
    return Missing(tag[1], int(tag[2]), int(tag[3]))
