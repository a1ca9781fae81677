"""Faults that are put into HL7's examples are found where they are; no text repeats a value."""

from __future__ import annotations

import copy
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ehr_fhir import definitions, fhirpath
from ehr_fhir.profiles.library import ProfileLibrary
from ehr_fhir.profiles.r4 import TYPE_BASE, find_r4_profile
from ehr_fhir.profiles.value_checks import HOLDS_WITHOUT
from tests.lib.examples import INVALID, examples
from tests.lib.faults import make_faults
from tests.lib.minimal import minimal_value
from tests.lib.us_core import read_us_core

NOW = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)
# Wrong in whatever resource and place.
ALWAYS_WRONG = {
    "text where an object is",
    "number where text is",
    "object where a list is",
    "unknown element",
    "empty object",
    "impossible date",
    "reference to nothing contained",
}
# Examples of R4 in which there are errors, and where.
ERRORS_OF_R4 = {
    "Basic/referral": "modifierExtension",
    "Questionnaire/phq-9-questionnaire": "extension[0]",
    "Bundle/hla-1": "extension[1].extension[1]",
}


def test_the_examples_of_r4_have_the_errors_that_hl7_s_validator_finds(shared_data: Path) -> None:
    library, relative = ProfileLibrary(), 0
    for example in examples(shared_data):
        errors = [
            one for one in library.validate(example.content, now=NOW) if one.severity == "error"
        ]
        if errors and all("canonical" in one.text for one in errors):
            # Addresses such as `Library/example`, which R4's own text forbids.
            relative += 1
            continue
        known = INVALID.get(example.address) or ERRORS_OF_R4.get(example.address)
        assert bool(errors) is bool(known), (example.address, errors)
        assert all(known is not None and known in one.expression for one in errors)
    assert relative == 20


def test_every_fault_is_found(shared_data: Path) -> None:
    library, asked = ProfileLibrary(), Counter[str]()
    for example in examples(shared_data)[::3]:
        if example.address in INVALID or example.content["resourceType"] in (
            "Bundle",
            "Parameters",
        ):
            continue
        before = library.validate(example.content, now=NOW)
        for fault in make_faults(example.content, example.address, 4):
            found = set(library.validate(fault.resource, now=NOW)) - set(before)
            if fault.kind in ALWAYS_WRONG:
                errors = [one.expression for one in found if one.severity == "error"]
                holder = fault.path.rpartition(".")[0]
                assert any(one.startswith(holder) for one in errors), (example.address, fault[:2])
                asked[fault.kind] += 1
    assert asked.keys() == ALWAYS_WRONG
    assert asked.total() > 150


def test_no_text_repeats_a_value(shared_data: Path) -> None:
    us_core = read_us_core(shared_data)
    library = us_core.library()
    for name, example in us_core.examples.items():
        marked = _mark(copy.deepcopy(dict(example)))
        texts = [one.text for one in library.validate(marked, now=NOW)]
        assert texts
        assert not any("S3CRET" in text for text in texts), name


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"period": {"start": "2021-01-01", "end": "2020-01-01"}}, ("invariant", "period")),
        ({"subject": {"reference": "#none"}}, ("invariant", "subject")),
        ({"hospitalization": {"dischargeDisposition": {"coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/discharge-disposition",
            "code": "none"}]}}},
         ("code-invalid", "hospitalization.dischargeDisposition.coding[0].code")),
        ({"class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "x"}},
         ("code-invalid", "class.code")),
        ({"contained": [{"resourceType": "Patient", "id": "p"}]}, ("invariant", "")),
        ({"modifierExtension": [{"url": "http://e.org/x", "valueCode": "x"}]},
         ("extension", "modifierExtension[0]")),
        ({"extension": [{"url": f"{TYPE_BASE}patient-birthPlace",
                         "valueAddress": {"city": "x"}}]}, ("extension", "extension[0]")),
        ({"length": {"value": 1, "code": "d"}}, ("invariant", "length")),
    ],
)  # fmt: skip
def test_a_rule_of_r4_that_is_broken_is_found(
    content: dict[str, Any], expected: tuple[str, str]
) -> None:
    sound = {
        "resourceType": "Encounter",
        "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
    }
    library = ProfileLibrary()
    assert [one for one in library.validate(sound, now=NOW) if one.severity == "error"] == []

    found = library.validate({**sound, **content}, now=NOW)

    code, element = expected
    place = f"Encounter.{element}".removesuffix(".")
    errors = [(one.code, one.expression) for one in found if one.severity == "error"]
    assert (code, place) in errors


@pytest.mark.parametrize("key", HOLDS_WITHOUT)
def test_a_rule_that_is_passed_over_holds_without_its_key(key: str) -> None:
    asked = 0
    for owner in sorted(definitions.elements()):
        profile = find_r4_profile(TYPE_BASE + owner)
        rules = [] if profile is None else profile.root.definition.constraints
        for rule in (one for one in rules if one.key == key):
            whole = {
                name: minimal_value(owner, name)
                for name, element in definitions.json_elements(owner).items()
                if not element.is_choice and name not in ("contained", HOLDS_WITHOUT[key])
            }
            content = {"resourceType": owner, **whole} if "meta" in whole else whole
            holder = {"resourceType": "Basic"} if content is whole else content
            found = fhirpath.compile(rule.expression, as_filters=True).evaluate(
                holder, now=NOW, context=fhirpath.Element(owner, content)
            )
            assert found in ([True], []), owner
            asked += 1
    assert asked


def _mark(node: Any) -> Any:
    """Put a mark into every text but types, codes, addresses and what leads to definitions."""
    if isinstance(node, dict):
        return {
            key: value
            if key in ("resourceType", "meta", "url", "system", "profile", "questionnaire")
            else _mark(value)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_mark(item) for item in node]
    return f"S3CRET{node}" if isinstance(node, str) else node
