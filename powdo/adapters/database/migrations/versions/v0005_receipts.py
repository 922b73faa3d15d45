"""Receipts: what the DVM states, and the gift wraps that tell it until a relay has them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_HEX = sa.String(length=64)
_DUE = sa.text("receipt_due")


def upgrade() -> None:
    """Add the statements, the receipts, and ways to find those that are due."""
    op.add_column("bundle", sa.Column("statement", sa.Text(), nullable=True))
    op.add_column("rejection", sa.Column("sha256", _HEX, nullable=True))
    op.create_table(
        "receipt",
        sa.Column("wrap", _HEX, nullable=False),
        sa.Column("request", _HEX, nullable=False),
        sa.Column("worker_id", _ID, nullable=False),
        sa.Column("recipient", _HEX, nullable=False),
        sa.Column("event", sa.Text(), nullable=True),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("published_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["worker_id"], ["worker.id"], name=op.f("fk_receipt_worker_id")),
        sa.PrimaryKeyConstraint("wrap", name=op.f("pk_receipt")),
    )
    op.create_index(op.f("ix_receipt_request"), "receipt", ["request"])
    op.create_index(op.f("ix_receipt_worker_id"), "receipt", ["worker_id"])
    op.create_index(op.f("ix_rejection_rumor"), "rejection", ["rumor"])
    op.create_index("ix_bundle_due", "bundle", ["id"], sqlite_where=_DUE, postgresql_where=_DUE)
    op.create_index("ix_rejection_due", "rejection", ["wrap"], sqlite_where=_DUE, postgresql_where=_DUE)
