"""A rule by code holds for every spelling of its system and of its code, or closes more.

The spellings are made from rules/systems.toml and from the forms in which systems write their URLs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ehr_privacy.consent import load_roles, record_facts
from ehr_privacy.consent.code_systems import is_known_system, load_systems, normalize_system
from ehr_privacy.consent.domain_rules import domains_of, load_domains
from ehr_privacy.consent.label_rules import load_labels
from ehr_privacy.consent.labels import LABELS

Json = dict[str, Any]

TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
CANONICAL = {
    "loinc": "http://loinc.org",
    "sct": "http://snomed.info/sct",
    "rxnorm": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "icd-10": "http://hl7.org/fhir/sid/icd-10",
    "icd-10-cm": "http://hl7.org/fhir/sid/icd-10-cm",
    "icd-9-cm": "http://hl7.org/fhir/sid/icd-9-cm",
    "dcm": "http://dicom.nema.org/resources/ontology/DCM",
}


def system_spellings(name: str) -> Iterator[str]:
    """Yield the forms in which a code system is written."""
    listed = [spelling for spelling, other in load_systems().names.items() if other == name]
    forms = [CANONICAL.get(name, f"{TERMINOLOGY}/{name}")]
    for kind in ("v2-", "v3-"):
        if name.startswith(kind):
            forms += [
                f"http://hl7.org/fhir/{kind[:2]}/{name[3:]}",
                f"http://terminology.hl7.org/ValueSet/{name}",
            ]
    if name.startswith("v2-"):
        forms += [f"urn:oid:2.16.840.1.113883.12.{int(name[3:])}", f"HL7{name[3:]}"]
    for form in (*forms, *listed):
        yield form
        yield f"{form}|2024-09"
        yield f" {form} "
        yield form.upper()
        if form[0].isdigit():
            yield f"urn:oid:{form}"
            yield f"urn:oid:{form}|1"
        elif "://" in form:
            yield f"{form}/"
            yield form.replace("http://", "https://")
            yield form.replace("http://", "http://www.").replace("www.www.", "www.")
        elif "." in form and not form.startswith("urn:"):
            yield f"https://{form}/"


def code_spellings(name: str, code: str) -> Iterator[str]:
    """Yield the forms in which a code of a system is written."""
    yield code
    yield f" {code} "
    yield code.lower()
    if name in load_systems().shapes:
        yield code.replace(".", "")
        yield f"{code}†"
        yield f"{code}*"


def rules_by_label() -> Iterator[tuple[str, str, frozenset[str]]]:
    """Yield (system, code, labels) of each code and of each beginning of codes."""
    rules = load_labels()
    for table in (rules.codes, rules.beginnings):
        for name, codes in table.items():
            for code, labels in codes.items():
                yield name, code, labels


@pytest.mark.parametrize("name", sorted({*load_systems().names.values()}))
def test_every_spelling_is_the_same_known_system(name: str) -> None:
    for spelling in system_spellings(name):
        assert normalize_system(spelling) == name, spelling
        assert is_known_system(normalize_system(spelling))


@pytest.mark.parametrize("name", sorted({*load_labels().codes, *load_labels().beginnings}))
def test_every_rule_of_the_labels_holds_for_every_spelling(name: str) -> None:
    rules = load_labels()
    canonical = CANONICAL[name]
    for system in (*system_spellings(name), None, "", "https://hospital.example/codes"):
        for of, code, labels in rules_by_label():
            if of != name or not labels:
                continue
            for spelling in code_spellings(name, code):
                assert rules.of(system, spelling) >= labels, (system, spelling)
                assert rules.of(canonical, spelling) == rules.of(canonical, code), spelling


# Where a coding may stand in a resource: whatever the element, its code is read.
@pytest.mark.parametrize(
    "wrap",
    [
        lambda coding: {"code": {"coding": [coding]}},
        lambda coding: {"category": [{"coding": [{"code": "x"}, coding]}]},
        lambda coding: {"valueCodeableConcept": {"coding": [coding]}},
        lambda coding: {"component": [{"code": {"coding": [coding]}}]},
        lambda coding: {"extension": [{"url": "u", "valueCoding": coding}]},
        lambda coding: {"contained": [{"resourceType": "Condition", "code": {"coding": [coding]}}]},
        lambda coding: {"ingredient": [{"itemCodeableConcept": {"coding": [coding]}}]},
    ],
)
@pytest.mark.parametrize("system", ["urn:oid:2.16.840.1.113883.6.90", None, "http://x.example"])
def test_a_code_labels_wherever_it_stands(wrap: Any, system: str | None) -> None:
    coding = {"code": "F32.9"} if system is None else {"system": system, "code": "F32.9"}

    record = record_facts({"resourceType": "Observation", "id": "o", **wrap(coding)}, None)

    assert "PSY" in record.labels


def labels_of(**more: Json | list[Json] | str) -> frozenset[str]:
    return record_facts({"resourceType": "Observation", "id": "o", **more}, None).labels & LABELS


SENSITIVE = LABELS - {"V"}


@pytest.mark.parametrize("system", [None, *system_spellings("v3-actcode")])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("PSY", {"PSY"}),
        ("psy", {"PSY"}),
        ("MH", {"PSY"}),
        ("PSYTHPN", {"PSY"}),
        ("BH", {"PSY", "ETH"}),
        ("SUD", {"ETH"}),
        ("ETHUD", {"ETH", "ETHUD"}),
        ("SICKLE", {"GDIS"}),
        ("MST", {"SDV", "SEX"}),
        ("TBOO", SENSITIVE),
        ("SPI", SENSITIVE),
        ("not-a-code", SENSITIVE),
    ],
)
def test_a_security_label_counts_for_what_it_is_part_of(
    system: str | None, code: str, expected: set[str]
) -> None:
    coding = {"code": code} if system is None else {"system": system, "code": code}

    assert labels_of(meta={"security": [coding]}) == expected


@pytest.mark.parametrize(
    ("coding", "expected"),
    [
        ({"system": f"{TERMINOLOGY}/v3-Confidentiality", "code": "N"}, set()),
        ({"system": "urn:oid:2.16.840.1.113883.5.25", "code": "r"}, {"R"}),
        ({"system": "http://hl7.org/fhir/v3/Confidentiality", "code": "V"}, {"V"}),
        ({"system": f"{TERMINOLOGY}/v3-Confidentiality", "code": "T"}, SENSITIVE),
        ({"system": f"{TERMINOLOGY}/v3-ActReason", "code": "HTEST"}, set()),
        ({"system": f"{TERMINOLOGY}/v3-ActUSPrivacyLaw", "code": "42CFRPart2"}, {"ETH", "R"}),
        ({"system": "https://hospital.example/labels", "code": "HIV"}, SENSITIVE),
        ({"system": "https://hospital.example/labels", "code": "staff"}, SENSITIVE),
        ({"display": "psychiatry"}, SENSITIVE),
    ],
)
def test_a_security_label_of_another_system_counts_in_doubt(
    coding: Json, expected: set[str]
) -> None:
    assert labels_of(meta={"security": [coding]}) == expected
    document = {"resourceType": "DocumentReference", "id": "d"}
    labelled = {**document, "securityLabel": [{"coding": [coding]}]}
    assert record_facts(labelled, None).labels & LABELS == expected


def test_the_labels_of_documents_count_too() -> None:
    composition = {"resourceType": "Composition", "id": "c", "confidentiality": "V"}
    text_only = {"resourceType": "DocumentReference", "id": "d", "securityLabel": [{"text": "HIV"}]}

    assert record_facts(composition, None).labels == {"V"}
    assert record_facts(text_only, None).labels >= SENSITIVE


ELEMENT_TYPES = {
    kind: open_type.elements for kind, open_type in load_domains().open_types.items()
} | {kind: elements for kind, elements in load_domains().added_by.items()}
# In R4 these are lists; the others hold one concept.
LISTS = {("Observation", "category"), ("DiagnosticReport", "category")} | {
    (kind, "category") for kind in ("ServiceRequest", "DocumentReference", "Composition")
}


def coded(kind: str, element: str, *codings: Json) -> Json:
    concept = {"coding": [*codings]}
    return {
        "resourceType": kind,
        "id": "x",
        element: [concept] if (kind, element) in LISTS else concept,
    }


@pytest.mark.parametrize("kind", sorted(ELEMENT_TYPES))
def test_every_rule_of_the_domains_holds_for_every_spelling(kind: str) -> None:
    for element in ELEMENT_TYPES[kind]:
        for name, codes in load_domains().codes.items():
            spellings = [*system_spellings(name), None]
            for number, code in enumerate(codes):
                canonical = {"system": spellings[0], "code": code}
                expected = {*domains_of(coded(kind, element, canonical))}
                assert {*codes[code].domains} <= expected
                # Each code in some of the spellings, so that all of them are tried.
                for spelling in spellings[number % 7 :: 7]:
                    for written in code_spellings(name, code):
                        coding = {"code": written} | ({"system": spelling} if spelling else {})
                        found = {*domains_of(coded(kind, element, coding))}
                        assert found >= expected, (spelling, written)
                local = {"system": "https://hospital.example/codes", "code": code}
                assert {*domains_of(coded(kind, element, local))} >= expected


DOUBTFUL: list[Json] = [
    {},
    {"coding": []},
    {"text": "Laboratory"},
    {"coding": [{"display": "Laboratory"}]},
    {"coding": [{"system": "http://snomed.info/sct", "code": "0"}]},
    {"coding": [{"system": "https://hospital.example/codes", "code": "CH"}]},
    {"coding": [{"code": "never heard of"}]},
]


@pytest.mark.parametrize("kind", sorted(load_domains().open_types))
@pytest.mark.parametrize("concept", DOUBTFUL)
def test_in_doubt_a_record_counts_under_every_domain_it_might_be_of(
    kind: str, concept: Json
) -> None:
    open_type = load_domains().open_types[kind]
    element = open_type.elements[0]
    resource = coded(kind, element)
    resource[element] = [concept] if (kind, element) in LISTS else concept

    record = record_facts(resource, None)

    assert record.domains >= {*open_type.domains}
    # Its own domain stays the usual one: an exception or a grant for it alone opens nothing.
    assert record.domain == open_type.domains[0]


def test_no_record_in_doubt_counts_under_a_domain_that_is_closed_to_ordinary_professions() -> None:
    cells = load_roles().cells
    closed = {domain for domain, cell in cells["doctor"].items() if cell == "none"}

    assert closed
    assert not any(closed & {*some.domains} for some in load_domains().open_types.values())


@pytest.mark.parametrize(
    ("resource", "domain"),
    [
        (coded("Observation", "category", {"system": "v2-0074", "code": "LAB"}), "laboratory"),
        (
            coded("Observation", "code", {"code": "2339-0"}),
            "laboratory",
        ),
        (
            coded("Observation", "code", {"code": "8867-4"}),
            "observation",
        ),
        (coded("DocumentReference", "type", {"code": "11502-2"}), "laboratory"),
        (coded("DocumentReference", "type", {"code": "18748-4"}), "radiology"),
        (coded("DocumentReference", "type", {"code": "18842-5"}), "summary"),
        (coded("Composition", "type", {"code": "60591-5"}), "summary"),
        (coded("DiagnosticReport", "code", {"code": "11502-2"}), "laboratory"),
    ],
)
def test_a_record_whose_codes_tell_its_domain_counts_under_no_other(
    resource: Json, domain: str
) -> None:
    assert record_facts(resource, None).domains == {domain}


def test_a_known_category_is_believed_and_two_count_both() -> None:
    vital, imaging = ({"coding": [{"code": code}]} for code in ("vital-signs", "imaging"))
    glucose = {"coding": [{"system": "http://loinc.org", "code": "2339-0"}]}
    local = {"coding": [{"system": "https://hospital.example/codes", "code": "LAB"}]}
    resource = {"resourceType": "Observation", "id": "o", "code": glucose}

    believed = record_facts({**resource, "category": [vital]}, None)
    both = record_facts({**resource, "category": [vital, imaging]}, None)
    beside = record_facts({**resource, "category": [vital, local]}, None)

    assert believed.domains == {"observation"}
    assert both.domains == {"observation", "radiology"}
    assert beside.domains == {"observation", "laboratory"}
