"""`ehr upgrade`: bring a database to the tables of this version; what the command line calls.

1. A mark keeps everybody else out (`exclusive.py`).
2. Each revision is one transaction, its number in it.
3. What the revisions asked for is recomputed in batches (`recompute.py`).
4. The mark is taken away.

Killed between any two statements, it goes on from the last commit when it is run again; until then
the store is refused, by older versions too.
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
from ehr_gateway.database import open_database
from ehr_gateway.migrations.engine import create_migration_engine
from ehr_gateway.migrations.exclusive import begin_upgrade, upgrade_lock
from ehr_gateway.migrations.recompute import read_progress, recompute_batch
from ehr_gateway.schema.revision import UPGRADE_SETTING, SchemaState, read_schema_state
from ehr_gateway.store.parameter_ids import read_parameter_ids, register_parameters

__all__ = ["Progress", "read_state", "revision_scripts", "upgrade"]


@dataclass(frozen=True)
class Progress:
    """How far one step of an upgrade is; `of` is 1 where it is all or nothing."""

    step: str
    done: int
    of: int


def read_state(place: Path | str) -> SchemaState:
    """Read what a database says of its own tables."""
    with closing(open_database(place)) as database, database.read_transaction() as connection:
        return read_schema_state(connection)


def upgrade(place: Path | str, report: Callable[[Progress], None]) -> bool:
    """Bring a database to HEAD; return False where there was nothing to do."""
    if not _needs_upgrade(place):
        return False
    with upgrade_lock(place):
        # Another upgrade may have come to its end before the lock was ours.
        if _needs_upgrade(place):
            begin_upgrade(place)
            _run_revisions(place, report)
            _recompute(place, report)
            _end_upgrade(place)
    return True


def revision_scripts() -> ScriptDirectory:
    """Return the revisions as Alembic reads them from their files."""
    return ScriptDirectory.from_config(_config())


def _needs_upgrade(place: Path | str) -> bool:
    state = read_state(place)
    if state.refusal and not state.needs_upgrade:
        raise Unavailable(state.refusal)
    return state.needs_upgrade


def _run_revisions(place: Path | str, report: Callable[[Progress], None]) -> None:
    current = read_state(place).revision
    scripts = revision_scripts()
    pending = [
        script
        for script in reversed(list(scripts.walk_revisions()))
        if current is None or int(script.revision) > int(current)
    ]
    engine = create_migration_engine(place)
    config = _config()
    for script in pending:
        step = f"{script.revision} {script.doc}".rstrip(".")
        report(Progress(step, 0, 1))
        try:
            with engine.connect() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, script.revision)
        except DBAPIError as error:
            raise Unavailable(
                f"The database did not take revision {script.revision}: {_reason(error)}. Nothing "
                "of that revision is in it. Mend the cause, then run `ehr upgrade` again."
            ) from error
        report(Progress(step, 1, 1))


def _reason(error: DBAPIError) -> str:
    """Return a driver's message without PostgreSQL's DETAIL, which quotes values of rows."""
    diagnosis = getattr(error.orig, "diag", None)
    message = getattr(diagnosis, "message_primary", None) or str(error.orig)
    return message.splitlines()[0]


def _recompute(place: Path | str, report: Callable[[Progress], None]) -> None:
    with closing(open_database(place)) as database:
        with database.write_transaction() as connection:
            # R4 parameters that this version knows and the older one did not.
            register_parameters(connection)
            parameter_ids = read_parameter_ids(connection)
        progress = read_progress(database)
        while progress is not None:
            step = "index rows, consent facts and rules"
            report(Progress(step, progress.position, progress.last))
            progress = recompute_batch(database, parameter_ids)


def _end_upgrade(place: Path | str) -> None:
    with closing(open_database(place)) as database, database.write_transaction() as connection:
        connection.execute("DELETE FROM setting WHERE name = ?", (UPGRADE_SETTING,))


def _config() -> Config:
    config = Config()
    # ConfigParser takes a bare % for an interpolation.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
