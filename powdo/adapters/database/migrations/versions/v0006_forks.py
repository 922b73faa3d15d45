"""Forks: links of bundles that were refused because another has their place in the chain."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_HEX = sa.String(length=64)


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "fork",
        sa.Column("worker_id", _ID, nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", _HEX, nullable=False),
        sa.Column("link", sa.Text(), nullable=False),
        sa.Column("link_event", sa.Text(), nullable=True),
        sa.Column("refused_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["worker_id"], ["worker.id"], name=op.f("fk_fork_worker_id")),
        sa.PrimaryKeyConstraint("worker_id", "device", "sequence", "hash", name=op.f("pk_fork")),
    )


def downgrade() -> None:
    """Take back what `upgrade` added."""
    op.drop_table("fork")
