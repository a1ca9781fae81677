"""Records that open with what they name: their patients are told, and it is on record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ehr_inbound.bulk_files.load import load
from tests.lib.gateway import House, condition, encounter, must, observation, restriction

Json = dict[str, Any]
ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
HIV = {"system": ACT_CODE, "code": "HIV"}
LABELLED = {"meta": {"security": [HIV]}}
STAY = {"data": [{"meaning": "related", "reference": {"reference": "Encounter/stay"}}]}


def medication(**more: Any) -> Json:
    return {"resourceType": "Medication", "id": "drug", **more}


def prescription(**more: Any) -> Json:
    return {
        "resourceType": "MedicationRequest",
        "id": "rx",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/pat-1"},
        "medicationReference": {"reference": "Medication/drug"},
        **more,
    }


def ward_round(**more: Any) -> Json:
    return {**encounter("round"), **more}


# What hospital-a stores first, what it stores then, and which record of hospital-b's that opens.
CHANGES: dict[str, tuple[list[Json], Json, Json]] = {
    "a label of a Medication": ([medication(**LABELLED)], medication(), prescription()),
    "a label of an Encounter": (
        [ward_round(**LABELLED)],
        ward_round(),
        condition("finding", "round"),
    ),
    "a label of another result": (
        [{**observation("first", "laboratory"), **LABELLED}],
        observation("first", "laboratory"),
        {
            **observation("second", "laboratory"),
            "derivedFrom": [{"reference": "Observation/first"}],
        },
    ),
    "the stay of an Encounter": (
        [encounter("stay"), ward_round(partOf={"reference": "Encounter/stay"})],
        ward_round(),
        condition("finding", "round"),
    ),
    "what lies between": (
        [
            medication(**LABELLED),
            {
                **observation("first", "laboratory"),
                "extension": [
                    {"url": "http://x", "valueReference": {"reference": "Medication/drug"}}
                ],
            },
        ],
        observation("first", "laboratory"),
        {
            **observation("second", "laboratory"),
            "derivedFrom": [{"reference": "Observation/first"}],
        },
    ),
}


def furnish(house: House, before: list[Json], record: Json) -> None:
    """Let hospital-b's record name hospital-a's; the patient hides it from hospital-c."""
    house.system("ehr-commons").store({"resourceType": "Organization", "id": "hospital-c"})
    for organization in ("hospital-a", "hospital-b", "hospital-c"):
        house.share(organization)
    for body in before:
        house.system("hospital-a").store(body)
    patient = house.login("p.pat-1")
    against = "Organization/hospital-c"
    if not any(body.get("id") == "stay" for body in before):
        patient.store(restriction("hide-hiv", against=against, securityLabel=[HIV]))
    else:
        patient.store(restriction("hide-stay", against=against, **STAY))
    house.system("hospital-b").store(record)
    assert house.system("hospital-c").get(address(record)).status_code == 404


def address(record: Json) -> str:
    return f"{record['resourceType']}/{record['id']}"


def notices(house: House, login: str = "p.pat-1") -> int:
    """Return how often a patient was told that a record opened."""
    return str(must(house.login(login).get("$notices")).text).count("record-opened")


def events(house: House, login: str = "p.pat-1") -> list[Json]:
    """Return the events of a patient's own log that say that records opened."""
    patient = login.removeprefix("p.")
    found = must(house.login(login).get(f"AuditEvent?patient={patient}&_count=100")).json()
    resources = [entry["resource"] for entry in found.get("entry", [])]
    return [event for event in resources if event.get("outcomeDesc") == "opened"]


def names(event: Json) -> set[str]:
    return {entity.get("what", {}).get("reference") for entity in event["entity"]}


def by_update(house: House, body: Json) -> None:
    must(house.system("hospital-a").put(body))


def by_patch(house: House, body: Json) -> None:
    operations = [
        {"op": "remove", "path": f"/{name}"}
        for name, absent in (
            ("meta/security", "security" not in body.get("meta", {})),
            ("partOf", "partOf" not in body),
            ("extension", "extension" not in body),
        )
        if absent
        and name.split("/")[-1] in json.dumps(house.system("hospital-a").get(address(body)).json())
    ]
    must(
        house.system("hospital-a").request(
            "PATCH",
            address(body),
            json=operations,
            headers={"Content-Type": "application/json-patch+json"},
        )
    )


def by_transaction(house: House, body: Json) -> None:
    entry = {"resource": body, "request": {"method": "PUT", "url": address(body)}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    must(house.system("hospital-a").post("/fhir", bundle))


def by_batch(house: House, body: Json) -> None:
    entry = {"resource": body, "request": {"method": "PUT", "url": address(body)}}
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [entry]}
    must(house.system("hospital-a").post("/fhir", bundle))


def by_criteria(house: House, body: Json) -> None:
    must(
        house.system("hospital-a").request(
            "PUT", f"{body['resourceType']}?_id={body['id']}", json=body
        )
    )


