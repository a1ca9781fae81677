"""The log of runs: each run of a study or of own code, and the folder of its results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ehr_analytics.register import Register
from ehr_fhir.errors import NotFound

__all__ = ["Run", "get_run", "list_runs", "run_folder"]


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
