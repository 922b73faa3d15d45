"""Bucket events as they are stored, each once.

A bucket remembers its longest bucket event, so that a period can be read with one range of the primary key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from powdo.adapters.database.engine import Database
from powdo.adapters.database.tables import bucket, bucket_event
from powdo.errors import BadRecordError
from powdo.worktime.flood import BucketEvent

# Made once: `json.dumps` makes an encoder for each of a bundle's bucket events.
_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True, allow_nan=False).encode
# What nearly all values are: spelt one by one they take two thirds of the time.
_SPELLINGS: dict[type, Callable[[Any], str]] = {
    str: json.encoder.encode_basestring_ascii,
    bool: lambda value: "true" if value else "false",
    int: int.__repr__,
}


class StoredEvent(NamedTuple):
    """A bucket event as it is stored: *data* as canonical JSON, *digest* to tell it from another."""

    begin: int
    end: int
    digest: str
    data: str


def stored_event(event: BucketEvent) -> StoredEvent:
    """Return *event* with its data in the one spelling that is hashed and stored. Raises: BadRecordError."""
    try:
        data = _canonical(event.data)
    except (ValueError, RecursionError):  # 1e999 is JSON, and too large for a number
        raise BadRecordError("data that cannot be written as JSON") from None
    return StoredEvent(event.begin, event.end, hashlib.sha256(data.encode("ascii")).hexdigest()[:32], data)


def _canonical(data: Mapping[str, object]) -> str:
    """Return *data* as `_encode` writes it: sorted, without blanks, in ASCII."""
    quoted, spelling = _SPELLINGS[str], _SPELLINGS.get
    texts = [f"{quoted(name)}:{spelling(type(data[name]), _encode)(data[name])}" for name in sorted(data)]
    return f"{{{','.join(texts)}}}"


class BucketName(NamedTuple):
    """Which bucket it is: *device_id* and *bucket* tell it from a worker's others."""

    device_id: str
    bucket: str
    type: str
    client: str
    hostname: str


def add_events(
    connection: sa.Connection,
    database: Database,
    worker: int,
    buckets: Iterable[tuple[BucketName, Sequence[StoredEvent]]],
) -> None:
    """Add the bucket events of *worker*, each to its bucket.

    A bucket event that is there already is not doubled; one that has grown since is lengthened.
    """
    known = {tuple(row[:2]): row[2:] for row in connection.execute(_KNOWN, {"worker": worker})}
    rows = []
    for name, events in sorted(buckets):
        longest = max((event.end - event.begin for event in events), default=0)
        number, before = known.get(name[:2], (None, -1))
        if longest > before:
            values = {"worker_id": worker, "longest_us": longest, **name._asdict()}
            number = connection.execute(database.once(_insert_bucket), values).scalar_one()
        rows += [(number, begin, digest, end, data) for begin, end, digest, data in events]
    if rows:
        # In the order of the key: two runs that add the same rows wait for each other, but not in a circle.
        connection.exec_driver_sql(database.once(_insert_event), sorted(rows))


_KNOWN = sa.select(bucket.c.device_id, bucket.c.bucket, bucket.c.id, bucket.c.longest_us).where(
    bucket.c.worker_id == sa.bindparam("worker")
)


def _insert_bucket(database: Database) -> Any:
    insert = database.insert(bucket)
    greater = sa.case(
        (insert.excluded.longest_us > bucket.c.longest_us, insert.excluded.longest_us),
        else_=bucket.c.longest_us,
    )
    insert = insert.on_conflict_do_update(
        index_elements=["worker_id", "device_id", "bucket"], set_={"longest_us": greater}
    )
    return insert.returning(bucket.c.id)


def _insert_event(database: Database) -> str:
    """Return what adds rows in the order of the columns, as text.

    SQLAlchemy takes longer to lay out the rows of a bundle than SQLite to insert them.
    """
    insert = database.insert(bucket_event)
    grown = sa.case(
        (insert.excluded.end_us > bucket_event.c.end_us, insert.excluded.end_us), else_=bucket_event.c.end_us
    )
    return database.text(
        insert.on_conflict_do_update(
            index_elements=["bucket_id", "begin_us", "digest"], set_={"end_us": grown}
        )
    )
