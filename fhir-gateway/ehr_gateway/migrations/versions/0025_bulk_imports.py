"""Bulk imports: what was asked for, how far each is, which lines were refused."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column

from ehr_gateway.database.tables import INTEGER, TEXT

revision, down_revision = "0025", "0024"


def upgrade() -> None:
    """Add the tables and their index."""
    op.create_table(
        "bulk_import",
        Column("id", TEXT, primary_key=True),
        Column("owner", TEXT, nullable=False),
        Column("started_ms", INTEGER, nullable=False),
        Column("expires_ms", INTEGER, nullable=False),
        Column("state", TEXT, nullable=False),
        Column("request", TEXT, nullable=False),
        Column("progress", TEXT, nullable=False),
        Column("attempts", INTEGER, nullable=False),
        Column("fault", TEXT, nullable=False),
    )
    op.create_index("bulk_import_owner", "bulk_import", ["owner"])
    op.create_table(
        "bulk_import_fault",
        Column("job", TEXT, primary_key=True),
        Column("number", INTEGER, primary_key=True),
        Column("input", INTEGER, nullable=False),
        Column("line", INTEGER, nullable=False),
        Column("reason", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
