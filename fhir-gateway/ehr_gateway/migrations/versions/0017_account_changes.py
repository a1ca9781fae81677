"""What administrators changed of accounts, with the reason of each change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ehr_gateway.database.tables import INTEGER, TEXT

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "account_change",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("login", TEXT, nullable=False),
        sa.Column("act", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("at_ms", INTEGER, nullable=False),
        sa.Column("changed_by", TEXT, nullable=False),
    )
    op.create_index("account_change_login", "account_change", ["login", "at_ms"])
