"""Slices: each discriminator, closed and ordered ones, slices of slices; and odd profiles."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from ehr_fhir.profiles.findings import Finding
from ehr_fhir.profiles.library import ProfileLibrary

NOW = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)
BASE = "http://hl7.org/fhir/StructureDefinition/"
URL = "http://e.org/p"


def profile(kind: str, *elements: dict[str, Any], url: str = URL, **more: Any) -> dict[str, Any]:
    """Return a profile of a differential."""
    return {
        "resourceType": "StructureDefinition",
        "url": url,
        "type": kind,
        "kind": "resource",
        "derivation": "constraint",
        "baseDefinition": BASE + kind,
        "differential": {"element": [{"path": kind}, *elements]},
        **more,
    }


def sliced(path: str, kind: str, at: str, **more: Any) -> dict[str, Any]:
    """Return an element that is sliced by one discriminator."""
    slicing = {"discriminator": [{"type": kind, "path": at}], "rules": "open", **more}
    return {"path": path, "slicing": slicing}


def validate(resource: Mapping[str, Any], *profiles: dict[str, Any]) -> list[Finding]:
    """Return the errors of a resource by the first of some profiles."""
    known = {one["url"]: one for one in profiles}
    library = ProfileLibrary(lambda url, version: known.get(url))
    found = library.validate(resource, [profiles[0]["url"]], now=NOW)
    return [one for one in found if one.severity == "error"]


def faults(resource: Mapping[str, Any], *profiles: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the code and the place of each error."""
    return [(one.code, one.expression) for one in validate(resource, *profiles)]


def patient(**content: Any) -> dict[str, Any]:
    """Return a patient."""
    return {"resourceType": "Patient", **content}


def observation(**content: Any) -> dict[str, Any]:
    """Return an observation."""
    return {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, **content}


def identifiers(*systems: str) -> list[dict[str, Any]]:
    """Return identifiers of some systems."""
    return [{"system": f"http://e.org/{name}", "value": "1"} for name in systems]


def of_system(name: str, slice_name: str = "", **more: Any) -> list[dict[str, Any]]:
    """Return the elements of a slice of identifiers."""
    path = "Patient.identifier"
    return [
        {"path": path, "sliceName": slice_name or name, **more},
        {"path": f"{path}.system", "fixedUri": f"http://e.org/{name}"},
    ]


BY_SYSTEM = sliced("Patient.identifier", "value", "system")


def test_a_slice_by_value_is_required_and_limited() -> None:
    card = profile("Patient", BY_SYSTEM, *of_system("a", min=1, max="1"), *of_system("b", max="0"))

    assert faults(patient(identifier=identifiers("a", "c")), card) == []
    assert faults(patient(identifier=identifiers("c")), card) == [
        ("required", "Patient.identifier")
    ]
    assert faults(patient(), card) == [("required", "Patient.identifier")]
    assert faults(patient(identifier=identifiers("a", "a", "b")), card) == [
        ("structure", "Patient.identifier"),
        ("structure", "Patient.identifier"),
    ]


def test_what_a_slice_says_is_asked_of_its_values_alone() -> None:
    period = {"path": "Patient.identifier.period", "min": 1}
    card = profile("Patient", BY_SYSTEM, *of_system("a"), period, *of_system("b"))

    found = faults(patient(identifier=identifiers("b", "a", "c")), card)

    assert found == [("required", "Patient.identifier[1].period")]


@pytest.mark.parametrize(
    ("slicing", "systems", "place"),
    [
        ({"rules": "closed"}, ("a", "c"), "Patient.identifier[1]"),
        ({"rules": "openAtEnd"}, ("c", "a"), "Patient.identifier[1]"),
        ({"rules": "openAtEnd"}, ("a", "c"), None),
        ({"rules": "open", "ordered": True}, ("b", "a"), "Patient.identifier[1]"),
        ({"rules": "open", "ordered": True}, ("a", "b", "b"), None),
    ],
)
def test_the_rules_of_a_slicing_are_kept(
    slicing: dict[str, Any], systems: tuple[str, ...], place: str | None
) -> None:
    by_system = sliced("Patient.identifier", "value", "system", **slicing)
    card = profile("Patient", by_system, *of_system("a"), *of_system("b"))

    found = faults(patient(identifier=identifiers(*systems)), card)

    assert found == ([("structure", place)] if place else [])


