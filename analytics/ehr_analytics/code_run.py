"""Runs of a researcher's own Python code: in the sandbox, on the project's tables.

The tables come with keys under the project's pseudonyms; the project's key never enters the
sandbox. What comes out is unsafe output. The researcher learns that the code ended or failed, and
no more: where it fails they find out on dummy data of the same shape.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ehr_analytics import project as projects
from ehr_analytics.gold_views import GoldView, open_gold_views
from ehr_analytics.project import Project
from ehr_analytics.project_jobs import build_job, build_view_query
from ehr_analytics.query_job import Withheld
from ehr_analytics.query_process import run_in_process
from ehr_analytics.register import Register
from ehr_analytics.run_log import Run, append_run, create_run, run_folder
from ehr_analytics.sandbox.pictures import keep_picture
from ehr_analytics.sandbox.process import SandboxLimits, SandboxResult, run_sandboxed
from ehr_etl.duckdb_session import QueryLimits
from ehr_fhir.errors import NotFound, Unprocessable

__all__ = ["CODE_FILE", "require_output_names", "run_code", "run_code_file"]

CODE_FILE = "code.py"
# It becomes the name of a file, and stands in a header of HTTP.
_OUTPUT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,58}\.(csv|png)")
# Chosen: all rows of a view of some millions of people.
_LOAD = QueryLimits(memory_mb=4096, threads=2, seconds=300.0)


def run_code_file(
    register: Register,
    project_id: str,
    code_file: Path,
    outputs: Sequence[str],
    login: str,
    limits: SandboxLimits | None = None,
    *,
    withheld: Collection[str],
    other_names: Collection[str] = (),
) -> tuple[Run, bool]:
    """Run the code of a file, as `run_code` does; NotFound where it cannot be read."""
    return run_code(
        register, project_id, read_code(code_file), outputs, login, limits,
        withheld=withheld, other_names=other_names,
    )  # fmt: skip


def read_code(path: Path) -> str:
    """Return the text of a code file; NotFound where it cannot be read."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise NotFound(f"The code file {path.name} cannot be read.") from error


def run_code(
    register: Register,
    project_id: str,
    code: str,
    outputs: Sequence[str],
    login: str,
    limits: SandboxLimits | None = None,
    *,
    withheld: Collection[str],
    other_names: Collection[str] = (),
    run_id: str | None = None,
) -> tuple[Run, bool]:
    """Run code for one of a project's people; return the run, and whether the code ended well.

    `withheld` are the lake's pseudonyms of the people of whom no row is read.
    """
    project = projects.get_project(register, project_id)
    projects.require_open_for(register, project, login, other_names=other_names)
    require_output_names(outputs)
    views = open_gold_views(register.data, project.columns_by_view())
    tables = {view.name: _read_view(register, project, view, withheld) for view in views}
    result = run_sandboxed(code, tables, outputs, limits or SandboxLimits())
    digest = hashlib.sha256(code.encode()).hexdigest()
    run = create_run(
        register,
        prefix="code",
        project=project.id,
        study="own code",
        login=login,
        code=digest,
        tables={view.name: view.version for view in views},
        run_id=run_id,
    )
    _store_run(register, run, code, result)
    return run, not result.error


def require_output_names(outputs: Sequence[str]) -> None:
    """Refuse outputs that code may not write."""
    if not outputs or not all(map(_OUTPUT_NAME.fullmatch, outputs)):
        raise Unprocessable(
            "Declare the outputs before the run: names of letters, digits, hyphens and underscores "
            "that end in .csv or .png."
        )


def _read_view(
    register: Register, project: Project, view: GoldView, withheld: Collection[str]
) -> bytes:
    """Return the approved columns of a view as Parquet, keys under the project's pseudonyms."""
    job = build_job(
        register,
        project,
        [view],
        withheld=Withheld(tuple(sorted(withheld))),
        sql=build_view_query(view.name, view.columns),
        media="parquet",
        limits=_LOAD,
    )
    return run_in_process(job).content


def _store_run(register: Register, run: Run, code: str, result: SandboxResult) -> None:
    folder = run_folder(register, run.id)
    (folder / "raw").mkdir(mode=0o700, parents=True)
    (folder / CODE_FILE).write_text(code, "utf-8")
    (folder / "log.txt").write_bytes(result.log)
    _write_json(folder / "sandbox.json", {"error": result.error, "layers": dict(result.layers)})
    for name, content in result.files.items():
        kept = keep_picture(content) if name.endswith(".png") else content
        (folder / "raw" / name).write_bytes(kept)
    append_run(register, run, is_sandboxed=True)


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2), "utf-8")
