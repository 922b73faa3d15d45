"""What jobs that have been forgotten were charged stays with their account, in sum."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add what accounts were charged for jobs that are in the books no more; let old jobs be found."""
    for name in ("folded_msat", "folded_jobs"):
        op.add_column("pow_account", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index(op.f("ix_pow_job_ended_at"), "pow_job", ["ended_at"], unique=False)
