"""Decisions about models are found in the audit log at once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0022", "0021"


def upgrade() -> None:
    """Add an index of these rows alone."""
    decisions = sa.text("interaction = 'model-decision'")
    op.create_index(
        "audit_model_decision",
        "audit",
        ["seq"],
        sqlite_where=decisions,
        postgresql_where=decisions,
    )