def test_a_slice_by_pattern_takes_what_has_more() -> None:
    pattern = {"coding": [{"system": "http://e.org/c", "code": "x"}]}
    category = "Observation.category"
    marked = profile(
        "Observation",
        sliced(category, "pattern", "$this"),
        {"path": category, "sliceName": "x", "min": 1, "patternCodeableConcept": pattern},
    )
    more = {"text": "t", "coding": [{"code": "y"}, {**pattern["coding"][0], "display": "X"}]}

    assert faults(observation(category=[more]), marked) == []
    assert faults(observation(category=[{"coding": [{"code": "x"}]}]), marked) == [
        ("required", "Observation.category")
    ]


def test_a_slice_by_type_takes_the_values_of_a_datatype() -> None:
    value = "Observation.value[x]"
    typed = profile(
        "Observation",
        sliced(value, "type", "$this", rules="closed"),
        {"path": value, "sliceName": "valueQuantity", "type": [{"code": "Quantity"}]},
        {"path": f"{value}.unit", "min": 1},
    )

    assert faults(observation(valueQuantity={"value": 1, "unit": "kg"}), typed) == []
    assert faults(observation(valueQuantity={"value": 1}), typed) == [
        ("required", "Observation.valueQuantity.unit")
    ]
    assert faults(observation(valueString="x"), typed) == [("structure", "Observation.valueString")]


def test_a_slice_by_the_type_of_what_is_referred_to() -> None:
    performer = "Observation.performer"
    people = profile(
        "Observation",
        sliced(performer, "type", "resolve()"),
        {
            "path": performer,
            "sliceName": "who",
            "min": 1,
            "type": [{"code": "Reference", "targetProfile": [f"{BASE}Practitioner"]}],
        },
    )

    assert faults(observation(performer=[{"reference": "Practitioner/1"}]), people) == []
    assert faults(observation(performer=[{"reference": "Organization/1"}]), people) == [
        ("required", "Observation.performer")
    ]


def test_a_slice_by_profile_takes_what_meets_it() -> None:
    named = profile("Patient", {"path": "Patient.name", "min": 1}, url="http://e.org/named")
    entry = "Bundle.entry"
    document = profile(
        "Bundle",
        sliced(entry, "profile", "resource"),
        {"path": entry, "sliceName": "patient", "min": 1},
        {
            "path": f"{entry}.resource",
            "type": [{"code": "Patient", "profile": ["http://e.org/named"]}],
        },
    )

    def bundle(**content: Any) -> dict[str, Any]:
        entries = [{"resource": patient(**content), "fullUrl": "urn:uuid:1"}]
        return {"resourceType": "Bundle", "type": "collection", "entry": entries}

    assert faults(bundle(name=[{"text": "x"}]), document, named) == []
    assert faults(bundle(), document, named) == [("required", "Bundle.entry")]


def test_a_slice_by_existence_takes_what_has_the_element() -> None:
    old = profile(
        "Patient",
        sliced("Patient.identifier", "exists", "period"),
        {"path": "Patient.identifier", "sliceName": "old", "max": "1"},
        {"path": "Patient.identifier.period", "min": 1},
    )
    with_period = {"value": "1", "period": {"start": "2020-01-01"}}

    assert faults(patient(identifier=[with_period, {"value": "2"}]), old) == []
    assert faults(patient(identifier=[with_period, with_period]), old) == [
        ("structure", "Patient.identifier")
    ]


