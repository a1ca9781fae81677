"""An upgraded database has the tables of a fresh one; a change without a revision is noticed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, MetaData

from ehr_gateway import migrations
from ehr_gateway.database import Connection, open_database
from ehr_gateway.database.tables import TEXT
from ehr_gateway.migrations.engine import create_migration_engine
from ehr_gateway.migrations.upgrade import revision_scripts
from ehr_gateway.schema import ALL_TABLES
from ehr_gateway.schema.revision import HEAD, REVISION_TABLE
from ehr_gateway.store.store import Store
from tests.lib.old_store import OldStore

_FORGOTTEN = "Add a revision to ehr_gateway/migrations/versions: DEVELOPERS.md tells how."
_COLUMNS = (
    "SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default,"
    " character_maximum_length FROM information_schema.columns WHERE table_schema = 'public'"
)
_CONSTRAINTS = (
    "SELECT CAST(conrelid AS regclass)::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = CAST('public' AS regnamespace)"
)


@pytest.fixture
def upgraded(old_store: OldStore) -> Path | str:
    """Name the place of an old store after its upgrade."""
    old_store.upgrade()
    return old_store.place


def all_tables() -> MetaData:
    """Return a copy of the tables of all rooms, as one."""
    copy = MetaData()
    for metadata in ALL_TABLES:
        for table in metadata.tables.values():
            table.to_metadata(copy)
    return copy


def differences(place: Path | str, tables: MetaData) -> Any:
    """Return what Alembic would change in a database so that it is as the tables say."""

    def ours(name: str | None, kind: str, _: object) -> bool:
        # SQLAlchemy knows neither database's full-text index.
        return kind != "table" or not str(name).startswith("full_text")

    options = {"include_name": ours, "compare_type": True, "version_table": REVISION_TABLE}
    with create_migration_engine(place).connect() as connection:
        return compare_metadata(MigrationContext.configure(connection, opts=options), tables)


def test_the_newest_revision_is_the_one_that_stores_are_opened_with() -> None:
    scripts = list(revision_scripts().walk_revisions())

    assert scripts[0].revision == HEAD, _FORGOTTEN
    numbers = [int(script.revision) for script in reversed(scripts)]
    assert numbers == list(range(1, len(scripts) + 1))
    for script in scripts:
        assert script.module.__file__ is not None
        assert Path(script.module.__file__).name.startswith(f"{script.revision}_")
    # Two files of one number: Alembic would leave one of them out.
    files = Path(migrations.__file__).with_name("versions").glob("0*.py")
    assert len([*files]) == len(scripts)


def test_an_upgraded_database_is_as_the_tables_say(upgraded: Path | str) -> None:
    assert differences(upgraded, all_tables()) == [], _FORGOTTEN


def test_a_column_without_a_revision_is_noticed(upgraded: Path | str) -> None:
    changed = all_tables()
    changed.tables["notice"].append_column(Column("forgotten", TEXT))

    ((kind, _, table, column),) = differences(upgraded, changed)

    assert (kind, table, column.name) == ("add_column", "notice", "forgotten")


def test_an_upgraded_database_and_a_fresh_one_are_alike(
    upgraded: Path | str, place: Path | str
) -> None:
    Store(place).close()

    assert described(upgraded) == described(place)


def test_what_an_unfinished_first_start_left_out_is_made(old_store: OldStore) -> None:
    # `ehr load` of that version made the tables of the records alone.
    old_store.execute("DROP TABLE notice_delivery")
    old_store.execute("DROP TABLE voided")

    old_store.upgrade()

    assert old_store.tables()["voided"] == []
    assert differences(old_store.place, all_tables()) == []


def described(place: Path | str) -> dict[str, list[Any]]:
    """Return tables, columns, keys and indexes as the database itself describes them."""
    with closing(open_database(place)) as database, database.read_transaction() as reader:
        if database.dialect == "sqlite":
            return dict(_sqlite(reader))
        return {
            statement: sorted(str(tuple(row)) for row in reader.execute(statement).fetchall())
            for statement in (_COLUMNS, _CONSTRAINTS, "SELECT indexdef FROM pg_indexes")
        }


def _sqlite(reader: Connection) -> Iterator[tuple[str, list[Any]]]:
    for table in reader.execute("SELECT * FROM pragma_table_list").fetchall():
        name = table["name"]
        columns = reader.execute(
            'SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_xinfo(?)', (name,)
        ).fetchall()
        # The order of columns differs where one was added.
        yield name, [table["type"], table["wr"], *sorted(str(tuple(one)) for one in columns)]
    for index in reader.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index'"):
        yield index["name"], [" ".join((index["sql"] or "").split())]


def test_serving_never_imports_alembic() -> None:
    # It takes longer to import than a gateway to start with a store that is there.
    code = "import sys, ehr_cli.server.serve; sys.exit('alembic' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
