"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_HEX = sa.String(length=64)


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "inbox",
        sa.Column("wrap", _HEX, nullable=False),
        sa.Column("event", sa.Text(), nullable=True),
        sa.Column("relay", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("outcome", sa.String(length=9), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.Column("lease_by", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("wrap", name=op.f("pk_inbox")),
    )
    op.create_index(op.f("ix_inbox_state_next_at"), "inbox", ["state", "next_at"], unique=False)
    op.create_table(
        "relay_sync",
        sa.Column("relay", sa.Text(), nullable=False),
        sa.Column("synced_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("relay", name=op.f("pk_relay_sync")),
    )
    op.create_table(
        "worker",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kimai_user", sa.Integer(), nullable=True),
        sa.Column("timezone", sa.Text(), nullable=True),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
        sa.UniqueConstraint("name", name=op.f("uq_worker_name")),
    )
    op.create_table(
        "bucket",
        sa.Column("id", _ID, nullable=False),
        sa.Column("worker_id", _ID, nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("bucket", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("longest_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["worker_id"], ["worker.id"], name=op.f("fk_bucket_worker_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bucket")),
        sa.UniqueConstraint(
            "worker_id", "device_id", "bucket", name=op.f("uq_bucket_worker_id_device_id_bucket")
        ),
    )
    op.create_table(
        "bundle",
        sa.Column("id", _ID, nullable=False),
        sa.Column("worker_id", _ID, nullable=False),
        sa.Column("wrap", _HEX, nullable=False),
        sa.Column("rumor", _HEX, nullable=False),
        sa.Column("pubkey", _HEX, nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("begin_us", sa.BigInteger(), nullable=False),
        sa.Column("end_us", sa.BigInteger(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("sha256", _HEX, nullable=False),
        sa.Column("ox", _HEX, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", _HEX, nullable=False),
        sa.Column("previous", _HEX, nullable=True),
        sa.Column("link", sa.Text(), nullable=False),
        sa.Column("link_event", sa.Text(), nullable=True),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("screenshots", sa.Integer(), nullable=False),
        sa.Column("bucket_events", sa.Integer(), nullable=False),
        sa.Column("wrap_event", sa.Text(), nullable=False),
        sa.Column("seal_event", sa.Text(), nullable=False),
        sa.Column("rumor_event", sa.Text(), nullable=False),
        sa.Column("ingested_at", sa.BigInteger(), nullable=False),
        sa.Column("receipt_due", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["worker_id"], ["worker.id"], name=op.f("fk_bundle_worker_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bundle")),
        sa.UniqueConstraint("rumor", name=op.f("uq_bundle_rumor")),
        sa.UniqueConstraint(
            "worker_id", "device", "sequence", name=op.f("uq_bundle_worker_id_device_sequence")
        ),
        sa.UniqueConstraint("worker_id", "sha256", name=op.f("uq_bundle_worker_id_sha256")),
    )
    op.create_index(op.f("ix_bundle_worker_id_begin_us"), "bundle", ["worker_id", "begin_us"], unique=False)
    op.create_index(op.f("ix_bundle_wrap"), "bundle", ["wrap"], unique=False)
    op.create_table(
        "dirty",
        sa.Column("id", _ID, nullable=False),
        sa.Column("worker_id", _ID, nullable=False),
        sa.Column("begin_us", sa.BigInteger(), nullable=False),
        sa.Column("end_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["worker_id"], ["worker.id"], name=op.f("fk_dirty_worker_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dirty")),
    )
    op.create_index(op.f("ix_dirty_worker_id"), "dirty", ["worker_id"], unique=False)
    op.create_table(
        "rejection",
        sa.Column("wrap", _HEX, nullable=False),
        sa.Column("rumor", _HEX, nullable=True),
        sa.Column("pubkey", _HEX, nullable=True),
        sa.Column("worker_id", _ID, nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("rejected_at", sa.BigInteger(), nullable=False),
        sa.Column("receipt_due", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["worker_id"], ["worker.id"], name=op.f("fk_rejection_worker_id")),
        sa.PrimaryKeyConstraint("wrap", name=op.f("pk_rejection")),
    )
    op.create_index(
        op.f("ix_rejection_worker_id_rejected_at"), "rejection", ["worker_id", "rejected_at"], unique=False
    )
    op.create_table(
        "timesheet_sent",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("worker_id", _ID, nullable=False),
        sa.Column("marker", sa.Text(), nullable=False),
        sa.Column("kimai_id", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("begin_us", sa.BigInteger(), nullable=False),
        sa.Column("end_us", sa.BigInteger(), nullable=False),
        sa.Column("kimai_user", sa.BigInteger(), nullable=False),
        sa.Column("project", sa.BigInteger(), nullable=False),
        sa.Column("activity", sa.BigInteger(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("billable", sa.Boolean(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["worker_id"], ["worker.id"], name=op.f("fk_timesheet_sent_worker_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_timesheet_sent")),
        sa.UniqueConstraint("marker", name=op.f("uq_timesheet_sent_marker")),
    )
    op.create_index(
        op.f("ix_timesheet_sent_worker_id_begin_us"),
        "timesheet_sent",
        ["worker_id", "begin_us"],
        unique=False,
    )
    op.create_index(
        op.f("ix_timesheet_sent_worker_id_state"), "timesheet_sent", ["worker_id", "state"], unique=False
    )
    op.create_table(
        "worker_key",
        sa.Column("pubkey", _HEX, nullable=False),
        sa.Column("worker_id", _ID, nullable=False),
        sa.Column("role", sa.String(length=8), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["worker_id"], ["worker.id"], name=op.f("fk_worker_key_worker_id")),
        sa.PrimaryKeyConstraint("pubkey", name=op.f("pk_worker_key")),
    )
    op.create_table(
        "bucket_event",
        sa.Column("bucket_id", _ID, autoincrement=False, nullable=False),
        sa.Column("begin_us", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=32), nullable=False),
        sa.Column("end_us", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["bucket_id"], ["bucket.id"], name=op.f("fk_bucket_event_bucket_id")),
        sa.PrimaryKeyConstraint("bucket_id", "begin_us", "digest", name=op.f("pk_bucket_event")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "screenshot",
        sa.Column("bundle_id", _ID, nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("worker_id", _ID, nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("monitor", sa.Integer(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("sha256", _HEX, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["bundle_id"], ["bundle.id"], name=op.f("fk_screenshot_bundle_id")),
        sa.ForeignKeyConstraint(["worker_id"], ["worker.id"], name=op.f("fk_screenshot_worker_id")),
        sa.PrimaryKeyConstraint("bundle_id", "file", name=op.f("pk_screenshot")),
    )
    op.create_index(
        op.f("ix_screenshot_worker_id_time_us"), "screenshot", ["worker_id", "time_us"], unique=False
    )


def downgrade() -> None:
    """Drop all tables."""
    op.drop_index(op.f("ix_screenshot_worker_id_time_us"), table_name="screenshot")
    op.drop_table("screenshot")
    op.drop_table("bucket_event")
    op.drop_table("worker_key")
    op.drop_index(op.f("ix_timesheet_sent_worker_id_state"), table_name="timesheet_sent")
    op.drop_index(op.f("ix_timesheet_sent_worker_id_begin_us"), table_name="timesheet_sent")
    op.drop_table("timesheet_sent")
    op.drop_index(op.f("ix_rejection_worker_id_rejected_at"), table_name="rejection")
    op.drop_table("rejection")
    op.drop_index(op.f("ix_dirty_worker_id"), table_name="dirty")
    op.drop_table("dirty")
    op.drop_index(op.f("ix_bundle_wrap"), table_name="bundle")
    op.drop_index(op.f("ix_bundle_worker_id_begin_us"), table_name="bundle")
    op.drop_table("bundle")
    op.drop_table("bucket")
    op.drop_table("worker")
    op.drop_table("relay_sync")
    op.drop_index(op.f("ix_inbox_state_next_at"), table_name="inbox")
    op.drop_table("inbox")
