"""Chains into contained resources, `:missing` of what is there, and tokens by their case."""

from __future__ import annotations

import pytest

from ehr_fhir import definitions
from ehr_fhir.errors import Invalid
from ehr_fhir.index.rows import extract_rows, fragment_target, indexed_parameters
from ehr_gateway.search.page import search
from ehr_gateway.store.store import Store
from tests.lib.store import found, platform, put

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"


def request(name: str, rxnorm: str, **more: object) -> dict[str, object]:
    """Return a MedicationRequest whose Medication is contained."""
    medication = {
        "resourceType": "Medication",
        "id": "m",
        "code": {"coding": [{"system": RXNORM, "code": rxnorm}]},
        "manufacturer": {"reference": "Organization/maker"},
        **more,
    }
    return {
        "resourceType": "MedicationRequest",
        "id": name,
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/ann"},
        "medicationReference": {"reference": "#m"},
        "contained": [
            {"resourceType": "Organization", "id": "o", "name": "Beyond"},
            medication,
        ],
    }


@pytest.fixture
def pharmacy(store: Store) -> Store:
    """Requests whose medication is contained, stored, or said in words."""
    put(store, {"resourceType": "Patient", "id": "ann", "name": [{"family": "Đặng"}]})
    put(store, {"resourceType": "Organization", "id": "maker", "name": "Łódź Pharma"})
    stored = {"resourceType": "Medication", "id": "stored"}
    put(store, {**stored, "code": {"coding": [{"system": RXNORM, "code": "1"}]}})
    put(store, request("inside-1", "1"))
    put(store, request("inside-2", "2", manufacturer={"reference": "#o"}))
    put(store, request("uncoded", "", code={"text": "a herb"}, manufacturer={"display": "me"}))
    outside = {**request("outside", "1"), "contained": []}
    outside.pop("contained")
    put(store, {**outside, "medicationReference": {"reference": "Medication/stored"}})
    words = {**outside, "id": "words", "medicationCodeableConcept": {"text": "a herb"}}
    words.pop("medicationReference")
    put(store, words)
    return store


CHAINS = [
    (f"medication.code={RXNORM}|1", "inside-1 outside"),
    (f"medication:Medication.code={RXNORM}|2", "inside-2"),
    ("medication.code=1", "inside-1 outside"),
    (f"medication.code={RXNORM}|1,{RXNORM}|2", "inside-1 inside-2 outside"),
    ("medication.code:not=1", "inside-2 uncoded"),
    ("medication.code:text=herb", ""),
    ("medication.code:text=a herb", "uncoded"),
    ("medication.code:missing=true", ""),
    ("medication.code:missing=false", "inside-1 inside-2 outside uncoded"),
    ("medication.manufacturer:missing=true", "outside"),
    ("medication.manufacturer.name=lodz", "inside-1"),
    ("medication.manufacturer:Organization.name=beyond", "inside-2"),
    ("medication.manufacturer=Organization/maker", "inside-1"),
    ("medication._id=m", ""),
    ("medication:missing=true", "words"),
    ("medication:missing=false", "inside-1 inside-2 outside uncoded"),
    ("code:missing=false", "words"),
    ("_filter=medication.code eq 1", "inside-1 outside"),
    ("_filter=medication.code ne 1", "inside-2 uncoded"),
    ("_filter=not (medication.code eq 1)", "inside-2 uncoded words"),
    ("medication.code=1&medication.manufacturer.name=lodz", "inside-1"),
    ("patient._has:MedicationRequest:patient:medication.code=2",
     "inside-1 inside-2 outside uncoded words"),
    ("_lastUpdated:missing=false&medication.code=2", "inside-2"),
    ("_id:missing=true", ""),
]  # fmt: skip


@pytest.mark.parametrize(("query", "ids"), CHAINS)
def test_chains_look_into_contained_resources(pharmacy: Store, query: str, ids: str) -> None:
    assert sorted(found(pharmacy, "MedicationRequest", query)) == ids.split()
    pairs = [(name, value) for name, _, value in (one.partition("=") for one in query.split("&"))]
    page = search(pharmacy, platform(), "MedicationRequest", [*pairs, ("_total", "accurate")])
    assert page.total == len(ids.split())


