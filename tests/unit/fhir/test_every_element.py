"""What holds of every element of every R4 type: a test made from the definitions."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ehr_fhir import definitions
from ehr_fhir.definitions import JsonElement
from ehr_fhir.errors import EhrError, Issue, Unprocessable
from ehr_fhir.validation.fast import is_valid_fast
from ehr_fhir.validation.strict import has_extensions
from ehr_fhir.validation.validate import validate
from tests.lib.elements import Holder, all_elements, holders
from tests.lib.minimal import minimal, minimal_value

SECRET = "Wong-Siu-Ming"
EMPTY_VALUES: tuple[Any, ...] = (None, "", " \t\n", {}, [], {"id": "x"})
EMPTY_EXTENSIONS: tuple[Any, ...] = (
    None,
    {},
    [],
    {"id": "x"},
    {"extension": []},
    {"extension": [{}]},
    {"extension": [{"url": "http://example.org/a"}]},
    {"extension": [{"url": "http://example.org/a", "valueString": ""}]},
)
FORBIDDEN: dict[str, tuple[Any, ...]] = {
    "base64Binary": ("====", "@@@@", "Zm9v!!!!", "Zm9", "Zm9v=", "_m-v", 1),
    "boolean": ("true", 1, 0),
    "canonical": ("a b", 1),
    "code": (" a", "a ", "a  b", 1),
    "date": ("2026-02-30", "2026-13", "26", "2026-1-1", "2026-01-01T00:00:00Z", "0000", 2026),
    "dateTime": ("2026-02-30", "2026-01-01T00:00", "2026-01-01T00:00:00", "2026-01-01T24:00:00Z"),
    "decimal": ("1.5", True),
    "id": ("a" * 65, "a_b", "a b", "é", 1),
    "instant": ("2026-01-01", "2026-01-01T00:00:00", "2026-02-30T00:00:00Z"),
    "integer": ("1", 1.5, True, 2**31, -(2**31) - 1),
    "markdown": (1, "x" * (1024 * 1024 + 1)),
    "oid": ("1.2", "urn:oid:3.1", "urn:oid:1.02"),
    "positiveInt": (0, -1, 2**31, "1", 1.0),
    "string": (1, True, "x" * (1024 * 1024 + 1), "\ud800"),
    "time": ("24:00:00", "10:00", "10:60:00"),
    "unsignedInt": (-1, 2**31, "1"),
    "uri": ("a b", 1),
    "url": ("a b", 1),
    "uuid": ("00000000-0000-4000-8000-000000000000", "urn:uuid:1", "urn:uuid:G"),
    "xhtml": ("x", "<div>x</div>", '<div xmlns="http://www.w3.org/1999/xhtml"> </div>', 1),
}


def issues_of(resource: dict[str, Any]) -> tuple[Issue, ...]:
    """Return what is said to be wrong; nothing tells any value."""
    assert not is_valid_fast(resource["resourceType"], resource), resource
    with pytest.raises(EhrError) as caught:
        validate(resource)
    assert isinstance(caught.value, Unprocessable)
    assert not any(SECRET in issue.diagnostics for issue in caught.value.issues)
    return caught.value.issues


def places_of_faults(resource: dict[str, Any]) -> list[str]:
    """Return the expressions of what is said to be wrong."""
    return [issue.expression or "" for issue in issues_of(resource)]


def elements_of(*kinds: str) -> Iterator[tuple[Holder, JsonElement]]:
    """Yield every element of some datatypes."""
    return ((holder, one) for holder, one in all_elements() if one.type in kinds)


def test_every_type_of_the_definitions_has_a_holder() -> None:
    reached = {holder.owner for holder in holders()}
    abstract = {"Resource", "DomainResource", "BackboneElement", "Quantity"}

    assert len(reached) > 600
    # Parts and datatypes alike; what is missing is abstract or a profile of Quantity.
    missing = {owner for owner in definitions.elements() if owner not in reached} - abstract
    assert {owner for owner in missing if "." in owner} == set()


def test_a_sound_value_of_every_element_is_taken() -> None:
    for holder, element in all_elements():
        resource = holder.with_element(element, minimal_value(holder.owner, element.key))
        validate(resource)
        # A reference that shows no type is looked at again.
        is_quick = is_valid_fast(resource["resourceType"], resource)
        assert is_quick or holder.owner == "Reference", resource


def test_nothing_is_empty() -> None:
    for holder, element in all_elements():
        place = holder.path(element)
        for empty in EMPTY_VALUES:
            for value in (empty, [empty]):
                found = places_of_faults(holder.with_element(element, value))
                assert any(one.startswith(place) for one in found), (place, value, found)


def test_no_extension_of_a_primitive_is_empty() -> None:
    for holder, element in all_elements():
        if not has_extensions(holder.owner, element.key):
            continue
        for empty in EMPTY_EXTENSIONS:
            value = [empty] if element.repeats else empty
            resource = holder.with_element(element, value, prefix="_")
            found = places_of_faults(resource)
            assert any(one.startswith(holder.path(element)) for one in found), (resource, found)


def test_only_primitives_have_extensions_beside_them() -> None:
    for holder, element in all_elements():
        if not has_extensions(holder.owner, element.key):
            value = minimal_value("Patient", "extension")
            resource = holder.with_element(element, {"extension": value}, prefix="_")
            found = places_of_faults(resource)
            assert any(one.rpartition(".")[2] == f"_{element.key}" for one in found), resource


def test_a_primitive_may_have_an_extension_alone() -> None:
    for holder, element in all_elements():
        if has_extensions(holder.owner, element.key):
            value = {"extension": minimal_value("Patient", "extension")}
            beside: Any = [value] if element.repeats else value
            resource = holder.with_element(element, beside, prefix="_")
            validate(resource)


@pytest.mark.parametrize("kind", sorted(FORBIDDEN))
def test_a_primitive_of_a_wrong_form_is_refused(kind: str) -> None:
    tried = 0
    for holder, element in elements_of(kind):
        if element.key == "id" and holder.owner not in definitions.resource_types():
            continue
        for number, value in enumerate(FORBIDDEN[kind]):
            if isinstance(value, str) and len(value) > 1000 and tried > 200:
                continue  # large values once in a while
            tried += number == 0
            resource = holder.with_element(element, [value] if element.repeats else value)
            found = issues_of(resource)
            place = holder.path(element)
            assert any((one.expression or "").startswith(place) for one in found), (found, value)
            assert not any(one.code == "required" for one in found)

    assert tried or kind in ("uuid",)


def test_an_element_that_is_missing_is_said_to_be_missing() -> None:
    for holder, element in all_elements():
        least = {
            name.removesuffix("[x]"): low
            for name, (_, low, _) in definitions.elements()[holder.owner].items()
        }
        if not least[element.name]:
            continue
        resource = holder.with_element(element, "dropped")
        node: Any = resource
        for key in holder.way:
            node = node[key][0] if isinstance(node[key], list) else node[key]
        del node[element.key]
        node.setdefault("id", "x")
        node["extension"] = minimal_value("Patient", "extension")
        with pytest.raises(Unprocessable) as caught:
            validate(resource)
        place = holder.path(element).removesuffix(element.key) + element.name
        found = [one for one in caught.value.issues if one.code == "required"]
        assert [one.expression for one in found] == [place]
        assert found[0].diagnostics == f"{place} is required."


def test_the_id_of_a_resource_has_64_characters_at_most_wherever_it_is() -> None:
    for identity, is_sound in (("a" * 64, True), ("a" * 65, False), ("a_b", False)):
        inner = {**minimal("Basic", identity)}
        whole = {
            "Basic.id": inner,
            "Patient.contained[0].id": {"resourceType": "Patient", "contained": [inner]},
            "Bundle.entry[0].resource.id": {
                "resourceType": "Bundle", "type": "collection", "entry": [{"resource": inner}]
            },
            "Parameters.parameter[0].resource.id": {
                "resourceType": "Parameters", "parameter": [{"name": "x", "resource": inner}]
            },
        }  # fmt: skip
        for place, resource in whole.items():
            if is_sound:
                validate(resource)
            else:
                assert places_of_faults(resource) == [place]


def references_to(target: str) -> dict[str, dict[str, Any]]:
    """Return a reference to a type in every form that shows it."""
    return {
        "relative": {"reference": f"{target}/{SECRET}"},
        "of a version": {"reference": f"{target}/a/_history/2"},
        "absolute": {"reference": f"https://example.org/fhir/{target}/a"},
        "conditional": {"reference": f"{target}?identifier=a|{SECRET}"},
        "contained": {"reference": "#inner"},
        "of an entry": {"reference": "urn:uuid:00000000-0000-4000-8000-000000000000"},
        "type alone": {"type": target},
        "type as an address": {"type": f"http://hl7.org/fhir/StructureDefinition/{target}"},
        "logical": {"type": target, "identifier": {"value": SECRET}},
        "type of another address": {"type": target, "reference": "urn:oid:1.2.3"},
    }


def with_reference(
    holder: Holder, element: JsonElement, reference: dict[str, Any], target: str
) -> dict[str, Any]:
    """Return a resource that has a reference in one element, and what `#inner` names."""
    resource = holder.with_element(element, [reference] if element.repeats else reference)
    if reference.get("reference") == "#inner":
        resource["contained"] = [minimal(target, "inner")]
    return resource


def check(resource: dict[str, Any], entry_types: dict[str, str]) -> str | None:
    """Return where the first fault is; the quick yes and the full check agree."""
    try:
        validate(resource, None, entry_types)
    except Unprocessable as error:
        assert not is_valid_fast(resource["resourceType"], resource, entry_types)
        assert SECRET not in str([issue.diagnostics for issue in error.issues])
        return error.issues[0].expression
    return None


def test_a_reference_names_only_types_that_its_element_allows() -> None:
    tried = 0
    for holder, element in elements_of("Reference"):
        allowed = definitions.reference_targets(holder.owner, element.name)
        kinds = sorted(allowed) if allowed is not None else ["Basic", "Patient"]
        cases = [(kinds[0], True), (kinds[-1], True)]
        if allowed is not None:
            cases.append(("Basic" if "Basic" not in allowed else "Flag", False))
        for target, is_allowed in cases:
            entry_types = {"urn:uuid:00000000-0000-4000-8000-000000000000": target}
            for form, reference in references_to(target).items():
                if form == "contained" and "contained" not in holder.resource_elements:
                    continue  # Bundle, Binary and Parameters hold no others this way
                resource = with_reference(holder, element, reference, target)
                found = check(resource, entry_types)
                if is_allowed:
                    assert found is None, (form, resource, found)
                else:
                    place = holder.path(element) + ("[0]" if element.repeats else "")
                    assert found in (f"{place}.reference", f"{place}.type"), (form, resource)
                    tried += 1

    assert tried > 5000


def test_references_inside_a_resource_kept_as_data_are_left_alone() -> None:
    allergy = {**minimal("AllergyIntolerance", "a"), "patient": {"reference": "Organization/x"}}

    validate({"resourceType": "Bundle", "type": "document", "entry": [{"resource": allergy}]})
    validate({"resourceType": "Parameters", "parameter": [{"name": "x", "resource": allergy}]})

    assert places_of_faults(allergy) == ["AllergyIntolerance.patient.reference"]


@pytest.mark.parametrize(
    ("reference", "element"),
    [
        ({"type": "Patiant"}, "type"),
        ({"type": "Resource"}, "type"),
        ({"type": "Patient", "reference": "Group/1"}, "type"),
        ({"type": "http://hl7.org/fhir/StructureDefinition/Bird"}, "type"),
        ({"type": "http://example.org/StructureDefinition/bird"}, None),
        ({"reference": "https://example.org/Bird/1"}, None),
        ({"reference": "#"}, "reference"),
    ],
)
def test_the_type_of_a_reference_is_one_of_r4_and_that_of_its_target(
    reference: dict[str, Any], element: str | None
) -> None:
    found = check({**minimal("Condition", "a"), "subject": reference}, {})

    assert found == (element and f"Condition.subject.{element}")


def test_the_definitions_are_those_that_were_published(shared_data: Path) -> None:
    """The tables that the tests above go by have every element of HL7's own files."""
    for name in ("profiles-types", "profiles-resources"):
        path = shared_data / "fhir-r4" / "definitions" / f"{name}.json.gz"
        for entry in json.loads(gzip.decompress(path.read_bytes()))["entry"]:
            definition = entry["resource"]
            if definition.get("derivation") == "constraint" or "snapshot" not in definition:
                continue
            if definition["kind"] not in ("resource", "complex-type"):
                continue
            for element in definition["snapshot"]["element"][1:]:
                owner, _, last = element["path"].rpartition(".")
                types, least, most = definitions.elements()[owner][last]
                assert (least, most) == (
                    element["min"],
                    0 if element["max"] == "*" else int(element["max"]),
                )
                targets = {
                    profile.rpartition("/")[2]
                    for kind in element.get("type", ())
                    if kind["code"] == "Reference"
                    for profile in kind.get("targetProfile", ())
                }
                if "Reference" in types:
                    allowed = definitions.reference_targets(owner, last.removesuffix("[x]"))
                    assert allowed == (targets - {"Resource"} or None), element["path"]
