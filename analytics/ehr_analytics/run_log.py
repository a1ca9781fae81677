"""The log of runs: each run of a study or of own code, and the folder of its results."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version as package_version
from importlib.resources import files
from pathlib import Path

from ehr_analytics.register import Register
from ehr_etl.lake import Lake, gold_table_name
from ehr_etl.lineage import describe_table
from ehr_etl.omop.cdm import table_name
from ehr_fhir.errors import NotFound

__all__ = [
    "Run",
    "append_run",
    "create_run",
    "create_run_id",
    "digest_study_code",
    "get_run",
    "list_runs",
    "run_folder",
    "write_run_record",
]


@dataclass(frozen=True)
class Run:
    """One run of a study: who ran it, when, with which code, on which Delta versions."""

    id: str
    project: str
    study: str
    who: str
    at: str
    code: str
    version: str
    tables: Mapping[str, int]
    state: str = "done"


def create_run(
    register: Register,
    *,
    prefix: str,
    project: str,
    study: str,
    login: str,
    code: str,
    tables: Mapping[str, int],
    run_id: str | None = None,
) -> Run:
    """Return a run of now, with a new id that starts with `prefix` unless it has one."""
    return Run(
        id=run_id or create_run_id(register, prefix),
        project=project,
        study=study,
        who=login,
        at=register.timestamp(),
        code=code,
        version=package_version("ehr-commons"),
        tables=tables,
    )


def create_run_id(register: Register, prefix: str) -> str:
    """Return a new id of a run, which tells the time of now."""
    return f"{prefix}-{register.clock():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def append_run(register: Register, run: Run, *, is_sandboxed: bool = False) -> None:
    """Append a run that is done to the register, with the event of it."""
    tables = dict(run.tables)
    detail: dict[str, object] = {"code": run.code, "tables": tables}
    detail["lineage"] = _describe_tables(register, run.tables)
    if is_sandboxed:
        detail["sandbox"] = True
    with register.transaction() as connection:
        connection.execute(
            "INSERT INTO run(id, project, study, who, at, code, version, tables, state)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'done')",
            (
                *(run.id, run.project, run.study, run.who, run.at, run.code, run.version),
                json.dumps(tables),
            ),
        )
        register.append_event(connection, run.project, run.who, "run", run=run.id, detail=detail)


def write_run_record(folder: Path, run: Run, study_digest: str, title: str) -> None:
    """Write `run.json` into the folder of a run: with the study's title and its file's digest."""
    record = {**asdict(run), "study_file": study_digest, "title": title}
    (folder / "run.json").write_text(json.dumps(record, indent=2), "utf-8")


def read_study_file(folder: Path) -> tuple[str, str]:
    """Return the title of a run's study and its file's digest; empty where it was own code."""
    path = folder / "run.json"
    record = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return record.get("title", ""), record.get("study_file", "")


def digest_study_code(study_digest: str) -> str:
    """Return one digest of a study's file and of the package that runs it."""
    digest = hashlib.sha256(study_digest.encode())
    package = Path(str(files(__package__)))
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def get_run(register: Register, run_id: str) -> Run:
    """Return a logged run; NotFound when there is none of this id."""
    with register.transaction() as connection:
        row = connection.execute("SELECT * FROM run WHERE id = ?", (run_id,)).fetchone()
    if row is None:
        raise NotFound(f"There is no run {run_id!r}.")
    fields = {name: row[name] for name in Run.__dataclass_fields__}
    return Run(**{**fields, "tables": json.loads(row["tables"])})


def list_runs(register: Register) -> list[Run]:
    """Return the run log, oldest first."""
    with register.transaction() as connection:
        ids = [row["id"] for row in connection.execute("SELECT id FROM run ORDER BY at, id")]
    return [get_run(register, run_id) for run_id in ids]


def run_folder(register: Register, run_id: str) -> Path:
    """Return the folder of a run: what lies in it has not left the platform."""
    return register.folder / "runs" / run_id


def _describe_tables(register: Register, tables: Mapping[str, int]) -> list[dict[str, object]]:
    """Return the lake's tables that a run read, with a digest of each version."""
    lake = Lake(register.data / "lake")
    found = []
    for view, version in sorted(tables.items()):
        name = gold_table_name(view)
        if not lake.has_table(name):
            name = table_name(view)
        found.append(asdict(describe_table(lake, name, version)))
    return found