def test_a_slice_of_a_slice_is_checked() -> None:
    inner = [
        {**sliced("Patient.identifier", "value", "use"), "sliceName": "a"},
        {"path": "Patient.identifier.system", "fixedUri": "http://e.org/a"},
        {"path": "Patient.identifier", "sliceName": "a/old"},
        {"path": "Patient.identifier.use", "fixedCode": "old"},
        {"path": "Patient.identifier.period", "min": 1},
    ]
    card = profile("Patient", BY_SYSTEM, *inner)
    (old,) = identifiers("a")

    assert faults(patient(identifier=[old]), card) == []
    assert faults(patient(identifier=[{**old, "use": "old"}]), card) == [
        ("required", "Patient.identifier[0].period")
    ]


def test_a_reference_within_a_bundle_must_lead_to_the_profile() -> None:
    named = profile("Patient", {"path": "Patient.name", "min": 1}, url="http://e.org/named")
    subject = {
        "path": "Observation.subject",
        "type": [{"code": "Reference", "targetProfile": ["http://e.org/named"]}],
    }
    result = profile("Observation", subject)

    def contained(**content: Any) -> dict[str, Any]:
        return observation(
            subject={"reference": "#p"},
            contained=[{"resourceType": "Patient", "id": "p", **content}],
        )

    assert faults(contained(name=[{"text": "x"}]), result, named) == []
    assert faults(contained(), result, named) == [("value", "Observation.subject.reference")]


@pytest.mark.parametrize(
    "odd",
    [
        profile("Patient", baseDefinition=URL),
        profile("Patient", baseDefinition="http://e.org/unknown"),
        profile("Patient", {"path": "Patient.nothing", "min": 1}),
        profile("Patient", {"path": "Observation.code"}),
        profile("Patient", {"path": "Patient.deceased[x].x.y"}),
        profile("Patient", snapshot={"element": [{"path": "Patient"}, {"path": "Patient.a.b"}]}),
        profile("Patient", *[{"path": "Patient.name"}] * 1001),
    ],
)
def test_a_profile_that_cannot_be_read_is_a_warning(odd: dict[str, Any]) -> None:
    library = ProfileLibrary(lambda url, version: odd if url == URL else None)

    (warning,) = (
        one for one in library.validate(patient(), [URL], now=NOW) if one.code == "not-found"
    )

    assert warning.severity == "warning"
    assert warning.text.startswith(f"It was not checked against the profile {URL}: ")


def test_profiles_that_name_each_other_end() -> None:
    link = {
        "path": "Patient.link.other",
        "type": [{"code": "Reference", "targetProfile": [URL]}],
    }
    round_profile = profile("Patient", link)
    inner = {"resourceType": "Patient", "id": "p", "link": [
        {"other": {"reference": "#p"}, "type": "seealso"}]}  # fmt: skip
    outer = patient(contained=[inner], link=[{"other": {"reference": "#p"}, "type": "seealso"}])

    assert faults(outer, round_profile) == []


def test_a_rule_that_cannot_be_evaluated_is_told_as_that() -> None:
    rules = [
        {"key": "x-1", "severity": "error", "human": "x", "expression": expression}
        for expression in ("nothing(", "name.given.single() = 'x' and 1 + 'a'")
    ]
    odd = profile("Patient", {"path": "Patient.active", "constraint": rules})
    known = {URL: odd}
    library = ProfileLibrary(lambda url, version: known.get(url))

    found = library.validate(patient(active=True), [URL], now=NOW)

    assert [one.severity for one in found if "x-1" in one.text] == ["information"]


def test_a_profile_of_another_type_is_an_error() -> None:
    assert faults(observation(), profile("Patient")) == [("structure", "Observation")]


def test_slices_that_cannot_be_told_apart_are_told_as_that() -> None:
    vague = profile(
        "Patient",
        sliced("Patient.identifier", "value", "use"),
        {"path": "Patient.identifier", "sliceName": "a", "min": 1},
    )
    library = ProfileLibrary(lambda url, version: vague if url == URL else None)

    found = library.validate(patient(identifier=identifiers("a")), [URL], now=NOW)

    assert [one.severity for one in found if "told apart" in one.text] == ["information"]
