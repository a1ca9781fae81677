"""What a reference may name: a refusal does not tell what is hidden from what is absent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ehr_fhir import definitions
from ehr_fhir.resource_links import CONTAINERS
from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from ehr_privacy.consent import load_roles, record_facts
from tests.lib.gateway import (
    EHR,
    House,
    Session,
    condition,
    consent,
    encounter,
    must,
    observation,
    organization,
    patient,
    restriction,
)
from tests.lib.minimal import minimal
from tests.lib.references import naming, reference_paths

# Made by the platform, or kept for its owner alone; no Bundle holds them, and nobody searches them.
APART = {"OperationDefinition", "Subscription"}
WRITTEN_TYPES = sorted(definitions.resource_types() - set(load_roles().writers) - APART)
Json = dict[str, Any]


def batch(session: Session, resources: list[Json]) -> list[Json]:
    """Return the answer to the creation of each resource; `:` in a text is where an id stood."""
    entries = [
        {"request": {"method": "POST", "url": body["resourceType"]}, "resource": body}
        for body in resources
    ]
    answers: list[Json] = []
    for start in range(0, len(entries), 400):
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries[start : start + 400]}
        answers += must(session.post("/fhir", bundle)).json()["entry"]
    return answers


def every_element(target: str) -> Iterator[tuple[tuple[str, ...], Json]]:
    """Yield each element of each type with a resource that names the target there."""
    for kind in WRITTEN_TYPES:
        for path in reference_paths(kind):
            yield (kind, *path), naming(kind, "new", path, target)
        extension = [{"url": "http://example.org/x", "valueReference": {"reference": target}}]
        if "extension" in definitions.elements()[kind]:
            yield (kind, "extension"), {**minimal(kind, "new"), "extension": extension}
            inner = {**minimal("Basic", "inner"), "extension": extension}
            extension = [{"url": "http://example.org/x", "valueReference": {"reference": "#inner"}}]
            holding = {"contained": [inner], "extension": extension}
            yield (kind, "contained"), {**minimal(kind, "new"), **holding}


@pytest.mark.parametrize(
    "hidden", ["Patient/closed", "Patient/pat-2", "Observation/lab-1", "Encounter/enc-1"]
)
def test_what_is_hidden_is_named_as_what_is_absent_in_every_element(
    furnished: House, hidden: str
) -> None:
    furnished.system("ehr-commons").store(patient("closed", "ZD1234569"))
    hospital = furnished.system("hospital-b")
    absent = f"{hidden.partition('/')[0]}/absent"
    places, of_hidden, of_absent = [], [], []
    pairs = zip(every_element(hidden), every_element(absent), strict=True)
    for (place, names_hidden), (_, names_absent) in pairs:
        # An organisation may deposit for a patient who joined; only there does the answer differ.
        if hidden == "Patient/pat-2" and "pat-2" in record_facts(names_hidden, None).patients:
            continue
        places.append(place)
        of_hidden.append(names_hidden)
        of_absent.append(names_absent)

    answers = zip(batch(hospital, of_hidden), batch(hospital, of_absent), strict=True)

    assert len(places) > 650
    for place, (one, other) in zip(places, answers, strict=True):
        # A container is stored as it came: its references are not held against this store.
        is_stored = place[0] in CONTAINERS
        for answer in (one, other):
            answer["response"].pop("location", None)
        assert one["response"] == other["response"], place
        assert is_stored or one["response"]["status"][:3] in ("403", "422"), place


def test_a_patient_who_joined_is_named_in_the_elements_that_make_the_record_theirs(
    furnished: House,
) -> None:
    doctor = furnished.login("doctor.b")
    own = {**observation("x", "laboratory", "pat-1"), "focus": [{"reference": "Patient/pat-2"}]}
    both = {**own, "performer": [{"reference": "Patient/pat-2"}]}

    assert doctor.post("Observation", observation("x", "laboratory", "pat-2")).status_code == 201
    assert doctor.post("Observation", own).status_code == 422
    assert doctor.post("Observation", both).status_code == 201


def test_no_part_of_a_patient_tells_of_another(furnished: House) -> None:
    body = patient("x", "ZE1234561")
    answers = []
    for name in ("pat-2", "absent"):
        related = {
            "resourceType": "RelatedPerson",
            "id": "r",
            "patient": {"reference": f"Patient/{name}"},
        }
        contact = [{"organization": {"reference": "#r"}}]
        resource = {**body, "contained": [related], "contact": contact}
        answer = furnished.login("doctor.b").post("Patient", resource)
        answers.append((answer.status_code, answer.content))

    assert answers[0] == answers[1]
    assert answers[0][0] == 422


# What each way of changing needs: the new version, and the changes as two kinds of patch.
WRONG = {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": [
    {"name": "type", "valueCode": "replace"},
    {"name": "path", "valueString": "Observation.status"},
    {"name": "value", "valueCode": "entered-in-error"},
]}]}  # fmt: skip


@pytest.mark.parametrize("gone", ["closed", "deleted", "left"])
@pytest.mark.parametrize("way", ["put", "patch", "fhirpath", "transaction", "batch"])
def test_an_author_corrects_what_names_something_gone_since(
    furnished: House, way: str, gone: str
) -> None:
    furnished.share()
    doctor = furnished.login("doctor.b")
    named = {**observation("x", "laboratory"), "encounter": {"reference": "Encounter/enc-1"}}
    body = must(doctor.post("Observation", named)).json()
    address = f"Observation/{body['id']}"
    if gone == "closed":
        furnished.share(status="inactive")
    elif gone == "deleted":
        must(furnished.system("ehr-commons").delete("Encounter/enc-1"))
    else:
        furnished.login("p.pat-1").store(consent("joining-1", "joining", status="inactive"))

    wrong = {**body, "status": "entered-in-error"}
    # A version of the target, or its absolute address, is no new reference.
    wrong["encounter"] = {"reference": "http://testserver/fhir/Encounter/enc-1/_history/1"}
    json_patch = b'[{"op":"replace","path":"/status","value":"entered-in-error"}]'
    entry = {"request": {"method": "PUT", "url": address}, "resource": wrong}
    if way == "put":
        answer = doctor.put(wrong)
    elif way == "patch":
        kind = {"Content-Type": "application/json-patch+json"}
        answer = doctor.request("PATCH", address, content=json_patch, headers=kind)
    elif way == "fhirpath":
        kind = {"Content-Type": "application/fhir+json"}
        answer = doctor.request("PATCH", address, json=WRONG, headers=kind)
    else:
        answer = doctor.post("/fhir", {"resourceType": "Bundle", "type": way, "entry": [entry]})

    assert must(answer).status_code == 200, answer.text
    assert must(doctor.get(address)).json()["status"] == "entered-in-error"


def test_a_new_reference_to_what_is_gone_is_refused_on_an_update_too(furnished: House) -> None:
    doctor = furnished.login("doctor.b")
    body = must(doctor.post("Observation", observation("x", "laboratory"))).json()
    answers = []
    for name in ("enc-1", "absent"):
        changed = {**body, "encounter": {"reference": f"Encounter/{name}"}}
        answer = doctor.put(changed)
        answers.append((answer.status_code, answer.content))

    assert answers[0] == answers[1]
    assert answers[0][0] == 422


def test_what_was_deleted_comes_back_with_the_references_it_had(furnished: House) -> None:
    hospital = furnished.system("hospital-b")
    furnished.share()
    body = {**observation("own", "laboratory"), "encounter": {"reference": "Encounter/enc-1"}}
    must(hospital.put(body))
    must(hospital.delete("Observation/own"))
    furnished.share(status="inactive")

    assert must(hospital.put(body)).status_code == 200


def test_a_patient_whose_clinic_is_gone_gets_a_new_telephone_number(furnished: House) -> None:
    platform, hospital = furnished.system("ehr-commons"), furnished.system("hospital-b")
    platform.store(organization("clinic"))
    body = {
        **patient("new", "ZF1234564"),
        "managingOrganization": {"reference": "Organization/clinic"},
        "generalPractitioner": [{"reference": "Organization/clinic"}],
    }
    must(hospital.put(body))
    must(platform.delete("Organization/clinic"))

    changed = {**body, "telecom": [{"system": "phone", "value": "2345 6789"}]}
    assert must(hospital.put(changed)).status_code == 200


def carer_power(patient_id: str, *codes: str) -> Json:
    """Return the Consent by which a carer has powers for a patient."""
    role = restriction("x", against="Organization/x")["provision"]["actor"][0]["role"]
    account = {"system": "https://ehr-commons.hk/fhir/sid/account", "value": "carer"}
    coding = [{"system": f"{EHR}/carer-power", "code": code} for code in codes]
    provision = {
        "type": "permit",
        "actor": [{"role": role, "reference": {"identifier": account}}],
        "action": [{"coding": coding}],
    }
    return consent("power", "carer", patient=patient_id, provision=provision)


def nested(record: str) -> Json:
    """Return a restriction that names a record two levels deep."""
    body = restriction("decided", against="Organization/hospital-b")
    named = [{"meaning": "instance", "reference": {"reference": record}}]
    body["provision"]["provision"] = [{"type": "permit", "data": named}]
    return body


@pytest.mark.parametrize("who", ["p.pat-1", "carer", "steward", "platform"])
@pytest.mark.parametrize("form", [nested, lambda record: restriction("decided", record=record)])
def test_who_records_a_decision_names_the_patients_own_records_and_no_others(
    furnished: House, who: str, form: Any
) -> None:
    platform = furnished.system("ehr-commons")
    accounts.add_account(furnished.gateway.store, Account("carer", "carer", "Carer"))
    session = platform if who == "platform" else furnished.login(who)
    hospital = furnished.system("hospital-a")
    # To manage is not to view: a carer names what they do not see.
    platform.store(carer_power("pat-1", "manage"))
    hospital.store(encounter("of-two", patient="pat-2"))
    hospital.store(condition("two", "of-two", patient="pat-2"))
    hospital.store({**observation("seen-by-none", "laboratory"), "status": "final"})
    furnished.login("p.pat-1").store(restriction("all"))

    own = session.post("Consent", form("Observation/seen-by-none"))
    others = [session.post("Consent", form(f"Condition/{name}")) for name in ("two", "absent")]

    assert own.status_code == 201, own.text
    assert [answer.status_code for answer in others] == [422, 422]
    assert others[0].content == others[1].content
    events = must(furnished.login("auditor").get("AuditEvent?subtype=create&patient=pat-1"))
    assert f"Consent/{own.json()['id']}" in events.text


@pytest.mark.parametrize("who", ["doctor.a", "hospital-a", "researcher", "auditor", "admin"])
def test_nobody_else_records_a_decision(furnished: House, who: str) -> None:
    session = furnished.system(who) if who == "hospital-a" else furnished.login(who)

    for name in ("lab-1", "absent"):
        answer = session.post("Consent", restriction("decided", record=f"Observation/{name}"))
        assert answer.status_code == 403
