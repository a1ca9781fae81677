"""Functions and operators where HL7's suite has no case, or one of a kind."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from ehr_fhir import fhirpath
from ehr_fhir.errors import EhrError, Invalid
from ehr_fhir.fhirpath.registry import FUNCTIONS

NOW = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)
SAMPLE: dict[str, Any] = {
    "resourceType": "Observation",
    "status": "final",
    "text": {"status": "generated", "div": "<div xmlns='http://www.w3.org/1999/xhtml'>ok</div>"},
    "modifierExtension": [{"url": "urn:m", "valueBoolean": True}],
    "effectiveDateTime": "2015-02-07T13:28:17-05:00",
    "code": {"coding": [{"system": "http://loinc.org", "code": "1234-5"}]},
    "valueQuantity": {"value": Decimal("6.30"), "unit": "mmol/l", "code": "mmol/L",
                      "system": "http://unitsofmeasure.org"},
    "component": [
        {"valueQuantity": {"value": 1, "system": "http://unitsofmeasure.org", "code": "a"}},
        {"valueString": "B"},
        {"valueInteger": 3},
    ],
}  # fmt: skip


def values(expression: str) -> list[Any]:
    found = fhirpath.compile(expression).evaluate(SAMPLE, now=NOW)
    return [fhirpath.to_json(value) for value in found]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("(1 | 2 | 3).sum()", [6]),
        ("(1.5 | 2.5).avg()", [Decimal(2)]),
        ("(3 | 1 | 2).min()", [1]),
        ("('a' | 'c' | 'b').max()", ["c"]),
        ("{}.sum()", []),
        ("(1 'g' | 500 'mg').sum()", ["1.5 'g'"]),
        ("(@2014 | @2014-02).min()", []),
        ("component.value.ofType(string)", ["B"]),
        ("component.value.ofType(integer) + 1", [4]),
        ("(3 | 1 | 2).sort($this desc)", [3, 2, 1]),
        ("(3 | 1 | 2).sort($this asc)", [1, 2, 3]),
        ("'a-b-c'.lastIndexOf('-')", [3]),
        ("'abc'.toChars()", ["a", "b", "c"]),
        ("' x '.trim()", ["x"]),
        ("'ab12'.replaceMatches('([a-z]+)(\\\\d+)', '$2$1')", ["12ab"]),
        ("'x'.decode('base64')", []),
        ("'a\\\"b'.escape('json')", ['a\\"b']),
        ("1000 'mg'.toQuantity('g')", ["1 'g'"]),
        ("1 'mg'.convertsToQuantity('s')", [False]),
        ("value.toString()", ["6.30 'mmol/L'"]),
        ("value.value.precision()", [2]),
        ("value > 6 'mmol/L'", [True]),
        ("value = 6300 'umol/L'", [True]),
        ("value = 6.3 'mg'", []),
        ("component[0].value = 1 year", [True]),
        ("1 year = 1 'a'", []),
        ("1 year ~ 1 'a'", [True]),
        ("12 months = 1 year", [True]),
        ("1 year = 365 days", []),
        ("@2015-01-31 + 1 month", ["2015-02-28"]),
        ("@2014 + 24 months", ["2016"]),
        ("@2014-02 + 40 days", ["2014-03"]),
        ("@T23:30 + 1 hour", ["00:30"]),
        ("@T10:00 - 90 minutes", ["08:30"]),
        ("@9999-12-31 + 1 day", []),
        ("@2016-02-29 - 1 year", ["2015-02-28"]),
        ("effective.is(dateTime)", [True]),
        ("effective < @2015-02-08", []),
        ("effective < @2015-02-10", [True]),
        ("effective.toDate()", ["2015-02-07"]),
        ("effective.precision()", [14]),
        ("code.coding.exists(system = %loinc and code = '1234-5')", [True]),
        ("code ~ code", [True]),
        ("status.hasValue()", [True]),
        ("status.getValue().is(System.String)", [True]),
        ("code.hasValue()", [False]),
        ("text.`div`.htmlChecks()", [True]),
        ("'<div><script>x</script></div>'.htmlChecks()", [False]),
        ("'<div onclick=\\'x\\'>a</div>'.htmlChecks()", [False]),
        ("'<div> </div>'.htmlChecks()", [False]),
        ("'<div>a<br/>b</div>'.htmlChecks()", [True]),
        ("checkModifiers('urn:m').status", ["final"]),
        ("2147483647 + 1", []),
        ("2.power(31)", []),
        ("2.power(-1)", [Decimal("0.5")]),
        ("(-7) div 2", [-3]),
        ("(-7) mod 2", [-1]),
        ("0.0000001 + 0.1", [Decimal("0.1000001")]),
        ("1.50 + 1", [Decimal("2.50")]),
        ("10.exp().ln().round(3)", [Decimal("10.000")]),
        ("(-1).ln()", []),
        ("1000000.exp()", []),
        ("'2014-02-30'.toDate()", []),
        ("'2014-02-28T25'.toDateTime()", []),
        ("true and {}", []),
        ("false and 'x'.nothing", [False]),
        ("(1 | 2) = (2 | 1)", [False]),
        ("(1 | 2) ~ (2 | 1)", [True]),
        ("1 = true", [False]),
        ("1 in {}", [False]),
        ("{} in (1 | 2)", []),
        ("(1 | 2).subsetOf(1 | 2 | 3)", [True]),
        ("(1 | 2 | 3).tail().take(1)", [2]),
        ("(1 | 2).skip(-1)", [1, 2]),
        ("(4 | 5).select($index)", [0, 1]),
        ("iif(1 = 1, 'y')", ["y"]),
        ("component.repeat(value).count()", [4]),
        ("'A b' ~ 'a  B'", [True]),
        ("type().name", ["Observation"]),
        ("component.type().name.distinct()", ["Observation.component"]),
        ("component[0].is(BackboneElement)", [True]),
        ("is(DomainResource) and is(Resource)", [True]),
        ("`div`.a", []),
        ("(1 | 1 '1' | 50 '%' | 0.5).count()", [2]),
        ("(1 'g' | 1000 'mg' | 1 's').count()", [2]),
        ("(@2014T | @2014 | @2014-01 | @2014-01-01T00:00Z | @2014-01-01T01:00+01:00).count()", [3]),
        ("1 'm'.aggregate($total * $this, 1 'm') = 1 'm2'", [True]),
    ],
)  # fmt: skip
def test_a_function_returns(expression: str, expected: list[Any]) -> None:
    assert values(expression) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "checkModifiers('urn:other')",
        "'a'.matches('(')",
        "'a' < 1",
        "(1 | 2).toInteger()",
        "code.startsWith('a')",
        "code + 1",
        "-'a'",
        "1 & 'a'",
        "true + 1",
        "'a'.encode('rot13')",
        "@2014 + 1 'cm'",
        "@T10 + 1 year",
        "$index",
        "'a'.substring('b')",
        "1.round(-1)",
        "('a' | 1).sort()",
        "'a'.replaceMatches('a', '$9')",
    ],
)
def test_invalid_operands_are_refused(expression: str) -> None:
    with pytest.raises(EhrError):
        values(expression)


def test_an_error_message_has_no_value_of_the_record() -> None:
    with pytest.raises(Invalid) as caught:
        values("value < status")

    assert "final" not in str(caught.value)
    assert "6.3" not in str(caught.value)


def test_an_undefined_resource_type_is_read_by_its_json() -> None:
    strange = {"resourceType": "Strange", "part": [{"label": "x", "count": 2}]}

    found = fhirpath.compile("part.where(count > 1).label").evaluate(strange, now=NOW)

    assert [fhirpath.to_json(item) for item in found] == ["x"]


def test_the_functions_of_the_specification_are_registered() -> None:
    wanted = (
        "empty exists all allTrue anyTrue allFalse anyFalse subsetOf supersetOf count distinct"
        " isDistinct where select repeat single first last tail skip take intersect exclude union"
        " combine iif toBoolean convertsToBoolean toInteger convertsToInteger toDate"
        " convertsToDate toDateTime convertsToDateTime toDecimal convertsToDecimal toQuantity"
        " convertsToQuantity toString convertsToString toTime convertsToTime indexOf substring"
        " startsWith endsWith contains upper lower replace matches matchesFull replaceMatches"
        " length toChars split join trim encode decode escape unescape abs ceiling exp floor ln"
        " log power round sqrt truncate children descendants trace now timeOfDay today aggregate"
        " lowBoundary highBoundary precision comparable type not sort sum min max avg extension"
        " hasValue getValue resolve memberOf conformsTo htmlChecks checkModifiers"
    )

    assert set(wanted.split()) <= FUNCTIONS.keys()


@pytest.mark.parametrize(
    ("quantity", "is_nothing"),
    [
        ({"value": 0, "system": "http://unitsofmeasure.org", "code": "mg"}, [True]),
        ({"value": 0, "unit": "mg"}, [True]),
        ({"value": 0, "system": "http://units.example", "code": "mg", "unit": "mg"}, []),
        ({"value": 0, "system": "http://units.example", "unit": "mg"}, []),
    ],
)
def test_a_code_of_another_system_is_none_of_ucum(
    quantity: dict[str, Any], is_nothing: list[bool]
) -> None:
    compared = fhirpath.compile("value = 0 'g'")
    itself = fhirpath.compile("value = value")
    resource = {"resourceType": "Observation", "valueQuantity": quantity}

    assert [fhirpath.to_json(one) for one in compared.evaluate(resource, now=NOW)] == is_nothing
    assert [fhirpath.to_json(one) for one in itself.evaluate(resource, now=NOW)] == [True]
