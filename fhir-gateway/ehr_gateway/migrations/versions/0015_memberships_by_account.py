"""Accounts say which organisation a person belongs to, as PractitionerRoles do."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add what the accounts say that are there."""
    op.execute(
        "INSERT INTO consent_membership (consent, practitioner, organization, since)"
        " SELECT 'account/' || login, COALESCE(person, login), organization, 0 FROM account"
        " WHERE organization IS NOT NULL"
    )
