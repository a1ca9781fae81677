"""Facts and rules of consent as they are read since classification closes in doubt.

A rule by sensitivity label has a row for each label, so that an exception for one does not lift
another.
"""

from __future__ import annotations

from alembic import op

from ehr_gateway.migrations.recompute import schedule_recompute

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Change no table; let every resource be recomputed."""
    schedule_recompute(op.get_bind())
