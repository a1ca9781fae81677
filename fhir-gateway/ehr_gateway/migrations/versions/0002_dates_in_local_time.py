"""Dates without a zone are read by the local time zone's history.

They were read at a fixed offset, which is an hour off in the summers until 1979, among others:
their index rows, and the clinical date by which consent decides, are recomputed.
"""

from __future__ import annotations

from alembic import op

from ehr_gateway.migrations.recompute import schedule_recompute

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Change no table; let every resource be recomputed."""
    schedule_recompute(op.get_bind())
