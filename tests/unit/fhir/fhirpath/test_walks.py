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


# A union leaves out what is equal, and 1.0 is equal to 1.00: so numbers are compared as such.
def walked(expression: Expression, resource: dict[str, Any]) -> set[str]:
    return {
        json.dumps(value, default=float, sort_keys=True)
        for walk in expression.walks or ()
        for value in walk.values(resource)
        if not _contained(value)
        if walk.target is None or referenced_type(value.get("reference", "")) == walk.target
    }


def evaluated(expression: Expression, resource: dict[str, Any]) -> set[str]:
    found = (to_json(one) for one in expression.evaluate(resource, now=NOW, resolve=stub))
    return {
        json.dumps(one, default=float, sort_keys=True)
        for one in found
        # An element that has only extensions is no value, and what is contained is not searched.
        if one is not None and not _contained(one)
    }


def _contained(value: object) -> bool:
    return isinstance(value, dict) and str(value.get("reference")).startswith("#")


def test_search_parameters_walk_to_what_they_evaluate_to(shared_data: Path) -> None:
    compared = 0
    for one in examples(shared_data):
        for parameter in indexed_parameters(one.content["resourceType"]):
            expression = parameter.compiled_expression
            keys = expression.keys
            if expression.walks is None or (keys and keys.isdisjoint(one.content)):
                continue
            found = evaluated(expression, one.content)
            assert walked(expression, one.content) == found, (one.name, parameter.code)
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
def test_a_plain_path_is_walked(expression: str, found: list[object]) -> None:
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
def test_any_other_expression_is_left_to_the_engine(expression: str) -> None:
    compiled = fhirpath.compile(expression, context_type="Patient", as_filters=True, own_terms=True)

    assert compiled.walks is None
