"""Keys in custody."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the table of user records."""
    op.create_table(
        "custody",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("npub", sa.Text(), nullable=False),
        sa.Column("encrypted_dek", sa.Text(), nullable=False),
        sa.Column("dek_iv", sa.Text(), nullable=False),
        sa.Column("dek_tag", sa.Text(), nullable=False),
        sa.Column("encrypted_nsec", sa.Text(), nullable=False),
        sa.Column("nsec_iv", sa.Text(), nullable=False),
        sa.Column("nsec_tag", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("deleted_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_custody")),
        sa.UniqueConstraint("id", name=op.f("uq_custody_id")),
        sa.UniqueConstraint("username", name=op.f("uq_custody_username")),
        sa.UniqueConstraint("npub", name=op.f("uq_custody_npub")),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("custody")
