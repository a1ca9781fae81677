"""The register of research in SQLite: projects, approvals, runs, decisions and an append-only log.

It decides nothing: `project`, `study_run` and `airlock` do. Triggers refuse a change of the log.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from ehr_fhir.errors import NotFound


@dataclass(frozen=True)
class Event:
    """One step of a project or a run: when, who, what, from which state to which."""

    at: str
    project: str
    run: str | None
    who: str
    action: str
    before: str | None
    after: str | None
    detail: dict[str, object]


def utc_now() -> datetime:
    """Return the current instant."""
    return datetime.now(UTC)


class Register:
    """The register of a data folder; created when it does not exist."""

    def __init__(self, data: Path, clock: Callable[[], datetime] = utc_now) -> None:
        if not data.is_dir():
            # A mistyped folder would have no projects, and nobody would notice.
            raise NotFound(f"There is no data folder {data}.")
        self.data = data
        self.folder = data / "research"
        self.clock = clock
        # Raw results lie below: only the account that runs the platform may read them.
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.transaction() as connection:
            connection.executescript(
                files(__package__).joinpath("queries", "register.sql").read_text("utf-8")
            )
            _add_columns(connection)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection inside one write transaction; commit, or roll back on an error."""
        connection = sqlite3.connect(self.folder / "research.db", timeout=30, isolation_level=None)
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.commit()
        except BaseException:
            connection.rollback()
            raise
        finally:
            connection.close()

    def append_event(
        self,
        connection: sqlite3.Connection,
        project: str,
        login: str,
        action: str,
        *,
        run: str | None = None,
        before: str | None = None,
        after: str | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        """Append one event to the log, in the transaction of the step it records."""
        connection.execute(
            "INSERT INTO event(at, project, run, who, action, before, after, detail)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.timestamp(),
                project,
                run,
                login,
                action,
                before,
                after,
                json.dumps(detail or {}),
            ),
        )

    def timestamp(self) -> str:
        """Return the current instant as ISO 8601 text in UTC, to the second."""
        return self.clock().astimezone(UTC).isoformat(timespec="seconds")

    def events(self, project: str, run: str | None = None) -> list[Event]:
        """Return the log of a project, or of one of its runs, oldest first."""
        with self.transaction() as connection:
            rows = connection.execute(
                "SELECT at, project, run, who, action, before, after, detail FROM event"
                " WHERE project = ?1 AND (?2 IS NULL OR run = ?2) ORDER BY seq",
                (project, run),
            ).fetchall()
        return [Event(**{**dict(row), "detail": json.loads(row["detail"])}) for row in rows]


def _add_columns(connection: sqlite3.Connection) -> None:
    """Add to projects of an older register what they had not yet."""
    columns = {row["name"] for row in connection.execute("PRAGMA table_info(project)")}
    if "policy" not in columns:
        connection.execute(
            "ALTER TABLE project ADD COLUMN policy TEXT NOT NULL DEFAULT 'opensafely-7-5'"
        )
    if "dates" not in columns:
        # What they were approved with.
        connection.execute("ALTER TABLE project ADD COLUMN dates TEXT NOT NULL DEFAULT 'shift'")
    if "rare_code_persons" not in columns:
        connection.execute(
            "ALTER TABLE project ADD COLUMN rare_code_persons INTEGER NOT NULL DEFAULT 0"
        )
