"""The feed tells of rules and facts that change without a version; now of all rules there are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ehr_gateway.database.tables import INTEGER, TEXT

revision = "0018"
down_revision = "0017"

_PATIENTS = " UNION ".join(
    f"SELECT patient FROM {table}"  # noqa: S608 - names of tables
    for table in ("consent_joining", "consent_research", "consent_restriction")
)


def upgrade() -> None:
    """Create the table and put down every patient who has rules about research."""
    op.create_table(
        "decision_change",
        sa.Column("kind", TEXT, primary_key=True),
        sa.Column("type", TEXT, primary_key=True),
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("number", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("decision_change_number", "decision_change", ["number"], unique=True)
    named = sa.text("author_person IS NOT NULL")
    op.create_index(
        "consent_restriction_author_person",
        "consent_restriction",
        ["author_person", "patient"],
        sqlite_where=named,
        postgresql_where=named,
    )
    op.execute(
        "INSERT INTO decision_change (kind, type, id, number)"  # noqa: S608
        " SELECT 'rules', 'Patient', patient, ROW_NUMBER() OVER (ORDER BY patient)"
        f" FROM ({_PATIENTS}) found"
    )