def test_contained_resources_are_no_resources_of_their_own(pharmacy: Store) -> None:
    assert found(pharmacy, "Medication", "code=1") == ["stored"]
    assert found(pharmacy, "Medication", "code=2") == []
    assert found(pharmacy, "Organization", "name=beyond") == []
    assert found(pharmacy, "Medication", "manufacturer=Organization/maker") == []
    assert found(pharmacy, "Organization", "_has:Medication:manufacturer:code=1") == []
    assert found(pharmacy, "Patient", "_has:MedicationRequest:patient:medication.code=2") == ["ann"]


def test_what_is_contained_has_no_place_in_an_order(pharmacy: Store) -> None:
    assert found(pharmacy, "MedicationRequest", "_sort=medication")[0] == "outside"
    assert found(pharmacy, "MedicationRequest", "_sort=-medication")[0] == "outside"


def _below(steps: list[str], value: object) -> object:
    """Return the JSON at the end of which a value stands."""
    for step in reversed(steps):
        value = {step: [value]}
    return value


def test_every_reference_parameter_leads_into_what_is_contained() -> None:
    asked = 0
    for kind in sorted(definitions.resource_types()):
        for parameter in indexed_parameters(kind):
            for walk in parameter.paths if parameter.type == "reference" else ():
                if walk.datatype != "Reference":
                    continue
                target = walk.target or next(iter(sorted(parameter.targets)), "Basic")
                steps = [str(step) for step in walk.steps]
                resource = {
                    "resourceType": kind,
                    **_below(steps, {"reference": "#m"}),  # type: ignore[dict-item]
                    "contained": [{"resourceType": target, "id": "m"}],
                }
                rows = {row[:3] for row in extract_rows(resource)}
                expected = (f"#{target}", fragment_target(1))
                assert any(
                    code == parameter.code and values[:2] == expected for _, code, values in rows
                ), (kind, parameter.code, steps)
                asked += 1
    assert asked > 400


TOKENS = [
    ("identifier=urn:hkid|a1234563", "ann"),
    ("identifier=urn:hkid|A1234563", "ann"),
    ("identifier=A1234563", "ann"),
    ("identifier=a1234563", "ann"),
    ("identifier:not=a1234563", "bob"),
    ("identifier:of-type=http://t|MR|b-7x", "bob"),
    ("identifier=urn:ietf:rfc:3986|http://x/A", "bob"),
    ("identifier=urn:ietf:rfc:3986|http://x/a", ""),
    ("email=ANN@example.org", "ann"),
    ("email=ann@EXAMPLE.org", "ann"),
    ("telecom=Ann@Example.Org", "ann"),
    ("gender=female", "ann"),
    ("gender=FEMALE", ""),
    ("language=EN", "ann"),
    ("_filter=identifier eq a1234563", "ann"),
    ("organization:identifier=urn:o|X-1", "ann"),
    ("organization:identifier=urn:o|x-1", "ann"),
    ("_tag=urn:local|Red", "ann"),
    ("_tag=urn:local|RED", "ann"),
    ("_security=http://terminology.hl7.org/CodeSystem/v3-Confidentiality|N", "bob"),
    ("_security=http://terminology.hl7.org/CodeSystem/v3-Confidentiality|n", ""),
    ("_security=n", ""),
    ("name=dang", "ann"),
    ("name=Đặng", "ann"),
    ("name=aero", "bob"),
    ("name=ÆRØ", "bob"),
    ("name:contains=ð", "ann"),
]


@pytest.fixture
def people(store: Store) -> Store:
    """Two people whose tokens have letters."""
    confidentiality = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
    put(store, {
        "resourceType": "Patient", "id": "ann", "gender": "female",
        "meta": {"tag": [{"system": "urn:local", "code": "Red"}]},
        "name": [{"family": "Đặng"}],
        "identifier": [{"system": "urn:hkid", "value": "A1234563"}],
        "telecom": [{"system": "email", "value": "Ann@Example.org"}],
        "communication": [{"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": "en"}]}}],
        "managingOrganization": {"identifier": {"system": "urn:o", "value": "x-1"}},
    })  # fmt: skip
    put(store, {
        "resourceType": "Patient", "id": "bob", "gender": "male",
        "meta": {"security": [{"system": confidentiality, "code": "N"}]},
        "name": [{"family": "Ærø"}],
        "identifier": [
            {"system": "urn:mr", "value": "B-7X",
             "type": {"coding": [{"system": "http://t", "code": "MR"}]}},
            {"system": "urn:ietf:rfc:3986", "value": "http://x/A"},
        ],
    })  # fmt: skip
    return store


