"""What buckets say, for somebody who wants to know what is in a capture: each text once, and for how long."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from powdo.lines import encode_json
from powdo.worktime.flood import Bucket
from powdo.worktime.manual import BUCKET_TYPE

#: What a bucket event of each type is about first of all.
_NAMES = {
    "currentwindow": "app",
    "web.tab.current": "url",
    "app.editor.activity": "file",
    "afkstatus": "status",
    BUCKET_TYPE: "project",
}


class Told(NamedTuple):
    """What buckets of one *kind* say of *name* for *length* microseconds."""

    kind: str
    name: str
    text: str
    length: int


def told(buckets: Iterable[Bucket]) -> list[Told]:
    """Return all that *buckets* say, by kind, the longest first."""
    lengths: dict[tuple[str, str, str], int] = {}
    for bucket in buckets:
        for event in bucket.events:
            rest = dict(event.data)
            name = rest.pop(_NAMES.get(bucket.type, ""), "")
            text = next(iter(rest.values())) if len(rest) == 1 else encode_json(rest) if rest else ""
            key = (bucket.type, str(name), str(text))
            lengths[key] = lengths.get(key, 0) + event.end - event.begin
    return [
        Told(*key, length) for key, length in sorted(lengths.items(), key=lambda item: (item[0][0], -item[1]))
    ]
