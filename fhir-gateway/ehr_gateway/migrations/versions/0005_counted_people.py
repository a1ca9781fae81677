"""Tables for one audit row about many people who were counted together."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ehr_gateway.database.tables import INTEGER, TEXT

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the people with numbers, and the sets they are in."""
    op.create_table(
        "audit_person",
        sa.Column("number", INTEGER, primary_key=True, autoincrement=True),
        sa.Column("patient", TEXT, unique=True),
        sa.Column("since_ms", INTEGER, nullable=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("leaf", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "audit_counted",
        sa.Column("block", INTEGER, primary_key=True, autoincrement=False),
        sa.Column("event", TEXT, primary_key=True),
        sa.Column("bits", sa.LargeBinary, nullable=False),
    )
    op.create_index("audit_counted_event", "audit_counted", ["event", "block"])
