"""Studies of typed cohorts: a cohort, analyses of it, and runs that keep their cells.

The platform reads the tables and counts the people. What a run gives are cells that know their
persons; they stay in the run's folder until the airlock lets their tables out.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from ehr_analytics import project as projects
from ehr_analytics.analyses.plan import (
    AnalysisPlan,
    list_granted_items,
    parse_analyses,
    run_analyses,
)
from ehr_analytics.cohorts import Cohort, parse_cohort
from ehr_analytics.cohorts.project_run import run_project_cohort
from ehr_analytics.cohorts.result import CohortResult
from ehr_analytics.disclosure.cell_files import write_cells
from ehr_analytics.register import Register
from ehr_analytics.run_log import (
    Run,
    append_run,
    create_run,
    digest_study_code,
    run_folder,
    write_run_record,
)
from ehr_analytics.trusted_rows import TrustedRows, read_trusted_rows
from ehr_fhir.errors import NotFound, Unprocessable

__all__ = [
    "CohortStudy",
    "is_cohort_study",
    "load_cohort_study",
    "load_study_cohort",
    "parse_cohort_study",
    "parse_study_cohort",
    "read_definition",
    "run_cohort_study",
    "store_cohort_run",
]

# Chosen: some thousand lines.
_LONGEST_DEFINITION = 100_000
_OWN_KEYS = ("project", "question", "analysis")


@dataclass(frozen=True)
class CohortStudy:
    """A cohort with its analyses, and the digest of the file that says so."""

    name: str
    project: str
    title: str
    question: str
    cohort: Cohort
    analyses: tuple[AnalysisPlan, ...]
    digest: str


def is_cohort_study(path: Path) -> bool:
    """Say whether a study's file holds a typed cohort, and not SQL of its own."""
    return "analysis" in _read_document(path)[0]


def load_cohort_study(path: Path) -> CohortStudy:
    """Read a study's file; Unprocessable names a fault in it."""
    return _parse_document(*_read_document(path))


def parse_cohort_study(text: str, project: str) -> CohortStudy:
    """Return the study of a TOML text for a project, which the text need not name."""
    document = _parse_toml(text)
    document.setdefault("project", project)
    document.setdefault("question", document.get("title", document.get("name")))
    if document["project"] != project:
        raise Unprocessable("The study is of another project.")
    return _parse_document(document, text.encode())


def parse_study_cohort(text: str) -> Cohort:
    """Return the cohort alone of a TOML text, whatever analyses come with it."""
    document = _parse_toml(text)
    return parse_cohort({key: document[key] for key in document if key not in _OWN_KEYS})


def load_study_cohort(path: Path) -> Cohort:
    """Read the cohort of a file that may hold analyses as well, as a study's does."""
    return parse_study_cohort(read_definition(path))


def read_definition(path: Path) -> str:
    """Return the text of a cohort's or a study's file."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise NotFound(f"The cohort file {path.name} cannot be read.") from error
    except UnicodeDecodeError as error:
        raise Unprocessable(f"The cohort file {path.name} is not UTF-8.") from error


def _parse_toml(text: str) -> dict[str, object]:
    """Return a TOML document; Unprocessable names the line of a fault."""
    if len(text) > _LONGEST_DEFINITION:
        raise Unprocessable(f"A definition has at most {_LONGEST_DEFINITION} characters.")
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise Unprocessable(f"The definition is not TOML: {error}.") from error
    except (ValueError, ArithmeticError, RecursionError):
        # Numbers that are too long, lists in lists in lists: what Python says of them helps nobody.
        raise Unprocessable("The definition has a number or a list that cannot be read.") from None


def _parse_document(document: dict[str, object], content: bytes) -> CohortStudy:
    own = {key: document.pop(key, None) for key in _OWN_KEYS}
    for key in ("project", "question"):
        if not isinstance(own[key], str):
            raise Unprocessable(f"The study lacks `{key}`.")
    cohort = parse_cohort(document)
    return CohortStudy(
        name=cohort.name,
        project=str(own["project"]),
        title=cohort.title,
        question=str(own["question"]),
        cohort=cohort,
        analyses=parse_analyses(own["analysis"]),
        digest=hashlib.sha256(content).hexdigest(),
    )


def run_cohort_study(
    register: Register,
    study: CohortStudy,
    login: str,
    *,
    withheld: Collection[str],
    other_names: Collection[str] = (),
) -> Run:
    """Run a study for one of its project's people; keep its cells in the run's folder.

    `withheld` are the lake's pseudonyms of the people whom it leaves out.
    """
    project = projects.get_project(register, study.project)
    result, tables = run_project_cohort(
        register, project, study.cohort, login, withheld=withheld, other_names=other_names
    )
    return store_cohort_run(register, study, login, result, tables)


def store_cohort_run(
    register: Register,
    study: CohortStudy,
    login: str,
    result: CohortResult,
    tables: Mapping[str, int],
    run_id: str | None = None,
) -> Run:
    """Analyse a study's cohort and keep the cells in the run's folder.

    Unprocessable names what the project may not count.
    """
    cells = run_analyses(result, study.analyses, _read_trusted_rows(register, study))
    run = create_run(
        register,
        prefix=study.name,
        project=study.project,
        study=study.name,
        login=login,
        code=digest_study_code(study.digest),
        tables=tables,
        run_id=run_id,
    )
    folder = run_folder(register, run.id)
    folder.mkdir(mode=0o700, parents=True)
    write_run_record(folder, run, study.digest, study.title)
    write_cells(folder, cells)
    append_run(register, run)
    return run


def _read_trusted_rows(register: Register, study: CohortStudy) -> TrustedRows | None:
    project = projects.get_project(register, study.project)
    items = list_granted_items(study.analyses)
    missing = sorted(items - {*project.items})
    if missing:
        raise Unprocessable(f"The project may not count {', '.join(missing)}.")
    if not items:
        return None
    return read_trusted_rows(
        register.data,
        projects.read_project_key(register.data, project.id),
        int(register.clock().timestamp() * 1000),
        districts=projects.COUNT_DISTRICTS in items,
        hours=projects.COUNT_HOURS in items,
    )


def _read_document(path: Path) -> tuple[dict[str, object], bytes]:
    try:
        content = path.read_bytes()
        return tomllib.loads(content.decode("utf-8"), parse_float=Decimal), content
    except OSError as error:
        raise NotFound(f"The study file {path.name} cannot be read.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Unprocessable(f"The study file {path.name} is not TOML: {error}.") from error
