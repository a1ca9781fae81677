"""The index of a patient's audit rows holds the log-in, so that the patient's own are passed over.

Who looked is asked for without the patient's own visits, which lie between those of others.
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Make the index anew."""
    op.drop_index("audit_patient", table_name="audit")
    op.create_index("audit_patient", "audit", ["patient", "at_ms", "seq", "login"])
