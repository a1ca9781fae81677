"""One study from application to release, each step taken by the person who may take it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pyspark.sql import SparkSession

from ehr_analytics import airlock, cohort_study, study, study_run
from ehr_analytics import project as projects
from ehr_analytics.project import Project
from ehr_analytics.register import Register
from ehr_analytics.researchers import Training, record_training
from ehr_etl.lake import Lake, count_rows, gold_table_name
from ehr_fhir.errors import Fault

DATA_ITEMS = (
    "patient_demographics.id",
    "patient_demographics.gender",
    "patient_demographics.birth_year",
    "patient_demographics.region",
    "encounter_flat.patient_id",
    "encounter_flat.class",
    "encounter_flat.start",
    "encounter_flat.end",
    "encounter_flat.reason_code",
)


@dataclass(frozen=True)
class StudyReport:
    """What a study read (Delta version per view, rows in all) and released."""

    project: str
    run: str
    folder: Path
    files: tuple[str, ...]
    tables: dict[str, int]
    rows: int
    cells: int
    cells_hidden: int
    seconds: float


def run_approved_study(
    spark: SparkSession,
    data: Path,
    *,
    withheld: Collection[str] = (),
    study_file: Path | None = None,
    applicant: str = "researcher.lau",
    approvers: tuple[str, str] = ("steward.ng", "auditor.tse"),
    ethics: str = "DEMO-REC-2026-001",
    on_progress: Callable[[str], None] = lambda text: None,
) -> StudyReport:
    """Apply for, approve and open the study's project if need be; run, check and release."""
    started = time.monotonic()
    register = Register(data)
    path = study_file or study.bundled_study_path("acute-returns")
    is_typed = cohort_study.is_cohort_study(path)
    definition = cohort_study.load_cohort_study(path) if is_typed else study.load_study(path)
    if definition.project not in {project.id for project in projects.list_projects(register)}:
        on_progress("project applied for, approved by two people and opened")
        _open_study_project(register, definition, applicant, approvers, ethics)
    on_progress("study runs on the project's views")
    if isinstance(definition, cohort_study.CohortStudy):
        run = cohort_study.run_cohort_study(register, definition, applicant, withheld=withheld)
    else:
        run = study_run.run_study(register, spark, definition, applicant, withheld=withheld)
    on_progress("results pass the airlock")
    proposed = airlock.propose_outputs(register, run.id, applicant)
    if not proposed.passed:
        failed = {check.name for check in proposed.checks if not check.passed}
        raise Fault(f"The airlock's checks refused the outputs: {', '.join(sorted(failed))}.")
    for checker in approvers:
        reason = "Small numbers hidden, the others rounded; no identifiers."
        airlock.record_decision(
            register, run.id, checker, "approve", reason, is_unsafe=not is_typed
        )
    released = airlock.release_outputs(register, run.id, approvers[0])
    return StudyReport(
        project=run.project,
        run=run.id,
        folder=released.folder,
        files=released.files,
        tables=dict(run.tables),
        rows=sum(count_rows(Lake(data / "lake"), gold_table_name(view)) for view in run.tables),
        cells=released.cells,
        cells_hidden=released.cells_hidden,
        seconds=time.monotonic() - started,
    )


def _open_study_project(
    register: Register,
    definition: study.Study | cohort_study.CohortStudy,
    applicant: str,
    approvers: tuple[str, str],
    ethics: str,
) -> None:
    today = register.clock().date()
    training = Training("Research data and disclosure control", today, today + timedelta(days=365))
    record_training(register, applicant, "eHR Commons", training, approvers[0])
    projects.create_project(
        register,
        Project(
            id=definition.project,
            title=definition.title,
            purpose=definition.question,
            applicant=applicant,
            ethics=ethics,
            items=DATA_ITEMS,
            people=(applicant,),
            period_from=today,
            period_to=today + timedelta(days=365),
            # Who comes back within 30 days: an interval between stays.
            dates="shift",
        ),
    )
    projects.submit_project(register, definition.project, applicant)
    for approver in approvers:
        projects.approve_project(register, definition.project, approver)
    projects.open_project(register, definition.project, approvers[0])
