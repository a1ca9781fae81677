"""Chains and `_has`: what they find, and that consent stands at each of their steps."""

from __future__ import annotations

import pytest

from ehr_fhir.errors import Invalid
from ehr_gateway.access import Access
from ehr_gateway.interactions.delete import delete
from ehr_gateway.search.page import search
from ehr_gateway.store.store import Store
from ehr_privacy.consent import Requester, parse_scopes
from tests.lib.store import NOW, doctor, found, put
from tests.lib.ward import TOP, closed, observation, shared, system, ward

__all__ = ["ward"]


@pytest.mark.parametrize(
    ("kind", "query", "ids"),
    [
        ("Observation", "subject.name=chan", "a1 a2"),
        ("Observation", "subject:Patient.name=chan", "a1 a2"),
        ("Observation", "subject:Patient.name:exact=chan", ""),
        ("Observation", "subject:Patient.name=chan,lee&code=1", "a1 b1"),
        ("Observation", "subject:Device.identifier=x", ""),
        ("Observation", "patient.gender:not=male", "a1 a2"),
        ("Observation", "patient.birthdate:missing=true", "a1 a2 b1"),
        ("Observation", "patient._id=bob", "b1"),
        ("Observation", "patient.organization.name=west", "b1"),
        ("Observation", "patient.organization.partof.name=harbour", "a1 a2 b1"),
        ("Observation", "encounter.service-provider.partof.name=harbour", "a1"),
        ("Observation", "patient.name=chan&patient.organization.name=west", ""),
        ("Observation", "encounter.patient._has:Observation:patient:code=2", "a1"),
        ("Patient", "_has:Observation:patient:code=1", "ann bob"),
        ("Patient", "_has:Observation:patient:code=2", "ann"),
        ("Patient", "_has:Observation:patient:code=http://loinc.org|2", "ann"),
        ("Patient", "_has:Observation:patient:code=1&_has:Observation:patient:code=2", "ann"),
        ("Patient", "_has:Observation:patient:encounter.class=IMP", "ann"),
        ("Patient", "_has:Encounter:patient:_has:Observation:encounter:code=1", "ann"),
        ("Patient", "_has:Encounter:patient:_has:Observation:encounter:code=2", ""),
        ("Organization", "_has:Patient:organization:_has:Observation:patient:code=2", "east"),
        ("Organization", "_has:Organization:partof:_has:Patient:organization:name=lee", "top"),
        ("Encounter", "_has:Observation:encounter:status=final", "stay"),
    ],
)
def test_a_chain_finds_these(ward: Store, kind: str, query: str, ids: str) -> None:
    expected = ids.split()

    assert found(ward, kind, query, TOP) == expected
    pairs = [(name, value) for name, _, value in (one.partition("=") for one in query.split("&"))]
    page = search(ward, TOP, kind, [*pairs, ("_total", "accurate")])
    assert page.total == len(expected)


def test_a_deleted_resource_leads_nowhere(ward: Store) -> None:
    delete(ward, system("east"), "Encounter", "stay")

    assert found(ward, "Observation", "encounter.class=IMP", TOP) == []
    assert found(ward, "Patient", "_has:Encounter:patient:class=IMP", TOP) == []


def test_a_superseded_version_leads_nowhere(ward: Store) -> None:
    put(ward, observation("a2", "ann", "3"), system("east"))

    assert found(ward, "Patient", "_has:Observation:patient:code=2", TOP) == []
    assert found(ward, "Patient", "_has:Observation:patient:code=3", TOP) == ["ann"]


def test_every_step_is_judged_by_consent(ward: Store) -> None:
    put(ward, shared("ann", "west"))
    west = doctor("west")
    through = {
        "Observation": "encounter.class=IMP",
        "Patient": "_has:Observation:patient:code=2",
        "Organization": "_has:Patient:organization:_has:Observation:patient:code=2",
    }
    before = {kind: found(ward, kind, query, west) for kind, query in through.items()}

    for domain in ("laboratory", "encounter"):
        put(ward, closed("ann", domain))
    after = {kind: found(ward, kind, query, west) for kind, query in through.items()}

    assert before == {"Observation": ["a1"], "Patient": ["ann"], "Organization": ["east"]}
    assert after == {"Observation": [], "Patient": [], "Organization": []}


def test_a_visible_record_is_not_found_through_a_hidden_one(ward: Store) -> None:
    put(ward, shared("ann", "west"))
    put(ward, closed("ann", "encounter"))

    assert found(ward, "Observation", "_id=a1", doctor("west")) == ["a1"]
    assert found(ward, "Observation", "encounter.class=IMP", doctor("west")) == []
    assert found(ward, "Observation", "encounter.class:not=IMP", doctor("west")) == []
    assert found(ward, "Patient", "_has:Encounter:patient:status=finished", doctor("west")) == []


