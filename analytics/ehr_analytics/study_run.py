"""Runs of studies: on a project's approved columns, under its own pseudonyms, and logged.

The cohort sees the approved columns of the project's gold views, at one Delta version each, and
nothing else. Raw counts stay in the run's folder: only `airlock` takes results further.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from ehr_analytics import project as projects
from ehr_analytics import sql_guard
from ehr_analytics.counting import Row, count_measures
from ehr_analytics.gold_views import GoldView, open_gold_views
from ehr_analytics.key_hashing import PSEUDONYM_PATTERN
from ehr_analytics.project_dates import (
    DATE_IN_TEXT,
    WHOLE_DATE,
    ProjectDates,
    open_project_dates,
)
from ehr_analytics.register import Register
from ehr_analytics.run_log import (
    Run,
    append_run,
    create_run,
    digest_study_code,
    run_folder,
    write_run_record,
)
from ehr_analytics.study import Study
from ehr_etl.lake import GOLD_EPISODE, GOLD_KEY, GOLD_PATIENT, Lake, gold_table_name
from ehr_etl.omop.cdm import table_name
from ehr_etl.spark.java_errors import translate_java_errors
from ehr_fhir.errors import Unavailable, Unprocessable
from ehr_privacy.deid import SHIFT_WEEKS

# Where the platform's own persons are: the view of patients, and OMOP's persons.
PERSON_TABLES = (
    (gold_table_name("patient_demographics"), "id"),
    (table_name("person"), "person_id"),
)


def run_study(
    register: Register,
    spark: SparkSession,
    study: Study,
    login: str,
    *,
    withheld: Collection[str],
    other_names: Collection[str] = (),
) -> Run:
    """Run a study for one of its project's people; store the raw counts in the run's folder.

    `withheld` are the lake's pseudonyms of the people of whom no row is read.
    """
    project = projects.get_project(register, study.project)
    projects.require_open_for(register, project, login, other_names=other_names)
    columns = project.columns_by_view()
    sql_guard.check_sql_text(study.sql, columns)
    key = projects.read_project_key(register.data, project.id)
    with translate_java_errors("running the study"), _translate_analysis_errors():
        sql_guard.check_sql_plan(spark, study.sql, columns)
        # A session of its own: its only temporary views are the project's.
        session = spark.newSession()
        views = open_gold_views(register.data, columns)
        dates = open_project_dates(register.data, project.dates, key)
        left_out = _select_records(session, register.data, withheld) if withheld else None
        create_temporary_views(session, views, key, dates, left_out)
        cohort = session.sql(study.sql)
        _require_platform_persons(session, register.data, cohort, study.person, key)
        results = count_measures(cohort, study)

    run = create_run(
        register,
        prefix=study.name,
        project=project.id,
        study=study.name,
        login=login,
        code=digest_study_code(study.digest),
        tables={view.name: view.version for view in views},
    )
    _store_run(register, study, run, results)
    return run


def _require_platform_persons(
    session: SparkSession, data: Path, cohort: DataFrame, person: str, key: str
) -> None:
    """Refuse a cohort whose persons are not the platform's: one could be made to look like many."""
    lake = Lake(data / "lake")
    known = [
        session.read.format("delta").load(str(lake.table_path(table))).select(F.col(column))
        for table, column in PERSON_TABLES
        if lake.has_table(table)
    ]
    pseudonyms = [
        frame.select(F.sha2(F.concat(F.lit(key), F.col(frame.columns[0]).cast("string")), 256))
        for frame in known
    ]
    named = cohort.select(F.col(person).cast("string").alias("person")).where("person IS NOT NULL")
    for frame in pseudonyms:
        named = named.join(frame.toDF("known"), F.col("person") == F.col("known"), "left_anti")
    if named.limit(1).count():
        raise Unprocessable(
            f"The cohort's {person} names somebody whom the platform does not: it is a patient's "
            "key as the view has it, with nothing added."
        )


@contextmanager
def _translate_analysis_errors() -> Iterator[None]:
    """Translate Spark's analysis errors into a refusal of the study."""
    try:
        yield
    except AnalysisException as error:
        condition = error.getCondition() or "no reason given"
        raise Unprocessable(f"Spark does not understand the study ({condition}).") from None


