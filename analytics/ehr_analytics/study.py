"""A study: a data file with a cohort in SQL and the counts wanted of it, run on a project's views.

The cohort sees the approved columns of the project's gold views, under the project's own
pseudonyms, at one Delta version each, and nothing else. What comes out stays in the run's folder:
only `release` takes results further.
"""

from __future__ import annotations

import csv
import hashlib
import json
import secrets
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version as package_version
from importlib.resources import files
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from ehr_analytics import project as projects
from ehr_analytics import sql_guard
from ehr_analytics.register import Register
from ehr_etl.spark.java_errors import translate_java_errors
from ehr_fhir.errors import NotFound, Unavailable, Unprocessable

Row = dict[str, object]


@dataclass(frozen=True)
class Measure:
    """One table of counts: by which columns of the cohort, and only the largest `top` rows."""

    name: str
    title: str
    by: tuple[str, ...]
    top: int | None = None


@dataclass(frozen=True)
class Study:
    """What a study's file says, with the digest of its text."""

    name: str
    project: str
    title: str
    question: str
    policy: str
    sql: str
    unit: str
    person: str
    outcomes: tuple[tuple[str, str], ...]
    measures: tuple[Measure, ...]
    digest: str

    def count_columns(self) -> tuple[str, ...]:
        """Return the names of the counts in every table of this study."""
        outcomes = [
            name for outcome, _ in self.outcomes for name in (outcome, people_column(outcome))
        ]
        return ("people", self.unit, *outcomes)


@dataclass(frozen=True)
class Run:
    """One run of a study: who, when, which code, which tables."""

    id: str
    project: str
    study: str
    who: str
    at: str
    code: str
    version: str
    tables: Mapping[str, int]
    state: str = "done"


def people_column(count: str) -> str:
    """Return the name of the count of people behind a count."""
    return f"{count}_people"


def bundled_study_path(name: str) -> Path:
    """Return the file of a study that comes with the platform."""
    path = Path(str(files(__package__).joinpath("studies", f"{name}.toml")))
    if not path.is_file():
        raise NotFound(f"No study of the name {name!r} comes with the platform.")
    return path


