"""Alembic's environment script: run revisions on the connection that `upgrade.py` passes."""

from __future__ import annotations

from alembic import context

from ehr_gateway.schema.revision import REVISION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=REVISION_TABLE,
    # One transaction for a revision and its number. Alembic assumes that SQLite cannot roll back
    # DDL, which is true of the driver's default transactions but not of those of `engine.py`.
    transactional_ddl=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
