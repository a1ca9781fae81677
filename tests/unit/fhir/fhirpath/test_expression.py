"""The front door: compile, evaluate, where elements stand, what a caller can give."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from ehr_fhir import fhirpath
from ehr_fhir.errors import EhrError, Invalid, Unprocessable

NOW = datetime(2026, 5, 4, 10, 30, 15, 250_000, tzinfo=UTC)
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p1",
    "contained": [{"resourceType": "Organization", "id": "o1", "name": "Clinic"}],
    "active": True,
    "name": [
        {"use": "official", "family": "Chan", "given": ["Tai", "Man"]},
        {"use": "usual", "given": ["Thomas"], "_given": [{"id": "g1"}]},
    ],
    "birthDate": "1974-12-25",
    "_birthDate": {"extension": [{"url": "urn:t", "valueDateTime": "1974-12-25T14:35:45+08:00"}]},
    "managingOrganization": {"reference": "#o1"},
    "generalPractitioner": [{"reference": "Practitioner/d1"}, {"reference": "Organization/x"}],
}


def values(expression: str, **given: Any) -> list[Any]:
    found = fhirpath.compile(expression).evaluate(PATIENT, now=NOW, **given)
    return [fhirpath.to_json(value) for value in found]


def test_an_expression_is_frozen_and_compiled_once() -> None:
    one = fhirpath.compile("Patient.name", context_type="Patient")

    assert one is fhirpath.compile("Patient.name", context_type="Patient")
    with pytest.raises(FrozenInstanceError):
        one.text = "Patient"  # type: ignore[misc]  # what the test is about


@pytest.mark.parametrize(
    ("expression", "paths"),
    [
        ("name.given", ["Patient.name[0].given[0]", "Patient.name[0].given[1]"]),
        ("birthDate.extension.value", ["Patient.birthDate.extension[0].valueDateTime"]),
        ("name.where(use = 'usual').given", ["Patient.name[1].given[0]"]),
        ("contained.name", ["Patient.contained[0].name"]),
        ("children().ofType(HumanName).family", ["Patient.name[0].family"]),
    ],
)
def test_an_element_has_its_path(expression: str, paths: list[str]) -> None:
    found = fhirpath.compile(expression).evaluate(PATIENT, now=NOW)

    assert [element.path for element in found][: len(paths)] == paths


def test_an_element_is_the_json_of_the_resource_itself() -> None:
    (name,) = fhirpath.compile("name.where(use = 'official')").evaluate(PATIENT, now=NOW)

    assert name.value is PATIENT["name"][0]
    assert (name.type, name.parent.type) == ("HumanName", "Patient")


def test_the_repr_of_an_element_hides_its_value() -> None:
    assert "Chan" not in repr(fhirpath.compile("name.family").evaluate(PATIENT, now=NOW))


def test_an_expression_can_start_at_an_element() -> None:
    (name,) = fhirpath.compile("name[1]").evaluate(PATIENT, now=NOW)

    assert values("given", context=name) == ["Thomas"]
    assert values("%resource.id", context=name) == ["p1"]
    assert values("%context.use", context=name) == ["usual"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("now()", ["2026-05-04T10:30:15.250Z"]),
        ("today()", ["2026-05-04"]),
        ("timeOfDay()", ["10:30:15.250"]),
    ],
)
def test_now_is_an_argument_of_evaluate(expression: str, expected: list[str]) -> None:
    assert values(expression) == expected


def test_variables_are_an_argument_of_evaluate() -> None:
    assert values("%a + %`b c`", variables={"a": 1, "b c": Decimal("0.5")}) == [Decimal("1.5")]
    assert values("%many.count()", variables={"many": [1, 2, 3]}) == [3]


def test_an_unknown_variable_is_refused() -> None:
    with pytest.raises(Invalid, match="%nothing"):
        values("%nothing")


def test_references_resolve_by_a_callback() -> None:
    known = {"Practitioner/d1": {"resourceType": "Practitioner", "id": "d1"}}

    assert values("generalPractitioner.resolve().id", resolve=known.get) == ["d1"]
    found = values(
        "generalPractitioner.where(resolve() is Practitioner).reference", resolve=known.get
    )
    assert found == ["Practitioner/d1"]


def test_a_contained_resource_resolves_without_a_callback() -> None:
    assert values("managingOrganization.resolve().name") == ["Clinic"]


def test_value_set_membership_is_decided_by_a_callback() -> None:
    asked = []

    def member_of(item: object, url: str) -> bool:
        asked.append((fhirpath.to_json(item), url))
        return True

    assert values("name[0].use.memberOf('urn:vs')", member_of=member_of) == [True]
    assert asked == [("official", "urn:vs")]
    with pytest.raises(Unprocessable, match="terminology"):
        values("name[0].use.memberOf('urn:vs')")


def test_trace_only_calls_the_callback() -> None:
    seen: list[tuple[str, list[Any]]] = []

    values(
        "name.trace('names', given).count()", trace=lambda name, items: seen.append((name, items))
    )

    assert [(name, len(items)) for name, items in seen] == [("names", 3)]


@pytest.mark.parametrize(
    ("expression", "place"),
    [
        ("name.given1", "line 1, column 6"),
        ("name.\n  where(usee = 'x')", "line 2, column 9"),
        ("birthDate.year", "column 11"),
        ("Encounter.status", "column 1"),
        ("name.select(given.family)", "column 19"),
        ("(name | contact.name).text.foo", "column 28"),
        ("deceased.ofType(Period)", ""),
    ],
)
def test_a_path_without_a_type_is_refused_with_line_and_column(expression: str, place: str) -> None:
    if place:
        with pytest.raises(Invalid, match=place):
            fhirpath.compile(expression, context_type="Patient")
    else:
        fhirpath.compile(expression, context_type="Patient")
    # Without a context type nothing is known, so nothing is refused.
    fhirpath.compile(expression)


@pytest.mark.parametrize(
    "expression",
    ["", "name.", "a b", "nope()", "skip()", "1 +", "'open", "name[", "{1}", "@2015-13"],
)
def test_a_syntax_error_is_refused(expression: str) -> None:
    with pytest.raises(Invalid, match="line 1, column"):
        fhirpath.compile(expression)


def test_nesting_and_length_of_an_expression_are_limited() -> None:
    for expression in ("(" * 500 + "1" + ")" * 500, "1" + " + 1" * 500, "a" * 30_000):
        with pytest.raises(Invalid):
            fhirpath.compile(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "descendants().aggregate($total.combine($total), 1 | 2)",
        "'abc'.repeat($this.replace('', $this))",
        "1.repeat($this + 1)",
        "'a'.repeat($this & $this)",
        "name.repeatAll($this)",
        "'a'.repeat($this.encode('hex'))",
        "'aaaaaaaaaaaaaaaaaaaa'.repeat($this.replaceMatches('a', $this))",
    ],
)
def test_an_endless_expression_is_too_costly(expression: str) -> None:
    with pytest.raises(EhrError, match=r"too many steps|too long"):
        values(expression)


def test_as_filters_casts_collections() -> None:
    expression = "(Patient.name as HumanName).family | Practitioner.name.family"
    lenient = fhirpath.compile(expression, context_type="Patient", as_filters=True, own_terms=True)

    assert [item.value for item in lenient.evaluate(PATIENT, now=NOW)] == ["Chan"]
    assert lenient.keys == frozenset({"name", "_name"})
    with pytest.raises(Invalid, match="as"):
        values("(Patient.name as HumanName).family")


@pytest.mark.parametrize(
    ("expression", "keys"),
    [
        ("Patient.birthDate", frozenset({"birthDate", "_birthDate"})),
        ("Patient.deceased.exists()", None),
        ("Patient.active | true", None),
    ],
)
def test_keys_are_those_an_expression_requires(
    expression: str, keys: frozenset[str] | None
) -> None:
    assert fhirpath.compile(expression, context_type="Patient").keys == keys
