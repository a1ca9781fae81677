"""Tokens without case, letters beyond the alphabet, values that are there, contained resources.

What the index holds of a resource is more, and folded in another way: every resource is recomputed.
"""

from __future__ import annotations

from alembic import op

from ehr_gateway.migrations.recompute import schedule_recompute

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Change no table; let every resource be recomputed."""
    schedule_recompute(op.get_bind())
