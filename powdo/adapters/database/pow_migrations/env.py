"""What alembic runs for the service's tables, which may lie in one database with others."""

from __future__ import annotations

from alembic import context

from powdo.adapters.database.pow_tables import NOTED, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=NOTED,
    transactional_ddl=True,  # SQLite's is too, once BEGIN is said by hand
)
with context.begin_transaction():
    context.run_migrations()
