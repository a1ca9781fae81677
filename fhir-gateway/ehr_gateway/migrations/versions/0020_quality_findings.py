"""Faults that the lake found, and what stewards decided of them."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column

from ehr_gateway.database.tables import INTEGER, TEXT

revision, down_revision = "0020", "0019"


def upgrade() -> None:
    """Add the tables and their indexes."""
    op.create_table(
        "quality_finding",
        Column("type", TEXT, primary_key=True),
        Column("id", TEXT, primary_key=True),
        Column("version", INTEGER, nullable=False),
        Column("severity", TEXT, nullable=False),
        Column("rules", TEXT, nullable=False),
        Column("elements", TEXT, nullable=False),
        Column("found_ms", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("quality_finding_found", "quality_finding", ["found_ms", "type", "id"])
    op.create_table(
        "quality_decision",
        Column("id", TEXT, primary_key=True),
        Column("type", TEXT, nullable=False),
        Column("logical_id", TEXT, nullable=False),
        Column("version", INTEGER, nullable=False),
        Column("decision", TEXT, nullable=False),
        Column("reason", TEXT, nullable=False),
        Column("person", TEXT, nullable=False),
        Column("display", TEXT, nullable=False),
        Column("decided_ms", INTEGER, nullable=False),
    )
    op.create_index(
        "quality_decision_record",
        "quality_decision",
        ["type", "logical_id", "version", "decided_ms"],
    )
