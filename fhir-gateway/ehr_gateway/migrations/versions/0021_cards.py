"""Cards of decision support that were shown, and what became of them."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column

from ehr_gateway.database.tables import INTEGER, TEXT

revision, down_revision = "0021", "0020"


def upgrade() -> None:
    """Add the table and its indexes."""
    op.create_table(
        "cds_card",
        Column("id", TEXT, primary_key=True),
        Column("service", TEXT, nullable=False),
        Column("version", TEXT, nullable=False),
        Column("patient", TEXT, nullable=False),
        Column("login", TEXT, nullable=False),
        Column("client", TEXT, nullable=False),
        Column("shown_ms", INTEGER, nullable=False),
        Column("outcome", TEXT),
        Column("reason", TEXT),
        Column("comment", TEXT),
        Column("outcome_ms", INTEGER),
    )
    op.create_index("cds_card_patient", "cds_card", ["patient"])
    op.create_index("cds_card_shown", "cds_card", ["service", "shown_ms"])
