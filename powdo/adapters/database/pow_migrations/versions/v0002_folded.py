"""What jobs that have been forgotten were charged stays with their account, in sum."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add what each account was charged, for how many jobs, that are in the books no more."""
    for name in ("folded_msat", "folded_jobs"):
        op.add_column("pow_account", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
