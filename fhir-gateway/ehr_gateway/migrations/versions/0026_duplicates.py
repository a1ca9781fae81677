"""Pairs of Patients that may be one person's, for a steward to decide."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column

from ehr_gateway.database.tables import INTEGER, TEXT

revision, down_revision = "0026", "0025"


def upgrade() -> None:
    """Add the table and its indexes; every Patient is then compared once."""
    op.create_table(
        "duplicate_candidate",
        Column("first", TEXT, primary_key=True),
        Column("second", TEXT, primary_key=True),
        Column("score", INTEGER, nullable=False),
        Column("levels", TEXT, nullable=False),
        Column("found_ms", INTEGER, nullable=False),
        Column("state", TEXT, nullable=False),
        Column("person", TEXT),
        Column("display", TEXT),
        Column("reason", TEXT),
        Column("decided_ms", INTEGER),
        sqlite_with_rowid=False,
    )
    op.create_index("duplicate_candidate_second", "duplicate_candidate", ["second"])
    op.create_index("duplicate_candidate_score", "duplicate_candidate", ["state", "score"])
