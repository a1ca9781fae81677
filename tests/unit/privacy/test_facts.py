"""What the rules learn of a resource."""

from __future__ import annotations

from collections import Counter
from datetime import date
from gzip import open as gunzip
from json import loads
from pathlib import Path
from typing import Any

import pytest

from ehr_privacy.consent import record_facts
from ehr_privacy.consent.domain_rules import parse_domains

LISTS = "directory = []\ngathering = []\nclinical_date = []\n"
ANN = {"reference": "Patient/ann"}


def concept(*codes: str) -> list[dict[str, Any]]:
    return [{"coding": [{"code": code}]} for code in codes]


@pytest.mark.parametrize(
    ("resource", "domain"),
    [
        ({"resourceType": "Patient"}, "person"),
        ({"resourceType": "AllergyIntolerance"}, "allergy"),
        ({"resourceType": "Condition"}, "diagnosis"),
        ({"resourceType": "Procedure"}, "procedure"),
        ({"resourceType": "MedicationRequest"}, "medication"),
        ({"resourceType": "Encounter"}, "encounter"),
        ({"resourceType": "ExplanationOfBenefit"}, "encounter"),
        ({"resourceType": "CarePlan"}, "summary"),
        ({"resourceType": "DocumentReference"}, "summary"),
        ({"resourceType": "Immunization"}, "immunisation"),
        ({"resourceType": "ServiceRequest"}, "referral"),
        ({"resourceType": "Observation", "category": concept("laboratory")}, "laboratory"),
        ({"resourceType": "Observation", "category": concept("vital-signs")}, "observation"),
        ({"resourceType": "Observation", "category": concept("imaging")}, "radiology"),
        ({"resourceType": "Observation"}, "observation"),
        ({"resourceType": "Observation", "code": concept("8339-4")[0]}, "birth"),
        ({"resourceType": "DiagnosticReport", "category": concept("LP29684-5")}, "radiology"),
        ({"resourceType": "DiagnosticReport", "category": concept("LAB")}, "laboratory"),
        ({"resourceType": "DiagnosticReport", "category": concept("34117-2")}, "summary"),
        ({"resourceType": "DiagnosticReport"}, "investigation"),
        ({"resourceType": "Basic"}, "other"),
    ],
)
def test_a_resource_falls_in_its_domain(resource: dict[str, Any], domain: str) -> None:
    assert record_facts({**resource, "id": "x"}, None).domain == domain


def test_the_facts_of_a_record() -> None:
    record = record_facts(
        {
            "resourceType": "Observation",
            "id": "o",
            "meta": {
                "security": [
                    {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}
                ]
            },
            "subject": ANN,
            "encounter": {"reference": "Encounter/e"},
            "effectiveDateTime": "2025-12-31T20:00:00Z",
        },
        "st-gabriel",
    )

    assert record.patients == {"ann"}
    assert record.labels == {"HIV"}
    assert record.author == "st-gabriel"
    assert record.episodes == {"e"}
    assert record.clinical_date == date(2026, 1, 1)
    assert not record.directory


def test_an_encounter_is_its_own_episode() -> None:
    assert record_facts({"resourceType": "Encounter", "id": "e"}, None).episodes == {"e"}


@pytest.mark.parametrize(
    "resource",
    [
        {"resourceType": "MedicationAdministration", "context": {"reference": "Encounter/e"}},
        {
            "resourceType": "DocumentReference",
            "context": {"encounter": [{"reference": "Encounter/e"}]},
        },
        {"resourceType": "Claim", "item": [{"encounter": [{"reference": "Encounter/e"}]}]},
    ],
)
def test_the_episode_is_found_where_the_type_has_it(resource: dict[str, Any]) -> None:
    assert record_facts({**resource, "id": "x"}, None).episodes == {"e"}


