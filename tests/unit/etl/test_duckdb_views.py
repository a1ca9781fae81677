"""Views on DuckDB: what is exact or refused, what is deep, and a table without a JVM."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from ehr_etl.duckdb_session import QueryLimits, fetch, open_duckdb
from ehr_etl.gold.delta_views import write_view_table
from ehr_etl.gold.view_engines import run_records_on_duckdb
from ehr_etl.lake import Lake, read_small_table
from ehr_etl.sql_on_fhir import parse_view
from ehr_etl.sql_on_fhir.dialect import COMMON_TEMPLATES, OPERATIONS
from ehr_etl.sql_on_fhir.duckdb_dialect import DuckDbDialect
from ehr_etl.sql_on_fhir.spark_dialect import SparkDialect
from ehr_fhir.errors import Conflict, EhrError, NotFound, TooCostly, Unprocessable


def _view(*columns: tuple[str, str], resource: str = "Observation", **more: Any) -> dict[str, Any]:
    select = [{"column": [{"name": name, "path": path} for name, path in columns]}]
    return {"resource": resource, "name": "made_up", "select": select, **more}


def _weight(digits: str) -> tuple[str, str]:
    value = f'{{"value": {digits}, "code": "kg"}}'
    return "Observation", f'{{"resourceType": "Observation", "id": "o", "valueQuantity": {value}}}'


VALUE = ("value", "value.ofType(Quantity).value")


@pytest.mark.parametrize(
    ("digits", "number"),
    [
        ("0.1", Decimal("0.1")),
        ("1e3", Decimal(1000)),
        ("1.5E-3", Decimal("0.0015")),
        (f"{'9' * 26}.123456789012", Decimal(f"{'9' * 26}.123456789012")),
        ("-0.000000000001", Decimal("-0.000000000001")),
        ("1.000000000000000000", Decimal(1)),
    ],
)
def test_a_decimal_is_exact(digits: str, number: Decimal) -> None:
    _, rows = run_records_on_duckdb(parse_view(_view(VALUE)), [_weight(digits)])

    assert rows == [{"value": number}]


@pytest.mark.parametrize("digits", ["1e30", "1.234e-13", "123456789012345678901234567", "1e-13"])
def test_a_decimal_that_does_not_fit_is_refused_with_its_column(digits: str) -> None:
    with pytest.raises(Unprocessable, match=r"'value'.*digits") as refused:
        run_records_on_duckdb(parse_view(_view(VALUE)), [_weight(digits)])

    assert digits not in str(refused.value)


def test_a_column_of_text_has_the_digits_as_written() -> None:
    view = _view()
    view["select"][0]["column"] = [{"name": "value", "path": VALUE[1], "type": "string"}]

    _, rows = run_records_on_duckdb(parse_view(view), [_weight("1e30"), _weight("1.50")])

    assert [row["value"] for row in rows] == ["1e30", "1.50"]


def test_digits_within_texts_stay_as_they_are() -> None:
    text = r'{"resourceType":"Observation","valueQuantity":{"value":1.5,"unit":"a \"b\": 5, 2.50"}}'
    view = _view(VALUE, ("unit", "value.ofType(Quantity).unit"))

    _, rows = run_records_on_duckdb(parse_view(view), [("Observation", text)])

    assert rows == [{"value": Decimal("1.5"), "unit": 'a "b": 5, 2.50'}]


def test_two_values_are_the_mistake_of_the_author_with_the_column() -> None:
    patient = '{"resourceType": "Patient", "name": [{"given": ["Ka", "Ming"]}]}'
    view = _view(("given", "name.given"), resource="Patient")

    with pytest.raises(Unprocessable, match=r"'given'.*more than one") as refused:
        run_records_on_duckdb(parse_view(view), [("Patient", patient)])

    assert "Ming" not in str(refused.value)


def test_a_deep_questionnaire_is_read_whole_or_refused() -> None:
    def nested(levels: int) -> list[dict[str, Any]]:
        return [{"linkId": str(levels), "item": nested(levels - 1)}] if levels else []

    def rows(levels: int) -> list[dict[str, Any]]:
        response = {"resourceType": "QuestionnaireResponse", "item": nested(levels)}
        select = [{"repeat": ["item"], "column": [{"name": "link", "path": "linkId"}]}]
        view = parse_view({"resource": "QuestionnaireResponse", "select": select})
        return run_records_on_duckdb(view, [("QuestionnaireResponse", json.dumps(response))])[1]

    assert [row["link"] for row in rows(9)] == [str(level) for level in range(9, 0, -1)]
    with pytest.raises(Unprocessable, match="deeper"):
        rows(14)


def test_more_repeats_than_can_be_compiled_are_refused() -> None:
    def run(select: dict[str, Any], levels: int = 3) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        for level in range(levels):
            items = [{"linkId": str(level), "item": items}] if items else [{"linkId": "0"}]
        view = parse_view({"resource": "QuestionnaireResponse", "select": [select]})
        response = {"resourceType": "QuestionnaireResponse", "item": items}
        return run_records_on_duckdb(view, [("QuestionnaireResponse", json.dumps(response))])[1]

    column = {"column": [{"name": "link", "path": "linkId"}]}
    three = ["item", "answer.item", "item.answer.item"]
    within = {"repeat": ["item"], "select": [{"repeat": ["item"], **column}]}

    assert len(run({"repeat": three, **column})) == 3
    assert len(run(within)) == 3
    with pytest.raises(Unprocessable, match="deeper"):
        run(within, 9)
    with pytest.raises(Unprocessable, match="three paths"):
        run({"repeat": [*three, "item.item"], **column})
    with pytest.raises(Unprocessable, match="two repeats"):
        run({"repeat": ["item"], "select": [within]})


@pytest.mark.parametrize(
    "name", ["../../outside", "a/b", "", "1a", "a b", "a.b", "ä", "a" * 256, None]
)
def test_the_name_of_a_view_is_never_a_path(name: object) -> None:
    with pytest.raises(Unprocessable, match="name"):
        parse_view(_view(VALUE, **{}) | {"name": name})


@pytest.mark.parametrize(
    ("change", "nearest"),
    [
        ({"wher": [{"path": "id.exists()"}]}, "where"),
        ({"constants": []}, "constant"),
        ({"where": [{"pth": "true", "path": "true"}]}, "path"),
        ({"select": [{"colum": [], "column": [{"name": "a", "path": "id"}]}]}, "column"),
        ({"select": [{"column": [{"name": "a", "path": "id", "colection": True}]}]}, "collection"),
        ({"select": [{"foreach": "name", "column": [{"name": "a", "path": "id"}]}]}, "forEach"),
        ({"resourceType": "Bundle"}, "ViewDefinition"),
    ],
)
def test_a_misspelt_key_is_refused_with_the_nearest(change: dict[str, Any], nearest: str) -> None:
    with pytest.raises(Unprocessable, match=nearest):
        parse_view({**_view(VALUE), **change})


def test_two_columns_that_differ_in_case_alone_are_refused() -> None:
    with pytest.raises(Unprocessable, match="alike"):
        run_records_on_duckdb(parse_view(_view(("Id", "id"), ("id", "id"))), [])


def test_every_engine_has_every_operation() -> None:
    for dialect in (DuckDbDialect, SparkDialect):
        assert dialect.templates.keys() == OPERATIONS.keys()
        assert not dialect.templates.keys() & COMMON_TEMPLATES.keys()


def test_a_view_becomes_a_table_of_the_lake(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with pytest.raises(NotFound):
        write_view_table(lake, parse_view(_view(VALUE)))
    kind, text = _weight("72.5")
    write_deltalake(
        str(lake.table_path("deid")),
        pa.table(
            {
                "bucket": pa.array([0, 0], pa.int32()),
                "type": [kind, "Patient"],
                "id": ["one", "two"],
                "patient": ["two", "two"],
                "episode": ["", ""],
                "resource": [text, "{}"],
            }
        ),
        partition_by=["bucket"],
    )

    assert write_view_table(lake, parse_view(_view(VALUE))) == 1
    assert read_small_table(lake, "gold/made_up").to_pylist() == [{"value": Decimal("72.5")}]
    with pytest.raises(Conflict):
        write_view_table(lake, parse_view({**_view(VALUE), "name": "Condition_Flat"}))


def test_a_query_is_bounded_in_rows_time_and_memory() -> None:
    numbers = "SELECT i FROM range(1000000000) AS numbers(i)"
    with open_duckdb(QueryLimits(rows=10)) as connection:
        with pytest.raises(TooCostly, match="10 rows"):
            fetch(connection, numbers, QueryLimits(rows=10))
        with pytest.raises(TooCostly, match="longer"):
            slow = "SELECT sum(sqrt(a.i * b.i)) FROM range(100000000) a(i), range(100000) b(i)"
            fetch(connection, slow, QueryLimits(seconds=0.3))
    with open_duckdb(QueryLimits(memory_mb=20)) as connection:
        with pytest.raises(TooCostly, match="memory"):
            sorted_texts = "SELECT list(i || 'text') FROM range(20000000) AS numbers(i)"
            fetch(connection, sorted_texts, QueryLimits())


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM '{file}'",
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM read_blob('{folder}/*')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM read_json('{file}')",
        "SELECT * FROM read_parquet('{file}')",
        "SELECT * FROM delta_scan('{folder}')",
        "SELECT * FROM sniff_csv('{file}')",
        "SELECT * FROM parquet_metadata('{file}')",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "EXPORT DATABASE '{folder}/db'",
        "IMPORT DATABASE '{folder}'",
        "ATTACH '{folder}/x.db'",
        "INSTALL httpfs",
        "LOAD '{file}'",
        "SET enable_external_access = true",
        "RESET enable_external_access",
        "SET lock_configuration = false",
        "PRAGMA enable_external_access",
        "SET home_directory = '{folder}'",
        "SET temp_directory = '{folder}'",
        "SET memory_limit = '100GB'",
        "SET allowed_directories = ['{folder}']",
        "SET file_search_path = '{folder}'",
        "SET log_query_path = '{folder}/log'",
        "SET python_enable_replacements = true",
        "SELECT * FROM secret_in_python",
        "SELECT getenv('HOME')",
        "CREATE SECRET s (TYPE s3)",
    ],
)
def test_sql_reaches_nothing_but_what_is_registered(tmp_path: Path, sql: str) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a\nsecret\n")
    secret_in_python = pa.table({"a": ["secret"]})
    assert secret_in_python.num_rows == 1

    with open_duckdb(QueryLimits()) as connection:
        with pytest.raises((EhrError, duckdb.Error)):
            fetch(connection, sql.format(file=file, folder=tmp_path), QueryLimits())

    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]
