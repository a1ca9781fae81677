"""The schema revision of a database, and whether this version may open it.

Opening a store compares one row with a constant. It does not import Alembic, which takes 0.4 s: an
empty database gets the tables of HEAD directly, and one at any other revision is refused with a
sentence that says what to do. `ehr_gateway.migrations` upgrades an existing database.
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
HEAD = "0030"
# Not Alembic's `alembic_version`: MLflow, for one, keeps its own there, maybe in this database.
REVISION_TABLE = "schema_revision"
# The setting that marks a database as being upgraded, from its first transaction to its last.
UPGRADE_SETTING = "upgrade"
# Versions before 0001 kept the number of their layout in this setting; the last one was 5.
LAYOUT_SETTING = "layout"
BASELINE_LAYOUT = b"5"

_CREATE_REVISION_TABLE = (
    # The same statement that Alembic would use.
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
    """What a database says about its own schema."""

    revision: str | None
    layout: bytes | None
    upgrading: bool
    # Whether no store was ever made in it: there is neither a revision nor any setting.
    empty: bool

    @property
    def is_newer(self) -> bool:
        """Whether a newer version than this one has upgraded it."""
        return self.revision is not None and int(self.revision) > int(HEAD)

    @property
    def needs_upgrade(self) -> bool:
        """Whether `ehr upgrade` is needed and can do it."""
        if self.is_newer:
            return False
        if self.revision is None:
            return self.upgrading or self.layout == BASELINE_LAYOUT
        return self.upgrading or int(self.revision) < int(HEAD)

    @property
    def refusal(self) -> str | None:
        """Why a store in this state is not opened; None if it may be."""
        if self.empty:
            return None
        if self.is_newer:
            return _NEWER
        if self.upgrading:
            return _UNFINISHED
        if self.needs_upgrade:
            return _NEEDS_UPGRADE
        return _BEFORE_BASELINE if self.revision is None else None


def read_schema_state(connection: Connection) -> SchemaState:
    """Read the revision, and whether an upgrade was begun and not finished."""
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
    """Raise Unavailable for a database that is not at HEAD; an empty one passes."""
    with database.read_transaction() as connection:
        state = read_schema_state(connection)
    if state.refusal:
        raise Unavailable(state.refusal)
    return state


def open_schema(database: Database) -> None:
    """Create all tables in an empty database; raise Unavailable for one that is not at HEAD."""
    if not check_revision(database).empty:
        return
    with database.write_transaction() as connection:
        for metadata in ALL_TABLES:
            for statement in create_statements(metadata, database.dialect):
                connection.execute(statement)
        for statement in FULL_TEXT[database.dialect]:
            connection.execute(statement)
        connection.execute(_CREATE_REVISION_TABLE)
        # Another process may have created them since the check.
        connection.execute(
            f"INSERT INTO {REVISION_TABLE} (version_num) SELECT ?"  # noqa: S608
            f" WHERE NOT EXISTS (SELECT 1 FROM {REVISION_TABLE})",
            (HEAD,),
        )


def _table_exists(connection: Connection, name: str) -> bool:
    return bool(connection.execute(_TABLE_EXISTS[connection.dialect], (name,)).fetchone()[0])
