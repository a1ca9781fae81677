"""Suspensions of persons, organisations, clients and all emergency access."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ehr_gateway.database.tables import INTEGER, TEXT

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "suspension",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("since_ms", INTEGER, nullable=False),
        sa.Column("until_ms", INTEGER),
        sa.Column("login", TEXT, nullable=False),
        sa.Column("display", TEXT, nullable=False),
        sa.Column("lifted_ms", INTEGER),
        sa.Column("lifted_by", TEXT),
        sa.Column("lift_reason", TEXT),
    )
    op.create_index("suspension_lifted", "suspension", ["lifted_ms"])
