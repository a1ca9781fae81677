"""SMART Health Links, and who opened them."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, LargeBinary

from ehr_gateway.database.tables import INTEGER, TEXT

revision, down_revision = "0027", "0026"


def upgrade() -> None:
    """Add the tables and their indexes."""
    op.create_table(
        "health_link",
        Column("id", TEXT, primary_key=True),
        Column("token_hash", TEXT, nullable=False, unique=True),
        Column("patient", TEXT, nullable=False),
        Column("label", TEXT, nullable=False),
        Column("content", TEXT, nullable=False),
        Column("language", TEXT, nullable=False),
        Column("login", TEXT, nullable=False),
        Column("scope", TEXT, nullable=False),
        Column("passcode", TEXT, nullable=False),
        Column("tries_left", INTEGER, nullable=False),
        Column("made_ms", INTEGER, nullable=False),
        Column("expires_ms", INTEGER, nullable=False),
        Column("ended_ms", INTEGER),
        Column("file", LargeBinary),
    )
    op.create_index("health_link_patient", "health_link", ["patient", "made_ms"])
    op.create_table(
        "health_link_opening",
        Column("id", TEXT, primary_key=True),
        Column("link", TEXT, nullable=False),
        Column("at_ms", INTEGER, nullable=False),
        Column("recipient", TEXT, nullable=False),
        Column("outcome", TEXT, nullable=False),
    )
    op.create_index("health_link_opening_link", "health_link_opening", ["link", "at_ms"])
