"""Consents about care are clinical documents.

Until the resources are recomputed every Consent counts as a rule, which clinicians do not see.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ehr_gateway.database.tables import INTEGER
from ehr_gateway.migrations.recompute import schedule_recompute

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column; let every resource be recomputed."""
    column = sa.Column("clinical_consent", INTEGER, nullable=False, server_default=sa.text("0"))
    op.add_column("resource", column)
    schedule_recompute(op.get_bind())
