"""A search parameter of a stranger's expression holds up nobody: not by a pattern, not by steps."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.lib.gateway import House, must

PATTERNS = ("^(a+)+$", "^(a|a)*$", "^([a-z]+)*$", "(x+x+)+y", "^(.*a){20}$")
# On one name of 28 letters and on two dozen elements; each would go on for minutes or for ever.
EXPRESSIONS = (
    "Patient.name.select(%resource.name.select(%resource.name.select(%resource.name.given)))",
    "Patient.name.given.select(%resource.descendants().select(%resource.descendants()))",
    "Patient.descendants().where(%resource.descendants() ~ %resource.descendants())",
    "Patient.name.repeat(given | %resource.name.given | %resource.descendants())",
    "Patient.name.given.replaceMatches('(a*)*b', 'x')",
    "Patient.name.given.select($this & $this & $this).select($this & $this & $this)",
)
# Above what a loaded machine of the tests takes; a backtracking engine took 5 s and more.
SECONDS = 2.5


def parameter(expression: str) -> dict[str, Any]:
    return {
        "resourceType": "SearchParameter",
        "id": "costly",
        "url": "http://example.org/SearchParameter/costly",
        "name": "costly",
        "status": "active",
        "description": "Costly",
        "code": "costly",
        "base": ["Patient"],
        "type": "string",
        "expression": expression,
    }


@pytest.mark.parametrize(
    "expression",
    [*(f"Patient.name.given.where(matches('{one}'))" for one in PATTERNS), *EXPRESSIONS],
)
def test_a_costly_expression_holds_up_no_write(house: House, expression: str) -> None:
    platform = house.system("ehr-commons")
    if (answer := platform.put(parameter(expression))).status_code == 422:
        return
    must(answer)
    patient = {"resourceType": "Patient", "name": [{"given": ["a" * 28 + "?"] * 6}] * 24}

    begin = time.perf_counter()
    must(platform.post("Patient", patient))

    assert time.perf_counter() - begin < SECONDS


@pytest.mark.parametrize(
    "expression", ["Patient.name.given | (1|2|3).repeat($this + 1).toString()", "Patient.repeat("]
)
def test_an_expression_that_never_ends_by_itself_is_refused(house: House, expression: str) -> None:
    answer = house.system("ehr-commons").put(parameter(expression))

    assert answer.status_code == 422
    assert "expression" in answer.text


def test_filters_and_patches_take_no_patterns(house: House) -> None:
    platform = house.system("ehr-commons")
    must(platform.put({"resourceType": "Organization", "id": "o", "name": "a" * 28 + "?"}))

    begin = time.perf_counter()
    platform.get('Organization?_filter=name eq "^(a+)+$"')
    platform.get("Organization?name:contains=^(a%2B)%2B$")
    patch = {
        "resourceType": "Parameters",
        "parameter": [
            {
                "name": "operation",
                "part": [
                    {"name": "type", "valueCode": "delete"},
                    {"name": "path",
                     "valueString": "Organization.name.where($this.matches('^(a+)+$'))"},
                ],
            }
        ],
    }  # fmt: skip
    refused = platform.request(
        "PATCH", "Organization/o", json=patch, headers={"Content-Type": "application/fhir+json"}
    )

    assert refused.status_code == 422
    assert time.perf_counter() - begin < SECONDS
