"""The current version of a resource keeps its row; positions in the feed have their own column."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"

_INTEGER = {"sqlite": "INTEGER", "postgresql": "BIGINT"}


def upgrade() -> None:
    """Add the column, which is the key of the rows that are there, and change the indexes."""
    bind = op.get_bind()
    integer = _INTEGER[bind.dialect.name]
    for statement in (
        f"ALTER TABLE resource ADD COLUMN position {integer} DEFAULT 0 NOT NULL",
        "UPDATE resource SET position = pk",
        "DROP INDEX resource_version",
        "CREATE UNIQUE INDEX resource_version ON resource (type, id, version, current)",
        "DROP INDEX resource_history",
        "CREATE INDEX resource_history ON resource (type, position) WHERE version > 0",
        "CREATE UNIQUE INDEX resource_position ON resource (position, current)",
    ):
        bind.exec_driver_sql(statement)
