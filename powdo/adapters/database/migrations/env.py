"""What alembic runs: migrates over the connection it is handed, in that connection's transaction."""

from __future__ import annotations

from alembic import context

from powdo.adapters.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite's is too, once BEGIN is said by hand
)
with context.begin_transaction():
    context.run_migrations()