@pytest.mark.parametrize(
    "requester",
    [
        Requester("clinician", "dr", "west", "doctor", scopes=parse_scopes("user/*.cruds")),
        Requester("clinician", "ph", "west", "pharmacist", scopes=parse_scopes("user/*.rs")),
        Requester("system", "s", "west", scopes=parse_scopes("system/*.cruds")),
        Requester("patient", "ann", patient="ann", scopes=parse_scopes("patient/*.rs")),
        Requester("carer", "cat", patient="ann", scopes=parse_scopes("patient/*.rs")),
        Requester("steward", "st", "ehr-commons", scopes=parse_scopes("user/*.rs")),
        Requester("auditor", "au", "ehr-commons", scopes=parse_scopes("user/*.rs")),
        Requester("administrator", "ad", "ehr-commons", scopes=parse_scopes("user/*.rs")),
        Requester("researcher", "re", "ehr-commons", scopes=parse_scopes("user/*.rs")),
    ],
    ids=lambda one: f"{one.role}-{one.profession}",
)
def test_the_longest_search_is_not_too_deep_for_any_role(ward: Store, requester: Requester) -> None:
    pairs = [("_has:Encounter:patient:_has:Observation:encounter:patient.organization.name", "e")]
    page = search(ward, Access(requester, NOW, "request"), "Patient", pairs * 3)

    expected = ["ann"] if requester.role == "patient" else []
    assert [one.id for one in page.matches] == expected


def test_the_audit_log_is_not_searched_through_others(ward: Store) -> None:
    with pytest.raises(Invalid, match="audit log"):
        found(ward, "Patient", "_has:AuditEvent:patient:action=R")


def test_a_list_finds_its_items_where_it_may_be_found_itself(ward: Store) -> None:
    items = [{"item": {"reference": f"Observation/{name}"}} for name in ("a1", "b1")]
    body = {"resourceType": "List", "id": "mine", "status": "current", "mode": "working"}
    subject = {"reference": "Patient/ann"}
    put(ward, {**body, "subject": subject, "entry": items}, system("top"))
    put(ward, shared("ann", "west"))

    assert found(ward, "Observation", "_list=mine", TOP) == ["a1", "b1"]
    assert found(ward, "Observation", "_list=mine&code=1&patient=bob", TOP) == ["b1"]
    assert found(ward, "Observation", "_list=other", TOP) == []
    assert found(ward, "Patient", "_list=mine", TOP) == []
    # A List is withheld from whom any restriction binds.
    before = found(ward, "Observation", "_list=mine", doctor("west"))
    put(ward, closed("ann", "encounter"))
    assert before == ["a1", "b1"]
    assert found(ward, "Observation", "_list=mine", doctor("west")) == []


def test_a_functional_list_is_refused(ward: Store) -> None:
    with pytest.raises(Invalid, match="functional"):
        found(ward, "AllergyIntolerance", "_list=$current-allergies")


def test_a_compartment_holds_one_patients_record(ward: Store) -> None:
    def within(patient: str, kind: str, *pairs: tuple[str, str]) -> list[str]:
        return [
            one.id for one in search(ward, TOP, kind, pairs, within=("Patient", patient)).matches
        ]

    assert within("ann", "Observation") == ["a1", "a2"]
    assert within("ann", "Observation", ("code", "2")) == ["a2"]
    assert within("ann", "Patient") == ["ann"]
    assert within("bob", "Encounter") == []
    assert within("nobody", "Observation") == []
    assert within("ann", "Organization") == []


def test_a_page_link_of_one_compartment_is_not_good_in_another(ward: Store) -> None:
    page = search(ward, TOP, "Observation", [("_count", "1")], within=("Patient", "ann"))
    assert page.next_cursor is not None
    pairs = [("_count", "1"), ("_cursor", page.next_cursor)]

    following = search(ward, TOP, "Observation", pairs, within=("Patient", "ann"))
    assert [one.id for one in following.matches] == ["a2"]
    with pytest.raises(Invalid, match="page link"):
        search(ward, TOP, "Observation", pairs, within=("Patient", "bob"))
    with pytest.raises(Invalid, match="page link"):
        search(ward, TOP, "Observation", pairs)


def test_what_was_deleted_is_not_found_by_what_still_refers_to_it(ward: Store) -> None:
    assert found(ward, "Encounter", "_has:Observation:encounter:status=final", TOP) == ["stay"]

    delete(ward, system("east"), "Encounter", "stay")

    assert found(ward, "Encounter", "_has:Observation:encounter:status=final", TOP) == []
