"""Nothing that carries meaning is lost: every element of every described type is on its page.

Generated from R4's definitions: a resource is filled in every element (modifier and must-support
ones among them), and each value is looked for in three languages, for both readers. What a page
leaves out is listed in descriptions.toml with the reason.
"""

from __future__ import annotations

import html
import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from ehr_fhir import definitions
from ehr_portal.i18n import LANGUAGES
from ehr_portal.record.code_texts import has_code_text
from ehr_portal.record.datatypes import has_formatter
from ehr_portal.record.descriptions import (
    describe_type,
    described_types,
    left_out_of_part,
    part_order,
)
from ehr_portal.record.labels import label_of
from ehr_portal.record.sections import SECTIONS, TYPE_TITLES
from tests.lib.full_resource import FullResource, Told, choices_of
from tests.lib.portal_house import PortalHouse

MUST_SUPPORT = Path(__file__).parents[2] / "data" / "must_support.json"
# The types of CONSENT.md's domains that have no page, with the reason.
WITHOUT_PAGE = {
    "Account": "billing",
    "AppointmentResponse": "repeated in the Appointment's participants",
    "Basic": "has no agreed meaning",
    "Binary": "shown where a record refers to it",
    "Bundle": "a container",
    "Claim": "billing",
    "ClaimResponse": "billing",
    "Coverage": "billing",
    "DocumentManifest": "a list of documents, which are shown themselves",
    "ExplanationOfBenefit": "billing",
    "Person": "links accounts of one person",
    "ReferralRequest": "no type of R4",
}
# Shown on other pages than in a section: with what names them, or at the head of the record.
NOT_IN_A_SECTION = {"Medication", "Patient", "Provenance", "RelatedPerson", "RiskAssessment"}
# Must-support elements that a page leaves out all the same, reviewed one by one.
REVIEWED = {
    "subject": "the page is this patient's",
    "patient": "the page is this patient's",
    "Patient.identifier": "the card number is at the head of the record, its middle hidden",
    "QuestionnaireResponse.item.linkId": "number of the question, for software",
}
TYPES = [name for name in described_types() if name != "Medication"]


@pytest.mark.parametrize("resource_type", TYPES)
@pytest.mark.parametrize("who", ["patient", "doctor"])
def test_every_element_is_on_the_page_in_three_languages(resource_type: str, who: str) -> None:
    for choices in choices_of(resource_type):
        full = FullResource(resource_type, "pat-1", choices)
        resource = of_the_patient(full.build())
        for language in LANGUAGES:
            page = item_page(resource, who, language.tag)
            lost = [
                (told.path, told.text(language.tag))
                for told in full.told
                if not is_left_out(told) and told.text(language.tag) not in page
            ]
            assert lost == [], language.tag


def test_a_medicine_is_told_where_it_is_named() -> None:
    full = FullResource("Medication", "pat-1")
    medication = {**full.build(), "id": "m-9"}
    order = {
        "resourceType": "MedicationRequest",
        "id": "full-1",
        "subject": {"reference": "Patient/pat-1"},
        "medicationReference": {"reference": "Medication/m-9"},
    }
    contained = {
        **order,
        "contained": [{**medication, "id": "inner"}],
        "medicationReference": {"reference": "#inner"},
    }

    for resource in (order, contained):
        page = item_page(resource, "patient", "en", medication)
        assert [told.path for told in full.told if told.text("en") not in page] == []


@pytest.mark.parametrize("resource_type", described_types())
def test_each_element_of_a_type_is_described_or_left_out_with_a_reason(resource_type: str) -> None:
    description = describe_type(resource_type)
    assert description
    names = {element.name for element in definitions.json_elements(resource_type).values()}
    # Told by the renderer of all types.
    told = {"implicitRules", "modifierExtension", "text"}

    assert names - told - {*description.shown, *description.title} == set(description.left_out)
    assert all(description.left_out.values())


@pytest.mark.parametrize("resource_type", described_types())
def test_no_modifier_element_is_ever_left_out(resource_type: str) -> None:
    description = describe_type(resource_type)
    assert description
    for owner in owners_of(resource_type):
        modifiers = {
            name.removesuffix("[x]") for name in definitions.marked_elements(owner, "isModifier")
        }
        reasons = description.left_out if owner == resource_type else left_out_of_part(owner)
        assert modifiers & set(reasons) == set(), owner


@pytest.mark.parametrize("resource_type", described_types())
def test_no_must_support_element_is_left_out_unreviewed(resource_type: str) -> None:
    left = []
    for path in must_support().get(resource_type, ()):
        owner, name = resource_type, ""
        for name in path.split("."):
            reasons = (
                describe_type(owner).left_out  # type: ignore[union-attr]
                if owner == resource_type
                else left_out_of_part(owner)
            )
            is_reviewed = name in REVIEWED or f"{owner}.{name}" in REVIEWED
            if name.removesuffix("[x]") in reasons and not is_reviewed:
                left.append(f"{owner}.{name}")
            owner = next(
                (
                    element.type
                    for element in definitions.json_elements(owner).values()
                    if element.name == name.removesuffix("[x]")
                ),
                "",
            )
            if "." not in owner:
                # What stands inside a datatype is the datatype's own text.
                break

    assert left == []


