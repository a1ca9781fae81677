"""Alembic's environment: run the revisions on the connection that `upgrade.py` hands over."""

from __future__ import annotations

from alembic import context

from ehr_gateway.schema.revision import REVISION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=REVISION_TABLE,
    # A revision and its number in one transaction: Alembic expects that of PostgreSQL alone, but
    # `engine.py` opens SQLite's transactions so that they hold the changes of tables too.
    transactional_ddl=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
