"""US Core's examples meet their profiles, and every generated fault in them is found."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ehr_fhir.profiles.findings import Finding
from ehr_fhir.profiles.library import ProfileLibrary
from ehr_fhir.profiles.r4 import find_r4_structure
from ehr_fhir.profiles.snapshot import with_snapshot
from ehr_fhir.profiles.structure import element_ids
from tests.lib.us_core import BASE, UsCore, read_us_core

NOW = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)
# Snapshots of ours that say other than HL7's publisher's, and why.
OTHER_SNAPSHOTS = {
    # A choice inside a slice that is narrowed by `valueQuantity`: ours slices it, closed, the
    # publisher's has the one datatype alone. Both take the same values.
    "us-core-blood-pressure": "value[x]",
    "us-core-pulse-oximetry": "value[x]",
    "us-core-observation-occupation": "value[x]",
    # Slices that the publisher makes of R4's element, ours of the profile's. What the profile says
    # of all agents is checked of each of them either way.
    "us-core-provenance": "agent",
    # Constrains a profile of another package.
    "us-core-questionnaireresponse": "",
}


@pytest.fixture(scope="module")
def us_core(shared_data: Path) -> UsCore:
    """Return the package."""
    return read_us_core(shared_data)


@pytest.fixture(scope="module")
def library(us_core: UsCore) -> ProfileLibrary:
    """Return a library with its definitions."""
    return us_core.library()


def errors(found: list[Finding]) -> list[tuple[str, str]]:
    """Return the code and the place of each error."""
    return [(one.code, one.expression) for one in found if one.severity == "error"]


def test_every_example_meets_its_profiles(us_core: UsCore, library: ProfileLibrary) -> None:
    faults = {
        name: errors(library.validate(example, now=NOW))
        for name, example in us_core.examples.items()
    }

    assert len(faults) == 183
    assert {name: found for name, found in faults.items() if found} == {}


def test_a_profile_that_is_not_loaded_is_a_warning(
    us_core: UsCore, library: ProfileLibrary
) -> None:
    found = library.validate(us_core.examples["Questionnaire-phq-9-example"], now=NOW)

    (finding,) = (one for one in found if one.code == "not-found")
    assert (finding.severity, finding.expression) == ("warning", "Questionnaire.meta.profile[0]")


def test_what_a_profile_requires_is_missed(us_core: UsCore, library: ProfileLibrary) -> None:
    asked = 0
    for name, example in us_core.examples.items():
        for profile in _profiles(us_core, example):
            for element in profile["snapshot"]["element"][1:]:
                kind, _, key = element["path"].partition(".")
                if not element["min"] or "sliceName" in element or "." in key:
                    continue
                broken = _without(example, key.removesuffix("[x]"))
                found = errors(library.validate(broken, now=NOW))
                place = f"{kind}.{key.removesuffix('[x]')}"
                assert ("required", place) in found, (name, place)
                asked += 1
    assert asked > 400


def test_a_slice_that_a_profile_requires_is_missed(
    us_core: UsCore, library: ProfileLibrary
) -> None:
    asked = set()
    for name, example in us_core.examples.items():
        for profile in _profiles(us_core, example):
            for element in profile["snapshot"]["element"]:
                key = element["path"].partition(".")[2]
                if not element["min"] or ":" not in element["id"] or "." in key or "[x]" in key:
                    continue
                # All values of it are of no slice any more.
                broken = copy.deepcopy(dict(example))
                _replace_codes(broken[key])
                found = library.validate(broken, now=NOW)
                missed = [one for one in found if f"{key}:{element['sliceName']} " in one.text]
                assert [one.code for one in missed] == ["required"], (name, element["id"])
                asked.add((profile["id"], element["id"]))
    assert len(asked) >= 15


def test_a_value_other_than_the_pattern_is_found(us_core: UsCore, library: ProfileLibrary) -> None:
    asked = set()
    for name, example in us_core.examples.items():
        for profile in _profiles(us_core, example):
            for element in profile["snapshot"]["element"]:
                kind, _, key = element["path"].partition(".")
                pattern = element.get("patternCodeableConcept")
                if pattern is None or "sliceName" in element or "." in key or key not in example:
                    continue
                broken = copy.deepcopy(dict(example))
                _replace_codes(broken[key])
                assert ("value", f"{kind}.{key}") in errors(library.validate(broken, now=NOW)), name
                asked.add(profile["id"])
    assert len(asked) >= 15


def test_a_code_outside_a_required_value_set_is_found(
    us_core: UsCore, library: ProfileLibrary
) -> None:
    smoking = copy.deepcopy(dict(us_core.examples["Observation-some-day-smoker"]))
    smoking["status"] = "registered"

    # R4 has the code, the profile's value set not.
    assert errors(library.validate(smoking, now=NOW)) == [("code-invalid", "Observation.status")]


def test_a_reference_to_another_type_than_the_profile_has_is_found(
    us_core: UsCore, library: ProfileLibrary
) -> None:
    pulse = copy.deepcopy(dict(us_core.examples["Observation-heart-rate"]))
    pulse["subject"] = {"reference": "Group/1"}

    found = errors(library.validate(pulse, now=NOW))
    assert found == [("value", "Observation.subject.reference")]


def test_a_datatype_that_a_profile_leaves_out_is_found(
    us_core: UsCore, library: ProfileLibrary
) -> None:
    status = copy.deepcopy(dict(us_core.examples["Observation-pregnancy-status"]))
    status.pop("valueCodeableConcept")
    status["valueString"] = "x"

    assert ("structure", "Observation.valueString") in errors(library.validate(status, now=NOW))


def test_a_rule_of_a_profile_is_checked(us_core: UsCore, library: ProfileLibrary) -> None:
    nameless = copy.deepcopy(dict(us_core.examples["Patient-example"]))
    nameless["name"] = [{"use": "old", "text": "SECRET"}]

    found = [one for one in library.validate(nameless, now=NOW) if one.severity == "error"]

    (finding,) = found
    assert (finding.code, finding.expression) == ("invariant", "Patient.name[0]")
    assert finding.text.startswith("Rule us-core-6: ")
    assert "SECRET" not in finding.text


def test_an_extension_is_judged_by_its_definition(us_core: UsCore, library: ProfileLibrary) -> None:
    patient = copy.deepcopy(dict(us_core.examples["Patient-example"]))
    race = next(one for one in patient["extension"] if one["url"] == f"{BASE}us-core-race")
    race["extension"] = [one for one in race["extension"] if one["url"] != "text"]
    place = f"Patient.extension[{patient['extension'].index(race)}]"
    elsewhere = copy.deepcopy(dict(us_core.examples["Encounter-example-1"]))
    elsewhere["extension"] = [{"url": f"{BASE}us-core-birthsex", "valueCode": "F"}]

    assert errors(library.validate(patient, now=NOW)) == [("required", f"{place}.extension")]
    assert ("extension", "Encounter.extension[0]") in errors(library.validate(elsewhere, now=NOW))


def test_a_snapshot_is_made_as_the_publisher_makes_it(us_core: UsCore) -> None:
    bare = {
        url: {key: value for key, value in structure.items() if key != "snapshot"}
        for url, structure in us_core.structures.items()
    }

    def find(canonical: str) -> Mapping[str, Any] | None:
        url = canonical.partition("|")[0]
        return find_r4_structure(url) or bare.get(url)

    same = 0
    for url, structure in us_core.structures.items():
        if structure["id"] in OTHER_SNAPSHOTS:
            continue
        made = with_snapshot(bare[url], find)["snapshot"]["element"]
        published = structure["snapshot"]["element"]
        assert _facets(made) == _facets(published), url
        same += 1
    assert same == 54


def test_a_profile_of_a_differential_alone_is_as_strict(us_core: UsCore) -> None:
    bare = UsCore(
        {
            url: {key: value for key, value in structure.items() if key != "snapshot"}
            for url, structure in us_core.structures.items()
        },
        us_core.terminology,
        us_core.examples,
    )
    whole, made = us_core.library(), bare.library()
    for name in (
        "Observation-blood-pressure",
        "Patient-example",
        "Provenance-example-targeted-provenance",
    ):
        example = us_core.examples[name]
        assert errors(made.validate(example, now=NOW)) == []
        for key in example.keys() - {"resourceType", "meta"}:
            broken = _without(example, key)
            expected = sorted(errors(whole.validate(broken, now=NOW)))
            assert sorted(errors(made.validate(broken, now=NOW))) == expected, (name, key)


def _profiles(us_core: UsCore, example: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for url in example.get("meta", {}).get("profile", ()):
        if url.partition("|")[0] in us_core.structures:
            yield us_core.structures[url.partition("|")[0]]


def _without(example: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an example without an element, whatever its datatype."""
    return {
        key: value
        for key, value in example.items()
        if not (
            key.removeprefix("_") == name
            or (
                key.removeprefix("_").startswith(name)
                and key.removeprefix("_")[len(name)].isupper()
            )
        )
    }


def _replace_codes(value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("code", "system") and isinstance(inner, str):
                value[key] = "urn:other"
            _replace_codes(inner)
    for item in value if isinstance(value, list) else ():
        _replace_codes(item)


def _facets(elements: list[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    return {
        identity: (
            element.get("min", 0),
            element.get("max", "*"),
            [
                (kind["code"], kind.get("profile"), kind.get("targetProfile"))
                for kind in element.get("type", ())
            ],
            element.get("binding", {}).get("strength"),
            element.get("binding", {}).get("valueSet"),
            {key: value for key, value in element.items() if key.startswith(("fixed", "pattern"))},
            sorted(
                rule["key"]
                for rule in element.get("constraint", ())
                if rule["key"] not in ("ele-1", "ext-1")
            ),
            element.get("slicing", {}).get("rules"),
            element.get("contentReference", "").rpartition("#")[2],
        )
        for identity, element in zip(element_ids(elements), elements, strict=True)
    }
