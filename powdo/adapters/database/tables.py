"""The DVM's tables, as SQLAlchemy Core.

Rules:
- times are microseconds since 1970 UTC (`*_us`), or seconds where nobody counts with them (`*_at`);
- a table changes only together with a migration in `migrations/versions` (a test compares the two);
- what a peer sent is kept as ASCII-escaped JSON text, which every database can hold.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only in a column of exactly the type INTEGER.
_Id = BigInteger().with_variant(Integer, "sqlite")
_Hex = String(64)


def _worker(**options: Any) -> Column[int]:
    return Column("worker_id", _Id, ForeignKey("worker.id"), nullable=False, **options)


worker = Table(
    "worker",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("kimai_user", Integer),
    Column("timezone", Text),
    Column("disabled", Boolean, nullable=False),
    Column("added_at", BigInteger, nullable=False),
    Column("day_start", Integer),  # seconds after midnight
)

worker_key = Table(
    "worker_key",
    metadata,
    Column("pubkey", _Hex, primary_key=True),
    _worker(),
    Column("role", String(8), nullable=False),  # identity | access
    Column("added_at", BigInteger, nullable=False),
)

#: Whose data was erased, and when: what they had sent until then is not taken again.
tombstone = Table(
    "tombstone",
    metadata,
    Column("author", _Hex, primary_key=True),  # sha256 of the pubkey: it tells nobody who it was
    Column("erased_at", BigInteger, nullable=False),
)

inbox = Table(
    "inbox",
    metadata,
    Column("wrap", _Hex, primary_key=True),
    Column("event", Text),  # forgotten once a stranger's
    Column("relay", Text, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("state", String(8), nullable=False),  # waiting | done
    Column("outcome", String(9)),  # ingested | duplicate | rejected | stranger | skipped | erased
    Column("attempts", Integer, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("lease_by", Text),
    Column("error", Text),
    Index(None, "state", "next_at"),
)

relay_sync = Table(
    "relay_sync",
    metadata,
    Column("relay", Text, primary_key=True),
    Column("synced_at", BigInteger, nullable=False),
)

rejection = Table(
    "rejection",
    metadata,
    Column("wrap", _Hex, primary_key=True),
    Column("rumor", _Hex),
    Column("pubkey", _Hex),
    Column("sha256", _Hex),
    Column("worker_id", _Id, ForeignKey("worker.id")),
    Column("reason", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("rejected_at", BigInteger, nullable=False),
    Column("receipt_due", Boolean, nullable=False),
    Index(None, "worker_id", "rejected_at"),
    Index(None, "rumor"),
)
Index(
    "ix_rejection_due",
    rejection.c.wrap,
    sqlite_where=rejection.c.receipt_due,
    postgresql_where=rejection.c.receipt_due,
)

bundle = Table(
    "bundle",
    metadata,
    Column("id", _Id, primary_key=True),
    _worker(),
    Column("wrap", _Hex, nullable=False),
    Column("rumor", _Hex, nullable=False, unique=True),
    Column("pubkey", _Hex, nullable=False),
    Column("device", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("begin_us", BigInteger, nullable=False),
    Column("end_us", BigInteger, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("sha256", _Hex, nullable=False),
    Column("ox", _Hex, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("root", _Hex, nullable=False),
    Column("previous", _Hex),
    Column("link", Text, nullable=False),
    Column("link_event", Text),
    Column("manifest", Text, nullable=False),
    Column("screenshots", Integer, nullable=False),
    Column("bucket_events", Integer, nullable=False),
    Column("wrap_event", Text, nullable=False),
    Column("seal_event", Text, nullable=False),
    Column("rumor_event", Text, nullable=False),
    Column("ingested_at", BigInteger, nullable=False),
    Column("receipt_due", Boolean, nullable=False),
    Column("blob_removed_at", BigInteger),  # when retention took the blob
    Column("screenshots_removed_at", BigInteger),  # and the files of its screenshots
    Column("statement", Text),  # the kind 78 event in which the DVM states that it has the bundle
    UniqueConstraint("worker_id", "sha256"),
    UniqueConstraint("worker_id", "device", "sequence"),
    Index(None, "worker_id", "begin_us"),
    Index(None, "worker_id", "end_us"),
    Index(None, "worker_id", "timezone", "begin_us"),
    Index(None, "wrap"),
    Index(None, "sha256"),
)
# What retention looks for.
for _name in ("blob", "screenshots"):
    _kept = bundle.c[f"{_name}_removed_at"].is_(None)
    Index(f"ix_bundle_{_name}_kept", bundle.c.ingested_at, sqlite_where=_kept, postgresql_where=_kept)

#: Links of captures that their worker destroyed; later bundles of the device told them.
withheld = Table(
    "withheld",
    metadata,
    _worker(primary_key=True),
    Column("device", Text, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", _Hex, primary_key=True),
    Column("begin_us", BigInteger, nullable=False),
    Column("end_us", BigInteger, nullable=False),
    Column("link", Text, nullable=False),
    Column("link_event", Text),
    Column("ingested_at", BigInteger, nullable=False),
)
#: Links of bundles that were refused because another one has their place.
fork = Table(
    "fork",
    metadata,
    _worker(primary_key=True),
    Column("device", Text, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", _Hex, primary_key=True),
    Column("link", Text, nullable=False),
    Column("link_event", Text),
    Column("refused_at", BigInteger, nullable=False),
)
# Few wait for a receipt, among all that ever came.
Index("ix_bundle_due", bundle.c.id, sqlite_where=bundle.c.receipt_due, postgresql_where=bundle.c.receipt_due)

receipt = Table(
    "receipt",
    metadata,
    Column("wrap", _Hex, primary_key=True),
    Column("request", _Hex, nullable=False),  # the id of the rumor that it answers
    _worker(),
    Column("recipient", _Hex, nullable=False),
    Column("event", Text),  # forgotten once the relay has it
    Column("made_at", BigInteger, nullable=False),
    Column("published_at", BigInteger),
    Index(None, "request"),
    Index(None, "worker_id"),
)

screenshot = Table(
    "screenshot",
    metadata,
    Column("bundle_id", _Id, ForeignKey("bundle.id"), primary_key=True),
    Column("file", Text, primary_key=True),
    _worker(),
    Column("time_us", BigInteger, nullable=False),
    Column("monitor", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("sha256", _Hex, nullable=False),
    Column("size", BigInteger, nullable=False),
    Index(None, "worker_id", "time_us"),
    Index(None, "sha256"),
)

bucket = Table(
    "bucket",
    metadata,
    Column("id", _Id, primary_key=True),
    _worker(),
    Column("device_id", Text, nullable=False),
    Column("bucket", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("hostname", Text, nullable=False),
    Column("longest_us", BigInteger, nullable=False),  # how far before a range its bucket events may begin
    UniqueConstraint("worker_id", "device_id", "bucket"),
)

bucket_event = Table(
    "bucket_event",
    metadata,
    Column("bucket_id", _Id, ForeignKey("bucket.id"), primary_key=True, autoincrement=False),
    Column("begin_us", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", String(32), primary_key=True),  # half a sha256 of the data
    Column("end_us", BigInteger, nullable=False),
    Column("data", Text, nullable=False),
    sqlite_with_rowid=False,
)

dirty = Table(
    "dirty",
    metadata,
    Column("id", _Id, primary_key=True),
    _worker(),
    Column("begin_us", BigInteger, nullable=False),
    Column("end_us", BigInteger, nullable=False),
    Index(None, "worker_id"),
)

timesheet_sent = Table(
    "timesheet_sent",
    metadata,
    Column("id", String(36), primary_key=True),
    _worker(),
    Column("marker", Text, nullable=False, unique=True),
    Column("kimai_id", BigInteger),
    Column("state", String(8), nullable=False),  # intent | sent | updating | deleting | deleted | kept
    Column("begin_us", BigInteger, nullable=False),
    Column("end_us", BigInteger, nullable=False),
    Column("kimai_user", BigInteger, nullable=False),
    Column("project", BigInteger, nullable=False),
    Column("activity", BigInteger, nullable=False),
    Column("tags", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("billable", Boolean),
    Column("fingerprint", Text, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("algorithm", Text, nullable=False, server_default="powdo-1"),
    Index(None, "worker_id", "begin_us"),
    Index(None, "worker_id", "state"),
    Index(None, "worker_id", "kimai_id"),
)

timesheet_blocked = Table(
    "timesheet_blocked",
    metadata,
    Column("id", String(36), primary_key=True),
    _worker(),
    Column("kimai_id", BigInteger),
    Column("kimai_user", BigInteger, nullable=False),
    Column("project", BigInteger, nullable=False),
    Column("activity", BigInteger, nullable=False),
    Column("begin_us", BigInteger, nullable=False),
    Column("end_us", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("context", _Hex, nullable=False),
    Column("retry_at", BigInteger, nullable=False),
    Index(None, "worker_id"),
)

# The fields of a user record (powdo/custody/record.py), by their names there.
custody = Table(
    "custody",
    metadata,
    Column("number", _Id, primary_key=True),  # the order in which they were made
    Column("id", String(36), nullable=False, unique=True),
    Column("username", Text, nullable=False, unique=True),
    Column("npub", Text, nullable=False, unique=True),
    Column("encrypted_dek", Text, nullable=False),
    Column("dek_iv", Text, nullable=False),
    Column("dek_tag", Text, nullable=False),
    Column("encrypted_nsec", Text, nullable=False),
    Column("nsec_iv", Text, nullable=False),
    Column("nsec_tag", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("deleted_at", Text),
)
