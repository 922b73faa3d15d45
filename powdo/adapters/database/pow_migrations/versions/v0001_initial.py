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
        "pow_account",
        sa.Column("pubkey", _HEX, nullable=False),
        sa.Column("msat", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("msat >= 0", name=op.f("ck_pow_account_covered")),
        sa.PrimaryKeyConstraint("pubkey", name=op.f("pk_pow_account")),
    )
    op.create_table(
        "pow_job",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("service", sa.String(length=32), nullable=False),
        sa.Column("pubkey", _HEX, nullable=False),
        sa.Column("request", _HEX, nullable=False),
        sa.Column("fee", sa.BigInteger(), nullable=False),
        sa.Column("charged", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(length=9), nullable=False),
        sa.Column("begun_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pow_job")),
    )
    op.create_index(op.f("ix_pow_job_request"), "pow_job", ["request"], unique=False)
    op.create_index(op.f("ix_pow_job_state_service"), "pow_job", ["state", "service"], unique=False)
    op.create_table(
        "pow_entry",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("pubkey", _HEX, nullable=False),
        sa.Column("msat", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=6), nullable=False),
        sa.Column("job", sa.String(length=32), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pow_entry")),
        sa.UniqueConstraint("job", "kind", name=op.f("uq_pow_entry_job_kind")),
    )
    op.create_index(op.f("ix_pow_entry_pubkey"), "pow_entry", ["pubkey"], unique=False)
