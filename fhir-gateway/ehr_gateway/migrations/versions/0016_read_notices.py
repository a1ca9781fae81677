"""Readers see which of their notices are new. Nobody said so far that one was read: all are new."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ehr_gateway.database.tables import INTEGER

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the instant of reading, and the index of what is unread."""
    op.add_column("notice", sa.Column("read_ms", INTEGER))
    unread = sa.text("read_ms IS NULL")
    op.create_index(
        "notice_unread", "notice", ["reader"], sqlite_where=unread, postgresql_where=unread
    )