@pytest.mark.parametrize("resource_type", described_types())
def test_each_shown_element_has_a_label_a_text_and_words_for_its_codes(resource_type: str) -> None:
    description = describe_type(resource_type)
    assert description
    lacking = []
    for owner in owners_of(resource_type):
        names = description.shown if owner == resource_type else part_order(owner)
        for element in definitions.json_elements(owner).values():
            if element.name not in names:
                continue
            if label_of(owner, element.name) is None:
                lacking.append(f"label of {owner}.{element.name}")
            is_told = has_formatter(element.type) or element.type in definitions.elements()
            if not is_told:
                lacking.append(f"text of {element.type} in {owner}.{element.name}")
            codes = definitions.required_codes(owner, element.name) or frozenset()
            if element.type == "code":
                place = f"{owner}.{element.name}"
                lacking += [f"{place} {code}" for code in codes if not has_code_text(place, code)]

    assert lacking == []


def test_each_type_of_every_domain_has_a_page_or_a_reason() -> None:
    types = {
        name
        for name in definitions.load_definition("patient-compartment.json")
        if name in domain_types()
    }

    assert types - set(described_types()) - set(WITHOUT_PAGE) == set()
    assert set(WITHOUT_PAGE) & set(described_types()) == set()
    assert set(described_types()) - set(TYPE_TITLES) == set()


def test_each_described_type_is_in_a_section() -> None:
    searched = {search.resource_type for section in SECTIONS for search in section.searches}

    assert set(described_types()) - searched == NOT_IN_A_SECTION


@pytest.mark.parametrize("resource_type", TYPES)
def test_a_condition_that_nobody_here_knows_is_a_warning(resource_type: str) -> None:
    resource = of_the_patient(FullResource(resource_type, "pat-1").build())
    unknown = {"url": "https://example.org/only-if-fasting", "valueString": "zq-unknown"}
    resource["modifierExtension"] = [unknown]
    resource["implicitRules"] = "https://example.org/rules"

    page = item_page(resource, "patient", "en")

    assert "https://example.org/only-if-fasting" in page
    assert "zq-unknown" in page
    assert "https://example.org/rules" in page


def test_a_condition_deep_in_a_record_is_a_warning_too() -> None:
    dosage = {"text": "x", "modifierExtension": [{"url": "https://example.org/deep"}]}
    resource = {
        "resourceType": "MedicationRequest",
        "id": "full-1",
        "subject": {"reference": "Patient/pat-1"},
        "dosageInstruction": [dosage],
    }

    assert "https://example.org/deep" in item_page(resource, "patient", "en")


def item_page(resource: dict[str, Any], who: str, language: str, *others: dict[str, Any]) -> str:
    """Return the text of a record's own page."""
    house, browser = logged_in(who, language)
    for each in (resource, *others):
        house.fake.resources[(each["resourceType"], each["id"])] = each
    base = "/record" if who == "patient" else "/patients/pat-1"
    path = f"{base}/item/{resource['resourceType']}/{resource['id']}"
    answer = browser.get(path)
    assert answer.status_code == 200, answer.text
    text = re.sub(r"<(?:span|/span|em|/em)[^>]*>", "", answer.text)
    return html.unescape(re.sub(r"<[^>]+>", " ", text)).replace("\u00a0", " ")


@cache
def logged_in(who: str, language: str) -> tuple[PortalHouse, TestClient]:
    """Return a portal with one reader in one language: logging in for each page is slow."""
    house = PortalHouse()
    return house, house.log_in(who, language)


def of_the_patient(resource: dict[str, Any]) -> dict[str, Any]:
    """Return a full resource as one of the patient's, where the patient is not its subject."""
    patient = {"reference": "Patient/pat-1"}
    match resource["resourceType"]:
        case "Patient":
            resource["id"] = "pat-1"
        case "Appointment":
            resource["participant"].append({"actor": patient})
        case "Provenance":
            resource["target"].append(patient)
    return resource


def is_left_out(told: Told) -> bool:
    """Return whether a page may leave an element out, by the reviewed lists."""
    owner, _, key = told.path.rpartition(".")
    element = definitions.json_elements(owner)[key]
    description = describe_type(owner)
    reasons = description.left_out if description else left_out_of_part(owner)
    return element.name in reasons or any(
        part in left_out_of_part(above) for above, part in _ways_to(owner)
    )


def owners_of(resource_type: str) -> Iterator[str]:
    """Yield a resource type and its parts, as far as a page shows them."""
    for owner in definitions.elements():
        if owner == resource_type:
            yield owner
        elif owner.startswith(f"{resource_type}."):
            ways = list(_ways_to(owner))
            description = describe_type(resource_type)
            assert description
            first = owner.split(".")[1]
            if first in description.left_out:
                continue
            if not any(part in left_out_of_part(above) for above, part in ways):
                yield owner


def _ways_to(owner: str) -> Iterator[tuple[str, str]]:
    parts = owner.split(".")
    for end in range(2, len(parts)):
        yield ".".join(parts[:end]), parts[end]


def must_support() -> dict[str, list[str]]:
    """Return the must-support elements of US Core and IPS by resource type."""
    data: dict[str, Any] = json.loads(MUST_SUPPORT.read_text("utf-8"))
    merged: dict[str, list[str]] = {}
    for guide in data["guides"]:
        for resource_type, paths in guide["elements"].items():
            merged.setdefault(resource_type, []).extend(paths)
    return merged


@cache
def domain_types() -> frozenset[str]:
    """Return the resource types that the rules of consent name a data domain of."""
    rules = Path(__file__).parents[3] / "privacy" / "ehr_privacy" / "rules" / "domains.toml"
    table = tomllib.loads(rules.read_text("utf-8"))
    return frozenset({*table["types"], *table["doubt"]})
