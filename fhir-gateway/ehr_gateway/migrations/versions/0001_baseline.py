"""The tables of commit 5830f38, the first that `ehr upgrade` brings along.

That version made missing tables at each start, and so does this: a complete store is not changed.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create what is missing, as 5830f38 did."""
    bind = op.get_bind()
    script = Path(__file__).with_name(f"0001_baseline.{bind.dialect.name}.sql")
    for line in script.read_text("utf-8").splitlines():
        if line and not line.startswith("--"):
            bind.exec_driver_sql(line)