@pytest.mark.parametrize(("query", "ids"), TOKENS)
def test_tokens_are_compared_by_case_where_their_system_says_so(
    people: Store, query: str, ids: str
) -> None:
    assert found(people, "Patient", query) == ids.split()


def component(code: str, value: float) -> dict[str, object]:
    return {"code": {"coding": [{"code": code}]}, "valueQuantity": {"value": value}}


def report(name: str, *results: dict[str, object]) -> dict[str, object]:
    """Return a report with the results that it contains, the second made of the first."""
    contained = [
        {"resourceType": "Observation", "id": f"r{number}", "status": "final", **result}
        for number, result in enumerate(results)
    ]
    for inner in contained[1:]:
        inner["derivedFrom"] = [{"reference": "#r0"}]
    return {
        "resourceType": "DiagnosticReport",
        "id": name,
        "status": "final",
        "code": {"coding": [{"code": "panel"}]},
        "subject": {"reference": "Patient/ann"},
        "result": [{"reference": f"#{inner['id']}"} for inner in contained],
        "contained": contained,
    }


INSIDE = [
    # Code and value of one result, not of two.
    ("result.code-value-quantity=hb$13", "one"),
    ("result.code-value-quantity=hb$14", "two"),
    ("result.code-value-quantity=na$13", "two"),
    ("result.code-value-quantity=hb$13,na$13", "one two"),
    # Of one component, not of two.
    ("result.component-code-value-quantity=sys$120", "pressure"),
    ("result.component-code-value-quantity=dia$120", ""),
    ("result.combo-code-value-quantity=sys$gt100", "pressure"),
    ("result.combo-code-value-quantity=hb$gt12", "one two"),
    ("result.component-code=sys", "pressure"),
    ("result.component-code:not=sys", "one two"),
    ("result.component-code:missing=false", "pressure"),
    # What refers to a contained result: its report, and results beside it.
    ("result._has:DiagnosticReport:result:code=panel", "one pressure two"),
    ("result._has:DiagnosticReport:result:code=other", ""),
    ("result._has:Observation:derived-from:code=na", "one two"),
    ("result._has:Observation:derived-from:code=hb", ""),
    ("result._has:Observation:derived-from:code-value-quantity=na$13", "two"),
]


@pytest.mark.parametrize(("query", "ids"), INSIDE)
def test_composites_and_reverse_chains_look_into_contained_resources(
    store: Store, query: str, ids: str
) -> None:
    put(store, {"resourceType": "Patient", "id": "ann"})
    put(store, report("one", component("hb", 13), component("na", 140)))
    put(store, report("two", component("hb", 14), component("na", 13)))
    parts = [component("sys", 120), component("dia", 80)]
    put(store, report("pressure", {"code": {"text": "blood pressure"}, "component": parts}))
    # A stored result that no report's own answers may be confused with.
    stored = {"resourceType": "Observation", "id": "r0", "status": "final"}
    put(store, {**stored, **component("dia", 120), "subject": {"reference": "Patient/ann"}})

    assert sorted(found(store, "DiagnosticReport", query)) == ids.split()


@pytest.mark.parametrize("code", ["_text", "_content"])
@pytest.mark.parametrize("modifier", ["missing", "not", "exact", "contains", "x"])
def test_full_text_takes_no_modifier_and_says_so(store: Store, code: str, modifier: str) -> None:
    for prefix in ("", "medication.", "_has:MedicationDispense:prescription:"):
        with pytest.raises(Invalid, match=f"`{code}:{modifier}` is not served") as refusal:
            found(store, "MedicationRequest", f"{prefix}{code}:{modifier}=true")
        assert refusal.value.issues[0].code == "not-supported"
