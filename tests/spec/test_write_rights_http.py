"""The right to write: judged before anything is in place, so that trying to write tells nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ehr_fhir.errors import Forbidden
from ehr_gateway.access import Access
from ehr_gateway.interactions.create import create
from ehr_gateway.interactions.update import update
from ehr_gateway.store.version_rows import insert_version, replace_rules
from ehr_gateway.transaction.prepared_resource import prepare_resource
from ehr_privacy.consent import Requester, parse_scopes
from tests.lib.gateway import (
    EHR,
    House,
    Session,
    consent,
    must,
    observation,
    patient,
)  # fmt: skip

RECIPIENT = {
    "coding": [
        {"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}
    ]
}


def sharing_with_b() -> dict[str, Any]:
    """Return what only the patient may write: sharing with hospital-b."""
    actor = {"role": RECIPIENT, "reference": {"reference": "Organization/hospital-b"}}
    return consent("forged", "sharing", provision={"type": "permit", "actor": [actor]})


def power(person: str, *codes: str, patient: str = "pat-1") -> dict[str, Any]:
    """Return a Consent that makes a person the patient's carer."""
    account = {"system": f"{EHR}/sid/account".replace("/CodeSystem", ""), "value": person}
    coding = [{"system": f"{EHR}/carer-power", "code": code} for code in codes]
    provision = {
        "type": "permit",
        "actor": [{"role": RECIPIENT, "reference": {"identifier": account}}],
        "action": [{"coding": coding}],
    }
    return consent(f"power-{patient}", "carer", patient=patient, provision=provision)


def transaction(session: Session, *entries: tuple[str, str, dict[str, Any] | None]) -> Any:
    """Send a transaction of (method, url, resource)."""
    entry = [
        {"request": {"method": method, "url": url}, **({"resource": body} if body else {})}
        for method, url, body in entries
    ]
    return session.post("/fhir", {"resourceType": "Bundle", "type": "transaction", "entry": entry})


def carer(scopes: str = "patient/*.rs patient/Consent.cruds") -> Access:
    """Return the access of a carer whose token may write Consents."""
    who = Requester(
        "carer", "mallory", purpose="PATRQT", patient="pat-1", scopes=parse_scopes(scopes)
    )
    return Access(who, 1_795_334_400_000, "request")


def test_a_forged_consent_opens_no_record_to_the_reads_of_its_transaction(
    furnished: House,
) -> None:
    doctor = furnished.login("doctor.b")

    hidden, absent = (
        transaction(
            doctor,
            ("POST", "Consent", sharing_with_b()),
            ("GET", f"Observation/{name}", None),
        )
        for name in ("lab-1", "absent")
    )

    assert (hidden.status_code, hidden.content) == (absent.status_code, absent.content)
    assert hidden.status_code == 403


@pytest.mark.parametrize("role", ["doctor.b", "p.pat-2", "researcher"])
def test_a_forged_consent_opens_no_record_to_references_by_search(
    furnished: House, role: str
) -> None:
    answers = set()
    for criteria in ("category=vital-signs", "category=laboratory", "code=none"):
        body = observation("new", "laboratory", "pat-2")
        body["derivedFrom"] = [{"reference": f"Observation?patient=pat-1&{criteria}"}]
        answer = transaction(
            furnished.login(role),
            ("POST", "Consent", sharing_with_b()),
            ("POST", "Observation", body),
        )
        answers.add((answer.status_code, answer.content))

    assert len(answers) == 1
    assert answers.pop()[0] == 403


def test_a_carer_cannot_grant_himself_the_power_that_he_needs_to_grant_it(
    furnished: House,
) -> None:
    body = json.dumps(power("mallory", "view", "manage")).encode()

    with pytest.raises(Forbidden):
        create(furnished.gateway.store, carer(), "Consent", body)


