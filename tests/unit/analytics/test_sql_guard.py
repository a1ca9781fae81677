"""The text of a cohort: one SELECT over the project's views, whatever it tries."""

from __future__ import annotations

import pytest

from ehr_analytics import study
from ehr_analytics.sql_guard import check_sql_text
from ehr_fhir.errors import Unprocessable
from tests.conftest import ROOT

VIEWS = {"patient_demographics", "encounter_flat"}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM encounter_flat",
        "select e.id from Encounter_Flat e join patient_demographics p on p.id = e.patient_id",
        "WITH a AS (SELECT id FROM encounter_flat), b AS (SELECT id FROM a) SELECT * FROM b",
        "SELECT * FROM (SELECT id FROM encounter_flat) x WHERE 1 IN (SELECT 1 FROM encounter_flat)",
        "SELECT 'FROM silver' AS text FROM encounter_flat -- FROM bronze",
        "SELECT count(*) OVER (PARTITION BY class, start ORDER BY start) FROM encounter_flat",
        "SELECT id FROM encounter_flat UNION ALL SELECT id FROM patient_demographics",
    ],
)
def test_a_select_over_the_views_is_taken(sql: str) -> None:
    check_sql_text(sql, VIEWS)


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "SELECT * FROM silver",
        "SELECT * FROM encounter_flat JOIN silver ON true",
        "SELECT * FROM encounter_flat, silver",
        "SELECT * FROM encounter_flat WHERE id IN (SELECT id FROM silver)",
        "SELECT (SELECT max(id) FROM silver) FROM encounter_flat",
        "SELECT * FROM delta.`/lake/silver`",
        "SELECT * FROM delta.encounter_flat",
        "SELECT * FROM encounter_flat.silver",
        "SELECT * FROM parquet.`/etc`",
        "SELECT * FROM `silver`",
        'SELECT * FROM "silver"',
        "SELECT * FROM 'silver'",
        "SELECT * FROM (silver)",
        "SELECT * FROM (silver JOIN encounter_flat)",
        "SELECT * FROM read_files('/etc')",
        "SELECT * FROM range(5)",
        "SELECT * FROM VALUES (1)",
        "SELECT * FROM IDENTIFIER('silver')",
        "TABLE silver",
        "SELECT id FROM encounter_flat UNION TABLE silver",
        "FROM silver SELECT *",
        "SELECT * FROM encounter_flat; DROP TABLE x",
        "DROP TABLE encounter_flat",
        "INSERT INTO encounter_flat SELECT 1",
        "WITH a AS (SELECT 1) INSERT INTO encounter_flat SELECT * FROM a",
        "SELECT TRANSFORM(id) USING 'cat' FROM encounter_flat",
        "FROM encounter_flat MAP id USING 'cat'",
        "SELECT java_method('java.lang.System', 'exit', 1) FROM encounter_flat",
        "SELECT reflect('java.lang.System', 'exit', 1) FROM encounter_flat",
        "SELECT input_file_name() FROM encounter_flat",
        "SELECT current_user FROM encounter_flat",
        "SELECT * FROM encounter_flat LATERAL VIEW explode(x) t",
        "SELECT /*+ BROADCAST(silver) */ * FROM encounter_flat",
        # A comment that only one reader sees: Spark would read on where we had stopped, or stop.
        "SELECT 1 /* ' */ FROM silver -- '",
        "SELECT 1 -- x\rFROM silver",
        "SELECT 1 FROM encounter_flat -- x\\\nWHERE silver",
        "SELECT '\\' FROM silver -- ' FROM encounter_flat",
        # A name bound by WITH counts only where Spark would see the binding.
        "WITH a AS (SELECT * FROM silver), silver AS (SELECT 1) SELECT * FROM a",
        "WITH silver AS (SELECT * FROM silver) SELECT * FROM silver",
        "SELECT * FROM (WITH silver AS (SELECT 1) SELECT 1) x JOIN silver",
        "SELECT x AS (SELECT 1) FROM x",
        "SELECT * FROM encounter_flat VERSION AS OF 0",
        "SELECT * FROM encounter_flat)",
        "SELECT * FROM encounter_flat WHERE id = :id",
        "SELECT * FROM encounter_flat WHERE id = ${id}",
    ],
)
def test_anything_else_is_refused(sql: str) -> None:
    with pytest.raises(Unprocessable):
        check_sql_text(sql, VIEWS)


def test_the_refusal_names_the_relation() -> None:
    with pytest.raises(Unprocessable, match="reads silver, which is not a view of this project"):
        check_sql_text("SELECT * FROM silver", VIEWS)


def test_the_study_that_comes_with_the_platform_is_taken() -> None:
    check_sql_text(
        study.load_study(ROOT / "tests" / "data" / "studies" / "acute-returns-sql.toml").sql, VIEWS
    )
