"""Bulk exports: what was asked for and which files it gives."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column

from ehr_gateway.database.tables import INTEGER, TEXT

revision, down_revision = "0023", "0022"


def upgrade() -> None:
    """Add the tables and their index."""
    op.create_table(
        "bulk_export",
        Column("id", TEXT, primary_key=True),
        Column("owner", TEXT, nullable=False),
        Column("started_ms", INTEGER, nullable=False),
        Column("expires_ms", INTEGER, nullable=False),
        Column("position", INTEGER, nullable=False),
        Column("request", TEXT),
        Column("progress", TEXT),
    )
    op.create_index("bulk_export_owner", "bulk_export", ["owner", "started_ms"])
    op.create_table(
        "bulk_export_file",
        Column("export", TEXT, primary_key=True),
        Column("number", INTEGER, primary_key=True),
        Column("slice", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