def load_study(path: Path) -> Study:
    """Read a study's file; a fault in it is refused by name."""
    try:
        content = path.read_bytes()
        document = tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise NotFound(f"The study file {path.name} cannot be read.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Unprocessable(f"The study file {path.name} is not TOML: {error}.") from error
    try:
        cohort = document["cohort"]
        study = Study(
            **{key: str(document[key]) for key in _TEXT_KEYS},
            sql=str(cohort["sql"]),
            unit=str(cohort["unit"]),
            person=str(cohort["person"]),
            outcomes=tuple((str(k), str(v)) for k, v in document.get("outcomes", {}).items()),
            measures=tuple(_parse_measure(measure) for measure in document["measure"]),
            digest=hashlib.sha256(content).hexdigest(),
        )
    except (KeyError, TypeError) as error:
        raise Unprocessable(f"The study file {path.name} lacks or misuses {error}.") from error
    _require_names(study)
    return study


def run_study(register: Register, spark: SparkSession, study: Study, who: str) -> Run:
    """Run a study for one of its project's people and keep the raw counts in the run's folder."""
    project = projects.get_project(register, study.project)
    projects.require_open_for(project, who, register.clock().date())
    columns = project.columns_by_view()
    sql_guard.check_sql_text(study.sql, columns)
    key = projects.project_key_path(register.data, project.id).read_text("ascii")
    with translate_java_errors("running the study"), _translate_analysis_errors():
        sql_guard.check_sql_plan(spark, study.sql, columns)
        # A session of its own: its only temporary views are the project's.
        session = spark.newSession()
        tables = _open_views(session, register.data / "lake" / "gold", columns, key)
        results = _count_measures(session.sql(study.sql), study)

    now = register.clock()
    record = Run(
        id=f"{study.name}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
        project=project.id,
        study=study.name,
        who=who,
        at=register.timestamp(),
        code=_code_digest(study),
        version=package_version("ehr-commons"),
        tables=tables,
    )
    _store_run(register, study, record, results)
    return record


def get_run(register: Register, run_id: str) -> Run:
    """Return a run of the log."""
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
    """Return the folder of a run; nothing in it has left the platform."""
    return register.folder / "runs" / run_id


def read_stored_study(folder: Path) -> Study:
    """Return the study as it was when the run in this folder was made."""
    document = json.loads((folder / "study.json").read_text("utf-8"))
    measures = tuple(Measure(**{**m, "by": tuple(m["by"])}) for m in document["measures"])
    outcomes = tuple((name, column) for name, column in document["outcomes"])
    return Study(**{**document, "measures": measures, "outcomes": outcomes})


_GROUPING_SET = "grouping_set"
_TEXT_KEYS = ("name", "project", "title", "question", "policy")


def _parse_measure(document: Mapping[str, object]) -> Measure:
    by, top = document["by"], document.get("top")
    if not isinstance(by, list) or not (top is None or isinstance(top, int)):
        raise TypeError("measure.by (a list) or measure.top (a number)")
    return Measure(str(document["name"]), str(document["title"]), tuple(map(str, by)), top)


def _require_names(study: Study) -> None:
    # These names become file names and column names.
    names = [study.name, *(measure.name for measure in study.measures)]
    if not all(name.replace("-", "").isalnum() and name.islower() for name in names):
        raise Unprocessable("Names of studies and measures are small letters, digits and hyphens.")
    if len(set(names[1:])) < len(study.measures):
        raise Unprocessable("Two measures have the same name.")
    if any(set(measure.by) & set(study.count_columns()) for measure in study.measures):
        raise Unprocessable("A measure counts by a column that has the name of a count.")


@contextmanager
def _translate_analysis_errors() -> Iterator[None]:
    """Turn what Spark says of a cohort it does not understand into a refusal of the study."""
    try:
        yield
    except AnalysisException as error:
        condition = error.getCondition() or "no reason given"
        raise Unprocessable(f"Spark does not understand the study ({condition}).") from None


def _open_views(
    session: SparkSession, gold: Path, columns: Mapping[str, Sequence[str]], key: str
) -> dict[str, int]:
    versions = {}
    for view, wanted in columns.items():
        path = gold / view
        try:
            versions[view] = DeltaTable(path).version()
        except TableNotFoundError as error:
            raise Unavailable(f"The lake has no view {view} yet: run `ehr lake run`.") from error
        frame = session.read.format("delta").option("versionAsOf", versions[view]).load(str(path))
        missing = sorted(set(wanted) - set(frame.columns))
        if missing:
            raise Unprocessable(f"The view {view} has no column {', '.join(missing)}.")
        frame.select(*(_rekey_column(column, key) for column in wanted)).createOrReplaceTempView(
            view
        )
    return versions


def _rekey_column(column: str, key: str) -> Column:
    """Give identifiers the project's own pseudonyms: two projects' rows cannot be joined."""
    if column == "id" or column.endswith("_id"):
        return F.sha2(F.concat(F.lit(key), F.col(column)), 256).alias(column)
    return F.col(column)


def _count_measures(cohort: DataFrame, study: Study) -> dict[str, list[Row]]:
    """Count all measures in one job: per person and stratum first, then per stratum.

    Counting people so, as rows, costs one pass for all measures; count(DISTINCT) would copy every
    row once per count and measure.
    """
    strata = sorted({column for measure in study.measures for column in measure.by})
    columns = [*strata, study.person]
    sets = [[*measure.by, study.person] for measure in study.measures]
    per_person = (
        cohort.where(F.col(study.person).isNotNull())
        .groupingSets(sets, *columns)
        .agg(
            F.grouping_id().alias(_GROUPING_SET),
            F.count(F.lit(1)).alias(study.unit),
            *(F.count_if(F.col(column)).alias(name) for name, column in study.outcomes),
        )
    )
    table = per_person.groupBy(_GROUPING_SET, *strata).agg(
        F.count(F.lit(1)).alias("people"),
        F.sum(study.unit).alias(study.unit),
        *(F.sum(name).alias(name) for name, _ in study.outcomes),
        *(F.count_if(F.col(name) > 0).alias(people_column(name)) for name, _ in study.outcomes),
    )
    rows = [row.asDict() for row in table.collect()]
    return {
        measure.name: _select_measure_rows(rows, study, measure, columns)
        for measure in study.measures
    }


def _select_measure_rows(
    rows: Sequence[Row], study: Study, measure: Measure, columns: Sequence[str]
) -> list[Row]:
    """Return a measure's rows, by stratum or, with a top, the largest first."""
    kept = {*measure.by, study.person}
    # Spark numbers a grouping set by one bit per column: set where the column is summed over.
    number = sum(1 << place for place, c in enumerate(reversed(columns)) if c not in kept)
    fields = (*measure.by, *study.count_columns())
    own = [{name: row[name] for name in fields} for row in rows if row[_GROUPING_SET] == number]
    own.sort(key=lambda row: [str(row[name]) for name in measure.by])
    if measure.top is not None:
        own.sort(key=lambda row: -int(str(row[study.unit])))
        own = own[: measure.top]
    return own


def _store_run(
    register: Register, study: Study, record: Run, results: Mapping[str, list[Row]]
) -> None:
    folder = run_folder(register, record.id)
    (folder / "raw").mkdir(mode=0o700, parents=True)
    for measure in study.measures:
        fields = [*measure.by, *study.count_columns()]
        with (folder / "raw" / f"{measure.name}.csv").open(
            "w", newline="", encoding="utf-8"
        ) as out:
            writer = csv.DictWriter(out, fields)
            writer.writeheader()
            writer.writerows(results[measure.name])
    run_record = {**asdict(record), "study_file": study.digest}
    (folder / "run.json").write_text(json.dumps(run_record, indent=2), "utf-8")
    (folder / "study.json").write_text(json.dumps(asdict(study), indent=2), "utf-8")
    with register.transaction() as connection:
        connection.execute(
            "INSERT INTO run(id, project, study, who, at, code, version, tables, state)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'done')",
            (
                record.id,
                record.project,
                record.study,
                record.who,
                record.at,
                record.code,
                record.version,
                json.dumps(record.tables),
            ),
        )
        register.append_event(
            connection,
            record.project,
            record.who,
            "run",
            run=record.id,
            detail={"code": record.code, "tables": dict(record.tables)},
        )


def _code_digest(study: Study) -> str:
    """Return one digest of the study's file and of the package that ran it."""
    digest = hashlib.sha256(study.digest.encode())
    package = Path(str(files(__package__)))
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
