"""Closure tables of programs (`$closure`)."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column

from ehr_gateway.database.tables import INTEGER, TEXT

revision, down_revision = "0028", "0027"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "closure_table",
        Column("owner", TEXT, primary_key=True),
        Column("name", TEXT, primary_key=True),
        Column("version", INTEGER, nullable=False),
        Column("changed_ms", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "closure_concept",
        Column("owner", TEXT, primary_key=True),
        Column("name", TEXT, primary_key=True),
        Column("system", TEXT, primary_key=True),
        Column("code", TEXT, primary_key=True),
        Column("added", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
