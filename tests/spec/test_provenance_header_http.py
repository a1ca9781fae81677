"""`X-Provenance`: stored with what was written, about it, in one transaction, or neither."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lib.gateway import House, Session, must, observation, patient

SENT: dict[str, Any] = {
    "resourceType": "Provenance",
    "recorded": "2026-01-06T09:00:00Z",
    "agent": [{"who": {"reference": "Organization/hospital-a"}}],
}


def header(**changed: Any) -> dict[str, str]:
    return {"X-Provenance": json.dumps({**SENT, **changed})}


def unnamed(patient: str = "pat-1") -> dict[str, Any]:
    body = observation("", "laboratory", patient)
    del body["id"]
    return body


def targets(session: Session) -> list[list[str]]:
    bundle = must(session.get("Provenance?_sort=_lastUpdated")).json()
    found = [entry["resource"]["target"] for entry in bundle.get("entry", [])]
    return [[target["reference"] for target in group] for group in found]


def transaction(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


def test_each_kind_of_write_has_its_provenance(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    new = must(hospital.post("Observation", unnamed(), headers=header())).json()["id"]
    must(hospital.put(observation("lab-1", "laboratory"), headers=header()))
    changes = [{"op": "replace", "path": "/status", "value": "amended"}]
    media = {"Content-Type": "application/json-patch+json", **header()}
    must(hospital.request("PATCH", "Observation/lab-2", json=changes, headers=media))
    query = "Observation?_id=vital-1"
    changed = observation("vital-1", "vital-signs")
    must(hospital.request("PUT", query, json=changed, headers=header()))

    versions = [f"Observation/{new}/_history/1"]
    versions += [f"Observation/{name}/_history/2" for name in ("lab-1", "lab-2", "vital-1")]
    assert sorted(targets(hospital)) == sorted([one] for one in versions)
    assert targets_of(hospital, "Observation/lab-1") == [["Observation/lab-1/_history/2"]]


def targets_of(session: Session, reference: str) -> list[list[str]]:
    bundle = must(session.get(f"Provenance?target={reference}")).json()
    return [
        [target["reference"] for target in entry["resource"]["target"]]
        for entry in bundle.get("entry", [])
    ]


def test_a_transaction_has_one_of_each_patient_that_names_none_of_the_others(
    furnished: House,
) -> None:
    hospital = furnished.system("hospital-a")
    post = {"method": "POST", "url": "Observation"}
    entries = [{"request": post, "resource": unnamed(one)} for one in ("pat-1", "pat-2", "pat-1")]
    gone = {"request": {"method": "DELETE", "url": "Observation/lab-2"}}

    answer = must(hospital.post("", transaction(*entries, gone), headers=header())).json()

    made = [entry["response"]["location"] for entry in answer["entry"][:3]]
    of_each = [[made[0], made[2]], [made[1]]]
    shown = [[f"Observation/{one.split('Observation/')[1]}" for one in group] for group in of_each]
    assert sorted(map(sorted, targets(hospital))) == sorted(map(sorted, shown))


def test_what_finds_or_changes_nothing_has_none(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    existing = {**header(), "If-None-Exist": "_id=lab-1"}
    assert hospital.post("Observation", unnamed(), headers=existing).status_code == 200
    assert hospital.get("Observation/lab-1", headers=header(target="x")).status_code == 200
    assert targets(hospital) == []


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("no json", 400),
        ('{"resourceType":"Observation"}', 400),
        (json.dumps({**SENT, "target": [{"reference": "Observation/lab-2"}]}), 400),
        (json.dumps({"resourceType": "Provenance"}), 422),
        (json.dumps({**SENT, "agent": [{"who": {"reference": "Organization/none"}}]}), 422),
        (json.dumps({**SENT, "entity": [{"role": "nonsense"}]}), 422),
    ],
)
def test_a_header_that_cannot_be_kept_refuses_the_write_with_it(
    furnished: House, sent: str, status: int
) -> None:
    hospital = furnished.system("hospital-a")
    before = hospital.ids("Observation")
    answer = hospital.post("Observation", unnamed(), headers={"X-Provenance": sent})

    assert answer.status_code == status, answer.text
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert hospital.ids("Observation") == before
    assert targets(hospital) == []


def test_who_may_not_write_provenance_writes_nothing_with_it(furnished: House) -> None:
    narrow = furnished.system("hospital-a", "system/Observation.cruds")
    answer = narrow.put(observation("lab-1", "laboratory"), headers=header())

    assert answer.status_code == 403
    current = must(narrow.get("Observation/lab-1")).json()
    assert current["meta"]["versionId"] == "1"


def test_a_patient_reads_the_provenance_of_their_own_records_and_nobody_elses(
    furnished: House,
) -> None:
    both = (patient("pat-1", "ZA1234560"), patient("pat-2", "ZB1234563"))
    entries = [
        {"request": {"method": "PUT", "url": f"Patient/{one['id']}"}, "resource": one}
        for one in both
    ]
    must(furnished.system("ehr-commons").post("", transaction(*entries), headers=header()))

    for name in ("pat-1", "pat-2"):
        assert targets(furnished.login(f"p.{name}")) == [[f"Patient/{name}/_history/2"]]
    assert targets(furnished.system("hospital-b")) == []


@pytest.mark.parametrize(
    ("method", "address"),
    [("DELETE", "Observation/lab-1"), ("POST", "Patient/pat-1/$hold")],
)
def test_what_stores_no_resource_takes_none(furnished: House, method: str, address: str) -> None:
    body = {"json": {"resourceType": "Parameters"}} if method == "POST" else {}
    answer = furnished.system("hospital-a").request(method, address, headers=header(), **body)

    assert answer.status_code == 400
    assert "X-Provenance" in answer.json()["issue"][0]["diagnostics"]


def test_a_change_that_waits_for_a_steward_is_refused_with_it(furnished: House) -> None:
    changed = {**patient("pat-1", "ZA1234560"), "birthDate": "1981-02-03"}
    furnished.share("hospital-a")
    doctor = furnished.login("doctor.a")

    assert doctor.put(changed, headers=header()).status_code == 422
    assert doctor.put(changed).status_code == 202
