"""Bundle's `composition` and `message` are indexed by the first entry, each by rows of its own.

Every resource is recomputed.
"""

from __future__ import annotations

from alembic import op

from ehr_gateway.migrations.recompute import schedule_recompute

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Change no table; let every resource be recomputed."""
    schedule_recompute(op.get_bind())
