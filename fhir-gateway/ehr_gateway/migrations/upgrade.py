"""Upgrade a database to the schema revision of this version (`ehr upgrade`).

1. Mark the database, so that no other process opens it (`exclusive.py`).
2. Run each pending revision in a transaction of its own, which also records its number.
3. Recompute, in batches, what the revisions scheduled (`recompute.py`).
4. Remove the mark.

An upgrade that was killed continues from its last commit when it is run again. Until it is finished
every version refuses the store, older ones too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from ehr_fhir.errors import Unavailable
from ehr_gateway.database import open_database, open_for_reading, readable_place
from ehr_gateway.migrations.engine import create_migration_engine
from ehr_gateway.migrations.exclusive import begin_upgrade, upgrade_lock
from ehr_gateway.migrations.recompute import read_progress, recompute_batch
from ehr_gateway.schema.revision import UPGRADE_SETTING, SchemaState, read_schema_state
from ehr_gateway.store.parameter_ids import register_parameters

__all__ = ["Progress", "read_state", "revision_scripts", "upgrade"]


@dataclass(frozen=True)
class Progress:
    """How far one step of an upgrade is; `total` is 1 for a step without parts."""

    step: str
    done: int
    total: int


def read_state(location: Path | str) -> SchemaState:
    """Read what a database says about its own schema."""
    with (
        readable_place(location) as place,
        closing(open_for_reading(place)) as database,
        database.read_transaction() as connection,
    ):
        return read_schema_state(connection)


def upgrade(location: Path | str, report: Callable[[Progress], None]) -> bool:
    """Upgrade a database to HEAD; return False if it was there already.

    Raises Unavailable if the database is in use, or of a version that cannot be upgraded.
    """
    if not _needs_upgrade(location):
        return False
    with upgrade_lock(location):
        # Another upgrade may have finished before this one got the lock.
        if _needs_upgrade(location):
            begin_upgrade(location)
            _run_revisions(location, report)
            _recompute(location, report)
            _end_upgrade(location)
    return True


def revision_scripts() -> ScriptDirectory:
    """Return the revisions as Alembic reads them from `versions/`."""
    return ScriptDirectory.from_config(_build_config())


def _needs_upgrade(location: Path | str) -> bool:
    state = read_state(location)
    if state.refusal and not state.needs_upgrade:
        raise Unavailable(state.refusal)
    return state.needs_upgrade


def _run_revisions(location: Path | str, report: Callable[[Progress], None]) -> None:
    current = read_state(location).revision
    scripts = revision_scripts()
    pending = [
        script
        for script in reversed(list(scripts.walk_revisions()))
        if current is None or int(script.revision) > int(current)
    ]
    engine = create_migration_engine(location)
    config = _build_config()
    for script in pending:
        step = f"{script.revision} {script.doc}".rstrip(".")
        report(Progress(step, 0, 1))
        try:
            with engine.connect() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, script.revision)
        except DBAPIError as error:
            raise Unavailable(
                f"The database did not take revision {script.revision}: {_first_line(error)}. "
                "Nothing of that revision is in it. Mend the cause, then run `ehr upgrade` again."
            ) from error
        report(Progress(step, 1, 1))


def _first_line(error: DBAPIError) -> str:
    """Return a driver's message without PostgreSQL's DETAIL, which quotes values of rows."""
    diagnosis = getattr(error.orig, "diag", None)
    message = getattr(diagnosis, "message_primary", None) or str(error.orig)
    return message.splitlines()[0]


def _recompute(location: Path | str, report: Callable[[Progress], None]) -> None:
    with closing(open_database(location)) as database:
        with database.write_transaction() as connection:
            # R4 parameters that this version supports and the older one did not.
            parameter_ids = register_parameters(connection)
        progress = read_progress(database)
        while progress is not None:
            step = "index rows, consent facts and rules"
            report(Progress(step, progress.position, progress.last))
            progress = recompute_batch(database, parameter_ids)


def _end_upgrade(location: Path | str) -> None:
    with closing(open_database(location)) as database, database.write_transaction() as connection:
        connection.execute("DELETE FROM setting WHERE name = ?", (UPGRADE_SETTING,))


def _build_config() -> Config:
    config = Config()
    # ConfigParser, which Alembic uses, reads a single % as an interpolation.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
