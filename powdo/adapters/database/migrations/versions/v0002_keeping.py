"""What is kept and for how long: withheld links, what retention took, whose data was erased."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_HEX = sa.String(length=64)


def upgrade() -> None:
    """Add the tables, the marks of retention, and ways to find files by their hash."""
    op.create_table(
        "tombstone",
        sa.Column("author", _HEX, nullable=False),
        sa.Column("erased_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("author", name=op.f("pk_tombstone")),
    )
    op.create_table(
        "withheld",
        sa.Column("worker_id", _ID, nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", _HEX, nullable=False),
        sa.Column("begin_us", sa.BigInteger(), nullable=False),
        sa.Column("end_us", sa.BigInteger(), nullable=False),
        sa.Column("link", sa.Text(), nullable=False),
        sa.Column("link_event", sa.Text(), nullable=True),
        sa.Column("ingested_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["worker_id"], ["worker.id"], name=op.f("fk_withheld_worker_id")),
        sa.PrimaryKeyConstraint("worker_id", "device", "sequence", "hash", name=op.f("pk_withheld")),
    )
    for name in ("blob_removed_at", "screenshots_removed_at"):
        op.add_column("bundle", sa.Column(name, sa.BigInteger(), nullable=True))
    for name in ("blob", "screenshots"):
        kept = sa.text(f"{name}_removed_at IS NULL")
        op.create_index(
            f"ix_bundle_{name}_kept", "bundle", ["ingested_at"], sqlite_where=kept, postgresql_where=kept
        )
    op.create_index(op.f("ix_bundle_sha256"), "bundle", ["sha256"])
    op.create_index(op.f("ix_screenshot_sha256"), "screenshot", ["sha256"])


def downgrade() -> None:
    """Take back what `upgrade` added."""
    op.drop_index(op.f("ix_screenshot_sha256"), table_name="screenshot")
    op.drop_index(op.f("ix_bundle_sha256"), table_name="bundle")
    for name in ("blob", "screenshots"):
        op.drop_index(f"ix_bundle_{name}_kept", table_name="bundle")
        op.drop_column("bundle", f"{name}_removed_at")
    op.drop_table("withheld")
    op.drop_table("tombstone")
