"""Which organisation a practitioner works for, by PractitionerRoles: whose a record may be that
names nobody as its author.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ehr_gateway.database.tables import INTEGER, TEXT
from ehr_gateway.migrations.recompute import schedule_recompute

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the table; its rows come when the resources are recomputed."""
    op.create_table(
        "consent_membership",
        sa.Column("consent", TEXT, nullable=False),
        sa.Column("practitioner", TEXT, nullable=False),
        sa.Column("organization", TEXT, nullable=False),
        sa.Column("since", INTEGER, nullable=False),
        sa.Column("until", INTEGER),
    )
    op.create_index("consent_membership_consent", "consent_membership", ["consent"])
    columns = ["practitioner", "organization", "since", "until"]
    op.create_index("consent_membership_practitioner", "consent_membership", columns)
    schedule_recompute(op.get_bind())
