"""Facts that consent is decided by have owners.

A record belongs to every Encounter that it names and to those that they are part of. What third
parties, patients and stewards said of a record is held beside it, as are labels of the records that
it names. Nothing is known of the past, so the facts held at first are those that follow from
references, which are found when the resources are recomputed.
"""

from __future__ import annotations

from alembic import op

from ehr_gateway.migrations.recompute import schedule_recompute

revision = "0004"
down_revision = "0003"

_TEXT = {"sqlite": "VARCHAR", "postgresql": 'VARCHAR COLLATE "C"'}
_INTEGER = {"sqlite": "INTEGER", "postgresql": "BIGINT"}


def upgrade() -> None:
    """Add the columns and the table of held facts; let every resource be recomputed."""
    bind = op.get_bind()
    text, integer = _TEXT[bind.dialect.name], _INTEGER[bind.dialect.name]
    key = ", ".join(("type", "id", "kind", "value", "source"))
    columns = ", ".join(f"{name} {text} NOT NULL" for name in key.split(", "))
    without_rowid = " WITHOUT ROWID" if bind.dialect.name == "sqlite" else ""
    for statement in (
        "ALTER TABLE resource RENAME COLUMN episode TO episodes",
        # A list in bars. What is deleted is not recomputed.
        "UPDATE resource SET episodes = '|' || episodes || '|' WHERE episodes IS NOT NULL",
        f"ALTER TABLE resource ADD COLUMN added_episodes {text}",
        f"ALTER TABLE resource ADD COLUMN added_people {text}",
        f"ALTER TABLE resource ADD COLUMN added_from {integer}",
        f"ALTER TABLE resource ADD COLUMN added_to {integer}",
        f"ALTER TABLE record_label ADD COLUMN added {integer} DEFAULT 0 NOT NULL",
        f"CREATE TABLE held_fact ({columns}, PRIMARY KEY ({key})){without_rowid}",
    ):
        bind.exec_driver_sql(statement)
    schedule_recompute(bind)
