"""A plain path walks to what the engine finds, on every official example."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ehr_fhir import fhirpath
from ehr_fhir.fhirpath import Expression, to_json
from ehr_fhir.index.rows import indexed_parameters
from ehr_fhir.references import referenced_type
from tests.lib.examples import examples

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def stub(reference: str) -> dict[str, Any] | None:
    kind = referenced_type(reference)
    return {"resourceType": kind} if kind else None


# As sets of JSON with numbers as floats: a union drops equal items, and 1.0 equals 1.00.
def values_by_walks(expression: Expression, resource: dict[str, Any]) -> set[str]:
    return {
        json.dumps(value, default=float, sort_keys=True)
        for walk in expression.walks or ()
        for value in walk.values(resource)
        if not _contained(value)
        if walk.target is None or referenced_type(value.get("reference", "")) == walk.target
    }


def values_by_evaluation(expression: Expression, resource: dict[str, Any]) -> set[str]:
    values = (to_json(item) for item in expression.evaluate(resource, now=NOW, resolve=stub))
    return {
        json.dumps(value, default=float, sort_keys=True)
        for value in values
        # An element with only extensions has no value, and contained resources are not searched.
        if value is not None and not _contained(value)
    }


def _contained(value: object) -> bool:
    return isinstance(value, dict) and str(value.get("reference")).startswith("#")


def test_walks_of_search_parameters_agree_with_evaluation(shared_data: Path) -> None:
    compared = 0
    for one in examples(shared_data):
        for parameter in indexed_parameters(one.content["resourceType"]):
            expression = parameter.compiled_expression
            keys = expression.keys
            if expression.walks is None or (keys and keys.isdisjoint(one.content)):
                continue
            found = values_by_evaluation(expression, one.content)
            assert values_by_walks(expression, one.content) == found, (one.name, parameter.code)
            compared += bool(found)

    assert compared > 2000


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("name.given", ["A", "B", "C"]),
        ("Patient.name[1].given", ["C"]),
        ("name.where(use = 'usual').given", ["C"]),
        ("(deceased as boolean)", [True]),
        ("deceased.ofType(dateTime)", []),
        ("Resource.id | Patient.gender | Person.name", ["p", "male"]),
    ],
)
def test_a_plain_path_compiles_to_walks(expression: str, found: list[object]) -> None:
    patient = {
        "resourceType": "Patient",
        "id": "p",
        "gender": "male",
        "deceasedBoolean": True,
        "name": [{"given": ["A", "B", None]}, {"use": "usual", "given": ["C"]}],
    }
    compiled = fhirpath.compile(expression, context_type="Patient", as_filters=True, own_terms=True)

    assert compiled.walks is not None
    assert [value for walk in compiled.walks for value in walk.values(patient)] == found


@pytest.mark.parametrize(
    "expression",
    ["name.given.first()", "name.exists()", "name.given[0].length()", "deceased[0]", "name & 'x'"],
)
def test_any_other_expression_has_no_walks(expression: str) -> None:
    compiled = fhirpath.compile(expression, context_type="Patient", as_filters=True, own_terms=True)

    assert compiled.walks is None
