"""Apps are approved, and offered to roles: where a launch begins, who decided, why."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column

from ehr_gateway.database.tables import INTEGER, TEXT

revision, down_revision = "0029", "0028"


def upgrade() -> None:
    """Add the columns; the clients that are there were registered by the administrator."""
    op.add_column("client", Column("launch_uri", TEXT))
    op.add_column("client", Column("approval", TEXT, nullable=False, server_default="approved"))
    op.add_column("client", Column("launch_roles", TEXT, nullable=False, server_default=""))
    op.add_column("client", Column("decided_ms", INTEGER))
    op.add_column("client", Column("decided_by", TEXT))
    op.add_column("client", Column("decision_reason", TEXT))