@pytest.mark.parametrize("when", ["2020", "2020-05", "chan", 3])
def test_a_date_not_known_to_the_day_is_unknown(when: object) -> None:
    record = record_facts({"resourceType": "Condition", "id": "c", "onsetDateTime": when}, None)

    assert record.clinical_date is None


def test_what_a_resource_holds_counts_as_its_own() -> None:
    inner = {
        "resourceType": "Observation",
        "subject": {"reference": "Patient/bob"},
        "meta": {"security": [{"code": "PSY"}]},
    }
    contained = record_facts(
        {"resourceType": "DiagnosticReport", "id": "d", "subject": ANN, "contained": [inner]}, None
    )
    bundle = record_facts(
        {"resourceType": "Bundle", "id": "b", "entry": [{"resource": inner}, {"request": {}}]}, None
    )

    assert contained.patients == {"ann", "bob"}
    assert contained.labels == {"PSY"}
    assert bundle.patients == {"bob"}
    assert bundle.labels == {"PSY"}


def test_what_a_resource_holds_counts_under_its_domain_too() -> None:
    lab = {
        "resourceType": "Observation",
        "category": concept("laboratory"),
        "performer": [{"reference": "Practitioner/yu"}],
        "encounter": {"reference": "Encounter/stay"},
        "effectiveDateTime": "2026-03-01",
    }
    medicine = {"resourceType": "Medication", "id": "m"}
    # Without a code it might be of any domain.
    basic = {
        "resourceType": "Basic",
        "id": "b",
        "code": concept("consent")[0],
        "subject": ANN,
        "contained": [lab, medicine],
    }
    parameters = {
        "resourceType": "Parameters",
        "id": "p",
        "parameter": [{"name": "a", "part": [{"name": "b", "resource": {**lab, "subject": ANN}}]}],
    }
    dated = {**basic, "created": "2026-04-01"}

    held, kept, late = (record_facts(one, None) for one in (basic, parameters, dated))

    laboratory = frozenset({"laboratory"})
    assert (held.domain, held.inner_domains) == ("other", laboratory)
    assert (held.author_people, held.episodes) == (frozenset({"yu"}), frozenset({"stay"}))
    assert held.clinical_date is None
    assert (kept.patients, kept.inner_domains) == (frozenset({"ann"}), laboratory)
    assert late.clinical_date is None
    assert record_facts({**dated, "contained": [medicine]}, None).clinical_date == date(2026, 4, 1)


def test_a_binary_of_a_hidden_record_is_its_authors_alone() -> None:
    context = {"reference": "Observation/hidden"}
    record = record_facts({"resourceType": "Binary", "id": "b", "securityContext": context}, "a")

    assert (record.patients, record.directory) == (frozenset(), False)


def test_a_binary_belongs_to_the_patient_of_its_security_context() -> None:
    record = record_facts({"resourceType": "Binary", "id": "b", "securityContext": ANN}, None)

    assert record.patients == {"ann"}


def test_a_register_entry_is_directory_unless_it_carries_a_patient() -> None:
    plain = record_facts({"resourceType": "MeasureReport", "id": "m", "type": "summary"}, "x")
    personal = record_facts({"resourceType": "MeasureReport", "id": "m", "subject": ANN}, "x")
    stray = record_facts({"resourceType": "Condition", "id": "c"}, "x")

    assert [r.directory for r in (plain, personal, stray)] == [True, False, False]


@pytest.mark.parametrize(
    "text",
    [
        f'{LISTS}codes = []\n[types]\nX = "secrets"\n[doubt]\n[usual]',
        f'{LISTS}[[codes]]\ndomain = "y"\n[types]\n[doubt]\n[usual]',
        f'{LISTS}[[codes]]\ndomain = "birth"\nLOINC = ["1-8"]\n[types]\n[doubt]\n[usual]',
        f'{LISTS}codes = []\n[types]\n[doubt.X]\nelements = ["a"]\ndomains = ["y"]\n[usual]',
    ],
)
def test_a_domain_rule_that_names_no_domain_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"domains\.toml"):
        parse_domains(text)