def test_a_carer_moves_no_consent_away_from_a_patient_he_only_views(furnished: House) -> None:
    platform = furnished.system("ehr-commons")
    platform.store(power("mallory", "view"))
    platform.store(power("mallory", "view", "manage", patient="pat-2"))
    furnished.share()
    moved = consent("sharing-hospital-b", "restriction", patient="pat-2", provision={
        "type": "deny"
    })  # fmt: skip

    with pytest.raises(Forbidden):
        update(
            furnished.gateway.store,
            carer("user/Consent.cruds"),
            "Consent",
            "sharing-hospital-b",
            json.dumps(moved).encode(),
        )

    assert furnished.login("doctor.b").get("Observation/lab-1").status_code == 200


def test_a_patient_does_not_release_a_result_that_is_held(furnished: House) -> None:
    hold = consent(
        "hold-1",
        "hold",
        provision={
            "type": "deny",
            "period": {"start": "2026-01-01", "end": "2027-01-01"},
            "actor": [
                {"role": RECIPIENT, "reference": {"reference": "Organization/hospital-a"}}
            ],
            "data": [{"meaning": "instance", "reference": {"reference": "Observation/lab-1"}}],
        },
    )  # fmt: skip
    ready = prepare_resource(hold, "hospital-a")
    with furnished.gateway.store.write_transaction() as connection:
        insert_version(connection, ready.record, ready.body(1, 1), last_updated_ms=1, method="POST")
        replace_rules(connection, ready.record, ready.rules, has_previous=False, event=None)
    own = furnished.login("p.pat-1")

    deleted = own.delete("Consent/hold-1")
    ended = own.put({**hold, "status": "inactive"})
    replaced = own.put(consent("hold-1", "restriction", provision={"type": "deny"}))

    assert [deleted.status_code, ended.status_code, replaced.status_code] == [403, 403, 403]
    assert own.post("Consent", hold).status_code == 403
    assert own.get("Observation/lab-1").status_code == 404


def test_an_update_does_not_make_a_record_the_updaters_own(furnished: House) -> None:
    furnished.share()
    doctor = furnished.login("doctor.b")
    must(doctor.put(doctor.get("Observation/lab-1").json()))

    furnished.share(status="inactive")

    assert doctor.get("Observation/lab-1").status_code == 404
    assert doctor.get("Observation/lab-1/_history/2").status_code == 404
    author = furnished.login("doctor.a").get("Observation/lab-1")
    assert must(author).json()["meta"]["versionId"] == "2"


def test_nobody_signs_with_another_organisations_name(furnished: House) -> None:
    furnished.share()
    doctor = furnished.login("doctor.b")
    written = {**observation("new", "laboratory"), "meta": {}}

    statuses = []
    for organization in ("hospital-a", "hospital-b"):
        written["meta"] = {"source": f"https://ehr-commons.hk/organization/{organization}"}
        statuses.append(doctor.post("Observation", written).status_code)

    assert statuses == [422, 201]


def test_who_may_not_write_learns_no_free_id_of_the_directory(furnished: House) -> None:
    report = {
        "resourceType": "MeasureReport",
        "id": "taken",
        "status": "complete",
        "type": "summary",
        "measure": "http://example.org/m",
        "period": {"start": "2026"},
    }
    must(furnished.system("hospital-a").put(report))
    doctor = furnished.login("doctor.b")

    taken, free = (doctor.put({**report, "id": name}) for name in ("taken", "free"))

    assert (taken.status_code, taken.content) == (free.status_code, free.content)


def test_the_platform_still_registers_patient_consent_and_record_in_any_order(
    furnished: House,
) -> None:
    answer = transaction(
        furnished.system("ehr-commons"),
        ("PUT", "Observation/new", observation("new", "laboratory", "pat-9")),
        ("PUT", "Consent/joining-9", consent("joining-9", "joining", patient="pat-9")),
        ("PUT", "Patient/pat-9", patient("pat-9", "ZC1234566")),
    )

    assert must(answer).status_code == 200
