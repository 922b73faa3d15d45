"""What Kimai refused, the algorithm behind each timesheet, and when a worker's day begins."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table and the columns; what was sent before was made by `powdo-1`."""
    op.create_table(
        "timesheet_blocked",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("worker_id", _ID, nullable=False),
        sa.Column("kimai_id", sa.BigInteger(), nullable=True),
        sa.Column("kimai_user", sa.BigInteger(), nullable=False),
        sa.Column("project", sa.BigInteger(), nullable=False),
        sa.Column("activity", sa.BigInteger(), nullable=False),
        sa.Column("begin_us", sa.BigInteger(), nullable=False),
        sa.Column("end_us", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("context", sa.String(length=64), nullable=False),
        sa.Column("retry_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["worker_id"], ["worker.id"], name=op.f("fk_timesheet_blocked_worker_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_timesheet_blocked")),
    )
    op.create_index(op.f("ix_timesheet_blocked_worker_id"), "timesheet_blocked", ["worker_id"], unique=False)
    op.create_index(
        op.f("ix_timesheet_sent_worker_id_kimai_id"),
        "timesheet_sent",
        ["worker_id", "kimai_id"],
        unique=False,
    )
    op.add_column(
        "timesheet_sent", sa.Column("algorithm", sa.Text(), nullable=False, server_default="powdo-1")
    )
    op.add_column("worker", sa.Column("day_start", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Take them back."""
    op.drop_column("worker", "day_start")
    op.drop_index(op.f("ix_timesheet_sent_worker_id_kimai_id"), table_name="timesheet_sent")
    op.drop_column("timesheet_sent", "algorithm")
    op.drop_index(op.f("ix_timesheet_blocked_worker_id"), table_name="timesheet_blocked")
    op.drop_table("timesheet_blocked")
