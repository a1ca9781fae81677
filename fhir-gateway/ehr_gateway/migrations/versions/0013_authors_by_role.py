"""Who is named as an author by a role or a team is the person whom that names in turn.

Every resource is recomputed.
"""

from __future__ import annotations

from alembic import op

from ehr_gateway.migrations.recompute import schedule_recompute

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Change no table; let every resource be recomputed."""
    schedule_recompute(op.get_bind())