def test_no_resource_of_synthea_is_left_unmapped(shared_data: Path) -> None:
    met: Counter[str] = Counter()
    for path in sorted((shared_data / "synthea-r4-bulk-47").glob("*.ndjson.gz")):
        with gunzip(path, "rt", encoding="utf-8") as file:
            for _, line in zip(range(100), file, strict=False):
                record = record_facts(loads(line), "x")
                assert record.directory or record.patients, record.type
                if not record.directory:
                    met[f"{record.type} {record.domain}"] += record.domain == "other"

    assert {name for name, count in met.items() if count} == {"SupplyDelivery other"}


@pytest.mark.parametrize(
    "named",
    [
        {"resourceType": "ImagingStudy", "interpreter": [{"reference": "Practitioner/yu"}]},
        {"resourceType": "Media", "operator": {"reference": "Practitioner/yu"}},
        {"resourceType": "ClinicalImpression", "assessor": {"reference": "Practitioner/yu"}},
        {"resourceType": "Specimen", "collection": {"collector": {"reference": "Practitioner/yu"}}},
        {"resourceType": "CareTeam", "participant": [{"member": {"reference": "Practitioner/yu"}}]},
        {"resourceType": "Encounter", "participant": [
            {"individual": {"reference": "Practitioner/yu"}}]},
        {"resourceType": "Procedure", "performer": [{"actor": {"reference": "Practitioner/yu"}}]},
        {"resourceType": "CarePlan", "contributor": [{"reference": "Practitioner/yu"}]},
        {"resourceType": "VisionPrescription", "prescriber": {"reference": "Practitioner/yu"}},
    ],
)  # fmt: skip
def test_whoever_made_a_record_is_named_as_its_author(named: dict[str, Any]) -> None:
    assert record_facts({**named, "id": "x"}, None).author_people == {"yu"}


def test_an_empty_referral_in_a_claim_is_in_no_doubt() -> None:
    referral = {"resourceType": "ServiceRequest", "id": "r", "status": "completed",
                "intent": "order", "requester": {"reference": "Practitioner/p"}}  # fmt: skip
    claim = {"resourceType": "ExplanationOfBenefit", "id": "c", "contained": [referral]}

    assert record_facts(claim, None).domains == {"encounter", "referral"}
    telling: list[dict[str, Any]] = [
        {"code": {"text": "MRI"}}, {"note": [{"text": "MRI"}]}, {"text": {}},
    ]  # fmt: skip
    for more in telling:
        told = {**claim, "contained": [{**referral, **more}]}
        assert "radiology" in record_facts(told, None).domains


@pytest.mark.parametrize(
    ("element", "code", "domains"),
    [
        ("category", ("http://terminology.hl7.org/CodeSystem/observation-category", "survey"),
         {"observation"}),
        ("code", ("http://loinc.org", "44249-1"), {"observation"}),
        ("category", ("http://terminology.hl7.org/CodeSystem/v2-0074", "LAB"), {"laboratory"}),
        # What says nothing is in doubt, and not of surveys.
        ("category", ("http://example.org/own", "x"),
         {"investigation", "laboratory", "radiology", "summary"}),
        # What is of neither counts beside.
        ("code", ("http://terminology.hl7.org/CodeSystem/basic-resource-type", "account"),
         {"encounter", "investigation"}),
    ],
)  # fmt: skip
def test_a_report_of_a_survey_is_no_investigation(
    element: str, code: tuple[str, str], domains: set[str]
) -> None:
    coded = {"coding": [{"system": code[0], "code": code[1]}]}
    report = {
        "resourceType": "DiagnosticReport",
        "id": "r",
        "subject": {"reference": "Patient/p"},
        element: [coded] if element == "category" else coded,
    }

    assert record_facts(report, "x").domains == domains
