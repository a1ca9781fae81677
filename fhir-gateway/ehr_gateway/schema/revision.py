"""Which revision of the tables a database has, and whether this version may open it.

Opening a store compares one row with a constant and imports no Alembic, which would add 0.4 s to
each start: an empty database gets the tables of HEAD at once, any other that is not at HEAD is
refused in a sentence. What changes an existing database is `ehr_gateway.migrations`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ehr_fhir.errors import Unavailable
from ehr_gateway.database import Connection, Database, create_statements
from ehr_gateway.schema import ALL_TABLES
from ehr_gateway.schema.full_text import FULL_TEXT

__all__ = [
    "BASELINE_LAYOUT",
    "HEAD",
    "LAYOUT_SETTING",
    "REVISION_TABLE",
    "UPGRADE_SETTING",
    "SchemaState",
    "check_revision",
    "open_schema",
    "read_schema_state",
]

# The newest revision in `ehr_gateway/migrations/versions`; a test compares the two. Revisions are
# numbered, so that a higher one is known to be newer without its file.
HEAD = "0002"
# Not Alembic's `alembic_version`: MLflow, for one, keeps its own there, maybe in this database.
REVISION_TABLE = "schema_revision"
# The setting that stands from the first statement of an upgrade to its last.
UPGRADE_SETTING = "upgrade"
# Versions before there were revisions numbered their layout in this setting; the last one was 5.
LAYOUT_SETTING = "layout"
BASELINE_LAYOUT = b"5"

_CREATE_REVISION_TABLE = (
    # As Alembic makes it.
    f"CREATE TABLE IF NOT EXISTS {REVISION_TABLE} (version_num VARCHAR(32) NOT NULL,"
    f" CONSTRAINT {REVISION_TABLE}_pkc PRIMARY KEY (version_num))"
)
_TABLE_EXISTS = {
    "sqlite": "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = ?",
    "postgresql": "SELECT COUNT(*) FROM pg_tables"
    " WHERE schemaname = ANY (current_schemas(FALSE)) AND tablename = ?",
}
_NEEDS_UPGRADE = (
    "The database was made by an older version of eHR Commons. Stop everything that uses it, make "
    "a backup, and run `ehr upgrade`: docs/how-to/upgrade.md tells the steps."
)
_UNFINISHED = "An upgrade of the database was begun and is not finished. Run `ehr upgrade`."
_NEWER = (
    "The database was made by a newer version of eHR Commons. Use that version, or the backup that "
    "was made before its `ehr upgrade`."
)
_BEFORE_BASELINE = (
    "The database was made by another version of eHR Commons, from before `ehr upgrade` could "
    "bring it along. Use that version, or load the records into a new database."
)


@dataclass(frozen=True)
class SchemaState:
    """What a database says of its own tables."""

    revision: str | None
    layout: bytes | None
    upgrading: bool
    # Nothing was ever kept in it: there are no tables of ours, or no setting.
    empty: bool

    @property
    def needs_upgrade(self) -> bool:
        """Whether `ehr upgrade` is needed and can help."""
        if self.revision is None:
            return self.upgrading or self.layout == BASELINE_LAYOUT
        return self.upgrading or _number(self.revision) < _number(HEAD)

    @property
    def refusal(self) -> str | None:
        """Return why a store in this state is not opened; None where it may be."""
        if self.empty:
            return None
        if self.revision is not None and _number(self.revision) > _number(HEAD):
            return _NEWER
        if self.upgrading:
            return _UNFINISHED
        if self.needs_upgrade:
            return _NEEDS_UPGRADE
        return _BEFORE_BASELINE if self.revision is None else None


def read_schema_state(connection: Connection) -> SchemaState:
    """Read the revision, and whether an upgrade is under way."""
    settings: dict[str, bytes] = {}
    if _table_exists(connection, "setting"):
        rows = connection.execute("SELECT name, value FROM setting").fetchall()
        settings = {row["name"]: bytes(row["value"]) for row in rows}
    revision = None
    if _table_exists(connection, REVISION_TABLE):
        row = connection.execute(f"SELECT version_num FROM {REVISION_TABLE}").fetchone()  # noqa: S608
        revision = row["version_num"] if row else None
    return SchemaState(
        revision,
        settings.get(LAYOUT_SETTING),
        upgrading=UPGRADE_SETTING in settings,
        empty=revision is None and not settings,
    )


def check_revision(database: Database) -> SchemaState:
    """Refuse a database that is not at HEAD; an empty one passes."""
    with database.read_transaction() as connection:
        state = read_schema_state(connection)
    if state.refusal:
        raise Unavailable(state.refusal)
    return state


def open_schema(database: Database) -> None:
    """Make all tables in an empty database; refuse one that is not at HEAD."""
    if not check_revision(database).empty:
        return
    with database.write_transaction() as connection:
        for metadata in ALL_TABLES:
            for statement in create_statements(metadata, database.dialect):
                connection.execute(statement)
        for statement in FULL_TEXT[database.dialect]:
            connection.execute(statement)
        connection.execute(_CREATE_REVISION_TABLE)
        # Another process may have made them a moment ago.
        connection.execute(
            f"INSERT INTO {REVISION_TABLE} (version_num) SELECT ?"  # noqa: S608
            f" WHERE NOT EXISTS (SELECT 1 FROM {REVISION_TABLE})",
            (HEAD,),
        )


def _table_exists(connection: Connection, name: str) -> bool:
    return bool(connection.execute(_TABLE_EXISTS[connection.dialect], (name,)).fetchone()[0])


def _number(revision: str) -> int:
    return int(revision)