def create_temporary_views(
    session: SparkSession,
    views: Sequence[GoldView],
    key: str,
    dates: ProjectDates,
    left_out: DataFrame | None = None,
) -> None:
    """Open views in a session, keys and dates as the project has them, without some records."""
    for view in views:
        reader = session.read.format("delta").option("versionAsOf", view.version)
        frame = reader.load(str(view.path))
        kinds = dict(frame.dtypes)
        if left_out is not None:
            if GOLD_KEY not in kinds:
                raise Unavailable(f"The view {view.name} is not up to date: run `ehr lake run`.")
            frame = frame.join(left_out, GOLD_KEY, "left_anti")
        frame.select(
            *(
                _rekey_column(
                    name,
                    kinds[name],
                    name in view.rekeyed,
                    key,
                    _DateColumn(dates, name in view.dated),
                )
                for name in view.columns
            )
        ).createOrReplaceTempView(view.name)


def _select_records(session: SparkSession, data: Path, people: Collection[str]) -> DataFrame:
    """Return the keys of the records of some people, and of those that name one of them."""
    records = session.read.format("delta").load(str(Lake(data / "lake").table_path("deid")))
    named = F.regexp_extract_all("resource", F.lit(f"Patient/({PSEUDONYM_PATTERN})"), 1)
    is_named = F.arrays_overlap(named, F.lit(sorted(people)))
    is_theirs = F.when(F.col("patient").isNull(), is_named).otherwise(
        F.col("patient").isin(sorted(people))
    )
    return records.where(is_theirs).select(F.col("id").alias(GOLD_KEY))


def _rekey_column(name: str, spark_type: str, is_key: bool, key: str, dates: _DateColumn) -> Column:
    """Hash keys under the project's key, so that rows of two projects cannot be joined."""

    def hash_value(value: Column) -> Column:
        return F.sha2(F.concat(F.lit(key), value.cast("string")), 256)

    def rekey_value(value: Column) -> Column:
        if is_key:
            return hash_value(value)
        shown = dates.show(value, item_type.removesuffix(">"))
        if item_type.removesuffix(">") != "string":
            return shown
        return F.when(value.rlike(PSEUDONYM_PATTERN), hash_value(value)).otherwise(shown)

    column = F.col(name)
    item_type = spark_type.removeprefix("array<")
    if "<" in item_type:
        # A value of many parts is none of a view's: hashed whole, whatever is in it.
        return hash_value(column).alias(name)
    if spark_type.startswith("array<"):
        return F.transform(column, rekey_value).alias(name)
    return rekey_value(column).alias(name)


@dataclass(frozen=True)
class _DateColumn:
    """A column's dates in the form of a project: what `ProjectDates` renders for DuckDB."""

    dates: ProjectDates
    # A date by its declaration, whatever a value looks like.
    is_declared: bool

    def show(self, value: Column, item_type: str) -> Column:
        """Return a value, or item of a list, that may be or hold a date."""
        if item_type == "date":
            return self._show_day(value)
        if item_type.startswith("timestamp"):
            return self._show_day(value.cast("date")).cast(item_type)
        if item_type != "string":
            return value
        text = F.date_format(
            self._show_day(F.substring(value, 1, 10).try_cast("date")), "yyyy-MM-dd"
        )
        if self.dates.form in ("shift", "episode"):
            text = F.concat(text, F.substring(value, 11, 2**31 - 1))
        other = F.lit(None) if self.is_declared else F.when(~value.rlike(DATE_IN_TEXT), value)
        return F.when(value.rlike(f"^{WHOLE_DATE}$"), text).otherwise(other)

    def _show_day(self, day: Column) -> Column:
        patient = F.col(GOLD_PATIENT)
        weeks = _count_weeks(self.dates.lake_key, patient)
        if self.dates.form in ("month", "quarter"):
            return F.trunc(F.date_add(day, 7 * weeks), self.dates.form)
        is_by_episode = self.dates.form == "episode"
        name = F.concat(patient, F.col(GOLD_EPISODE)) if is_by_episode else patient
        return F.date_add(day, 7 * (weeks - _count_weeks(self.dates.project_key, name)))


def _count_weeks(key: str, name: Column) -> Column:
    digits = F.substring(F.sha2(F.concat(F.lit(key), name), 256), 1, 8)
    return (F.conv(digits, 16, 10).cast("bigint") % SHIFT_WEEKS + 1).cast("int")


def _store_run(
    register: Register, study: Study, run: Run, results: Mapping[str, list[Row]]
) -> None:
    folder = run_folder(register, run.id)
    (folder / "raw").mkdir(mode=0o700, parents=True)
    for measure in study.measures:
        fields = [*measure.by, *study.count_columns()]
        with (folder / "raw" / f"{measure.name}.csv").open(
            "w", newline="", encoding="utf-8"
        ) as out:
            writer = csv.DictWriter(out, fields)
            writer.writeheader()
            writer.writerows(results[measure.name])
    write_run_record(folder, run, study.digest, study.title)
    (folder / "study.json").write_text(json.dumps(asdict(study), indent=2), "utf-8")
    append_run(register, run)