@pytest.mark.sampled
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("write", [by_update, by_patch, by_transaction, by_batch, by_criteria])
def test_patients_are_told_of_what_opens_with_another_record(
    furnished: House, change: str, write: Callable[[House, Json], None]
) -> None:
    before, after, record = CHANGES[change]
    furnish(furnished, before, record)
    assert (notices(furnished), events(furnished)) == (0, [])

    write(furnished, after)

    assert furnished.system("hospital-c").get(address(record)).status_code == 200
    # Two notices if the patient's own record that was changed opened as well: each of its own.
    assert notices(furnished) in (1, 2)
    (event,) = events(furnished)
    assert address(record) in names(event)
    assert event["agent"][0]["who"]["identifier"]["value"] == "system-hospital-a"


def test_one_request_tells_a_patient_once(furnished: House) -> None:
    furnish(furnished, [medication(**LABELLED)], prescription())
    for number in range(5):
        furnished.system("hospital-b").store(prescription(id=f"more-{number}"))

    by_update(furnished, medication())

    assert notices(furnished) == 1
    (event,) = events(furnished)
    assert len([name for name in names(event) if name and name.startswith("Med")]) == 6
    # Closed and opened again, the patient is told again.
    by_update(furnished, medication(**LABELLED))
    by_update(furnished, medication())
    assert notices(furnished) == 2


def test_nobody_is_told_where_nothing_was_closed(furnished: House) -> None:
    """Another patient's record, and one that stays closed by its own label."""
    furnish(furnished, [medication(**LABELLED)], prescription())
    furnished.system("hospital-b").store(
        prescription(id="other", subject={"reference": "Patient/pat-2"})
    )
    furnished.system("hospital-b").store(prescription(id="own", **LABELLED))

    by_update(furnished, medication())

    assert (notices(furnished, "p.pat-2"), events(furnished, "p.pat-2")) == (0, [])
    (event,) = events(furnished)
    assert "MedicationRequest/own" not in names(event)


def test_a_third_party_in_one_transaction_with_its_own_record(furnished: House) -> None:
    """Hospital-a drops its label, and writes hospital-b's record that names it, unchanged."""
    furnish(furnished, [medication(**LABELLED)], prescription())
    entries = [
        {"resource": body, "request": {"method": "PUT", "url": address(body)}}
        for body in (medication(), prescription(note=[{"text": "seen"}]))
    ]

    must(
        furnished.system("hospital-a").post(
            "/fhir", {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        )
    )

    assert furnished.system("hospital-c").get("MedicationRequest/rx").status_code == 200
    assert notices(furnished) == 1
    assert "MedicationRequest/rx" in names(events(furnished)[0])


def call(house: House, login: str, to: str, **values: Any) -> None:
    parameters = [
        {"name": name, **(value if isinstance(value, dict) else {"valueString": value})}
        for name, value in values.items()
    ]
    must(house.login(login).post(to, {"resourceType": "Parameters", "parameter": parameters}))


def test_a_stewards_correction_tells_of_what_opens_with_it(furnished: House) -> None:
    furnish(furnished, [ward_round(**LABELLED)], condition("finding", "round"))

    call(
        furnished, "steward", "Encounter/round/$correct-facts",
        fact="label", value="HIV", action="deny", reason="On paper, form 12",
    )  # fmt: skip

    assert furnished.system("hospital-c").get("Condition/finding").status_code == 200
    assert notices(furnished) == 1
    assert "Condition/finding" in names(events(furnished)[0])


def test_what_a_patient_opens_of_another_patient_the_other_is_told(
    furnished: House,
) -> None:
    """A mother takes her label from her record, which one of her baby names."""
    hospital = furnished.system("hospital-a")
    furnished.login("p.pat-2").store(
        {
            **restriction("hide-baby", against="Organization/hospital-b", securityLabel=[HIV]),
            "patient": {"reference": "Patient/pat-2"},
        }
    )
    hospital.store(observation("mothers", "laboratory"))
    hospital.store(
        {
            **observation("babys", "laboratory", patient="pat-2"),
            "derivedFrom": [{"reference": "Observation/mothers"}],
        }
    )
    label = {"meta": {"valueMeta": {"security": [HIV]}}}
    call(furnished, "p.pat-1", "Observation/mothers/$meta-add", **label)

    call(furnished, "p.pat-1", "Observation/mothers/$meta-delete", **label)

    assert notices(furnished, "p.pat-2") == 1
    assert "Observation/babys" in names(events(furnished, "p.pat-2")[0])
    assert (notices(furnished), events(furnished)) == (0, [])


def test_a_load_tells_of_what_it_opens(furnished: House, tmp_path: Path) -> None:
    furnish(furnished, [medication(**LABELLED)], prescription())
    file = tmp_path / "drugs.ndjson"
    file.write_text(json.dumps(medication()))

    report = load(furnished.gateway.store, [file], "hospital-a", clock=furnished.clock)

    assert report.accepted == 1
    assert furnished.system("hospital-c").get("MedicationRequest/rx").status_code == 200
    assert notices(furnished) == 1


def test_a_load_of_the_record_itself_tells_of_it(furnished: House, tmp_path: Path) -> None:
    furnish(furnished, [medication()], {**prescription(), **LABELLED})
    file = tmp_path / "prescriptions.ndjson"
    file.write_text(json.dumps(prescription()))

    load(furnished.gateway.store, [file], "hospital-b", clock=furnished.clock)

    assert furnished.system("hospital-c").get("MedicationRequest/rx").status_code == 200
    assert notices(furnished) == 1
