"""Views give what the FHIRPath engine gives: every path of the list, on every record."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Any

import pytest

from ehr_etl.gold.view_engines import run_records_on_duckdb
from ehr_etl.sql_on_fhir import parse_view
from ehr_fhir import fhirpath
from tests.lib.view_paths import PATHS, iterate_path_views, list_records, parse_resources

# Where a view gives another answer than the engine, each with its reason.
_OVERFLOW = "in milligrams the number passes what SQL multiplies exactly"
OTHERWISE: dict[tuple[str, str], str] = {
    ("value.ofType(Quantity) != 7 'mg'", "o7"): _OVERFLOW,
    ("7 'mg' = value.ofType(Quantity)", "o7"): _OVERFLOW,
    ("7.1 'mg' > value.ofType(Quantity)", "o7"): _OVERFLOW,
    **{
        ("component.code.text.join('/')", record): "SQL on FHIR joins nothing to an empty text"
        for record in ("o2", "o3", "o4", "o5", "o6", "o7", "o9")
    },
}
_NUMBERS = Context(prec=60)


def _engine_values(path: str, resource: dict[str, Any]) -> list[Any]:
    expression = fhirpath.compile(path, context_type="Observation")
    values = expression.evaluate(
        resource, now=datetime(2026, 1, 1, tzinfo=UTC), resolve=_resource_elsewhere
    )
    return [fhirpath.to_json(value) for value in values]


def _resource_elsewhere(reference: str) -> dict[str, Any]:
    resource_type, _, resource_id = reference.partition("/")
    return {"resourceType": resource_type, "id": resource_id}


def _plain(values: list[Any]) -> list[Any]:
    return [_round(value) for value in values]


def _round(value: Any) -> Any:
    """Round to 11 places: the engine and SQL may differ in the last of a quotient."""
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return Decimal(str(value)).quantize(Decimal("1e-11"), context=_NUMBERS)
    return value


@pytest.fixture(scope="module")
def answers() -> dict[str, dict[str, list[Any]]]:
    found: dict[str, dict[str, list[Any]]] = {}
    for paths, view in iterate_path_views(1):
        _, rows = run_records_on_duckdb(parse_view(view), list_records())
        for row in rows:
            for number, path in enumerate(paths):
                found.setdefault(path, {})[row["id"]] = row[f"c{number}"]
    return found


@pytest.mark.parametrize("path", PATHS)
def test_a_view_and_the_engine_agree(path: str, answers: dict[str, dict[str, list[Any]]]) -> None:
    for resource in parse_resources():
        same = _plain(answers[path][resource["id"]]) == _plain(_engine_values(path, resource))

        assert same == ((path, resource["id"]) not in OTHERWISE), resource["id"]
