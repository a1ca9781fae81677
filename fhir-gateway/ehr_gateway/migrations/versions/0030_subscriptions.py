"""Subscriptions: who asked for which notifications, the events they wait for, leadership."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, text

from ehr_gateway.database.tables import INTEGER, TEXT

revision, down_revision = "0030", "0029"


def upgrade() -> None:
    """Add the tables and their indexes."""
    op.create_table(
        "subscription",
        Column("id", TEXT, primary_key=True),
        *(
            Column(name, TEXT, nullable=False)
            for name in ("owner", "subject", "login", "client", "family", "scope")
        ),
        Column("patient", TEXT),
        Column("until_ms", INTEGER),
        Column("version", INTEGER, nullable=False),
        Column("updated_ms", INTEGER, nullable=False),
        Column("resource", TEXT, nullable=False),
        Column("headers", TEXT),
        Column("channel", TEXT, nullable=False),
        Column("state", TEXT, nullable=False),
        Column("error", TEXT),
        *(
            Column(name, INTEGER, nullable=False)
            for name in ("since_position", "last_number", "acknowledged", "failures")
        ),
        Column("failing_ms", INTEGER),
        Column("sent_ms", INTEGER),
        Column("due_ms", INTEGER),
        Column("revision", INTEGER, nullable=False),
    )
    op.create_index("subscription_owner", "subscription", ["owner", "id"])
    for name, column in (
        ("due", "due_ms"), ("revision", "revision"), ("login", "login"), ("client", "client"),
        ("family", "family"),
    ):  # fmt: skip
        op.create_index(f"subscription_{name}", "subscription", [column])
    op.create_table(
        "subscription_event",
        Column("subscription", TEXT, primary_key=True),
        Column("position", INTEGER, primary_key=True, autoincrement=False),
        Column("number", INTEGER),
        Column("type", TEXT, nullable=False),
        Column("id", TEXT, nullable=False),
        Column("at_ms", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    numbered = text("number IS NOT NULL")
    op.create_index(
        "subscription_event_number",
        "subscription_event",
        ["subscription", "number"],
        unique=True,
        sqlite_where=numbered,
        postgresql_where=numbered,
    )
    op.create_index("subscription_event_record", "subscription_event", ["type", "id"])
    op.create_index("subscription_event_age", "subscription_event", ["at_ms"])
    op.create_table(
        "subscription_feed",
        Column("one", INTEGER, primary_key=True, autoincrement=False),
        Column("position", INTEGER, nullable=False),
        Column("revision", INTEGER, nullable=False),
        Column("leader", TEXT),
        Column("until_ms", INTEGER, nullable=False),
    )
    op.create_table(
        "subscription_binding",
        Column("token", TEXT, primary_key=True),
        Column("owner", TEXT, nullable=False),
        Column("subscriptions", TEXT, nullable=False),
        Column("expires_ms", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
