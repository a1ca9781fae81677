"""What a path compiles to grows with the path, not with the power of its nesting."""

from __future__ import annotations

import json

import pytest

from ehr_etl.gold.view_engines import run_records_on_duckdb
from ehr_etl.sql_on_fhir import ViewDefinition, compile_view, parse_view
from ehr_etl.sql_on_fhir.duckdb_dialect import DuckDbDialect
from ehr_etl.sql_on_fhir.spark_dialect import SparkDialect

GIVEN, FAMILY, WHOLE, FLAG = (
    "name.given",
    "name.family.first()",
    "multipleBirth.ofType(integer)",
    "active",
)
# A first path, and what is made of a path P of its type.
STEPS = [
    *((GIVEN, step) for step in ("P | name.family", "name.family | P", "P.union(name.family)")),
    *((GIVEN, step) for step in ("P.combine(name.family)", "P.distinct()", "P.tail()")),
    *((GIVEN, step) for step in ("P.where($this != 'x')", "P.select($this + 'a')")),
    *((GIVEN, step) for step in ("P.intersect(name.given)", "name.given.exclude(P)")),
    *((FAMILY, step) for step in ("P + 'a'", "P & 'a'", "P.lower()", "P.replace('a', 'b')")),
    *((FAMILY, step) for step in ("(P | name.family).single()", "P.where($this = 'a').single()")),
    *((FAMILY, step) for step in ("P.iif($this = 'a', 'b', $this)", "P.substring(1, 2)")),
    *((WHOLE, step) for step in ("P + 1", "P div 2", "P.abs()", "-P", "P.toString().toInteger()")),
    *((WHOLE, step) for step in ("(P | 1).single()", "(P | 1).sum()", "(P | 1).max()")),
    *((WHOLE, step) for step in ("(P | 1).avg().truncate()", "P / 2", "P.round(2)")),
    *((FLAG, step) for step in ("P and true", "P.not()", "(P | active).single()", "P in active")),
]


def _view(path: str) -> ViewDefinition:
    column = {"name": "found", "path": path, "collection": True}
    definition = {"resource": "Patient", "name": "nested", "select": [{"column": [column]}]}
    return parse_view(definition)


def _nest(first: str, step: str, depth: int) -> str:
    path = first
    for _ in range(depth):
        path = step.replace("P", f"({path})")
    return path


@pytest.mark.parametrize(("first", "step"), STEPS)
@pytest.mark.parametrize("dialect", [DuckDbDialect, SparkDialect])
def test_the_sql_of_nested_steps_grows_with_their_number(
    first: str, step: str, dialect: type[DuckDbDialect] | type[SparkDialect]
) -> None:
    sizes = {}
    for depth in (1, 3, 5, 10):
        compiled = compile_view(_view(_nest(first, step, depth)))
        sizes[depth] = len(compiled.sql("records", {}, dialect()))

    # A step costs the same at the depth of ten as at five; names of variables grow by a letter.
    assert (sizes[10] - sizes[5]) / 5 < 1.3 * (sizes[5] - sizes[3]) / 2 + 10


def test_ten_unions_within_each_other_have_the_rows_of_one() -> None:
    names = [{"family": "Z", "given": ["A", "B", "A"]}, {"family": "Q", "given": ["Z"]}]
    record = json.dumps({"resourceType": "Patient", "id": "p", "name": names})
    nested = _view(_nest(GIVEN, "P | name.family", 10))

    _, rows = run_records_on_duckdb(nested, [("Patient", record)])

    assert rows == [{"found": ["A", "B", "Z", "Q"]}]
