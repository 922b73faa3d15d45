"""Ways to find a worker's first and last bundle, their zones and a day, however many bundles there are."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"

_INDEXES = (["worker_id", "end_us"], ["worker_id", "timezone", "begin_us"])


def upgrade() -> None:
    """Add the indexes."""
    for columns in _INDEXES:
        op.create_index(op.f(f"ix_bundle_{'_'.join(columns)}"), "bundle", columns)


def downgrade() -> None:
    """Take them back."""
    for columns in _INDEXES:
        op.drop_index(op.f(f"ix_bundle_{'_'.join(columns)}"), table_name="bundle")
