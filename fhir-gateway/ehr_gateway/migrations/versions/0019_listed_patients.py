"""Who was on a list of patients that one event of the audit log is about."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column

from ehr_gateway.database.tables import INTEGER, TEXT

revision, down_revision = "0019", "0018"


def upgrade() -> None:
    """Add the table and its index."""
    op.create_table(
        "audit_listed",
        Column("event", TEXT, primary_key=True),
        Column("person", INTEGER, primary_key=True, autoincrement=False),
        Column("at_ms", INTEGER, nullable=False),
        Column("domains", TEXT, nullable=False),
        Column("reason", TEXT, nullable=False),
    )
    op.create_index("audit_listed_person", "audit_listed", ["person", "at_ms"])
