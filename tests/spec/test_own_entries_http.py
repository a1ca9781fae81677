"""What patients measure and write down: theirs alone to write and mend, for others to read."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from ehr_fhir.own_entries import OWN_ENTRY_KINDS, OwnEntryKind, build_own_entry
from ehr_portal.record.own_entries import same_entry_criteria
from tests.lib.gateway import House, must, observation, restriction
from tests.spec.access.steps import carer

WEIGHT = OWN_ENTRY_KINDS["weight"]
PRESSURE = OWN_ENTRY_KINDS["blood-pressure"]
DAY = "2026-11-21T08:00:00+08:00"
each_kind = pytest.mark.parametrize("kind", OWN_ENTRY_KINDS.values(), ids=OWN_ENTRY_KINDS)


def entry(kind: OwnEntryKind = WEIGHT, patient: str = "pat-1", **changes: Any) -> dict[str, Any]:
    """Return a plausible entry with some elements replaced; None takes one out."""
    numbers = [part.most for part in kind.parts]
    built = build_own_entry(kind, patient, numbers, DAY) | changes
    return {name: value for name, value in built.items() if value is not None}


@each_kind
def test_a_patient_writes_corrects_and_takes_back_each_kind(
    furnished: House, kind: OwnEntryKind
) -> None:
    patient = furnished.login("p.pat-1")

    stored = must(patient.post("Observation", entry(kind))).json()
    lower = build_own_entry(kind, "pat-1", [part.least + 20 for part in kind.parts], DAY)
    if kind is PRESSURE:
        lower["component"][0]["valueQuantity"]["value"] = 120
    corrected = must(patient.put(lower | {"id": stored["id"], "status": "corrected"})).json()
    taken_back = must(patient.put(corrected | {"status": "entered-in-error"})).json()

    assert taken_back["meta"]["versionId"] == "3"
    # The program that sent it, and no organisation.
    assert taken_back["meta"]["source"] == "https://ehr-commons.hk/client/test"
    assert patient.delete(f"Observation/{stored['id']}").status_code == 403


@each_kind
def test_the_same_measurement_is_created_once(furnished: House, kind: OwnEntryKind) -> None:
    patient = furnished.login("p.pat-1")

    def send(measured: dict[str, Any]) -> Any:
        headers = {"If-None-Exist": same_entry_criteria(measured)}
        return must(patient.post("Observation", measured, headers=headers))

    first = send(entry(kind))
    again = send(entry(kind))
    lower = build_own_entry(kind, "pat-1", [part.least + 20 for part in kind.parts][::-1], DAY)
    if kind is PRESSURE:
        lower["component"][0]["valueQuantity"]["value"] = 121
    other, later = send(lower), send(entry(kind, effectiveDateTime="2026-11-21T08:01:00+08:00"))

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["id"] == first.json()["id"]
    assert (other.status_code, later.status_code) == (201, 201)
    # What was marked as a mistake is measured anew.
    must(patient.put(first.json() | {"status": "entered-in-error"}))
    assert send(entry(kind)).status_code == 201


@each_kind
def test_clinicians_read_it_by_consent_and_change_nothing(
    furnished: House, kind: OwnEntryKind
) -> None:
    stored = must(furnished.login("p.pat-1").post("Observation", entry(kind))).json()
    doctor, name = furnished.login("doctor.b"), f"Observation/{stored['id']}"

    assert doctor.get(name).status_code == 404
    furnished.share()
    read = must(doctor.get(name)).json()
    assert read["performer"] == [{"reference": "Patient/pat-1"}]
    for changed in (
        read | {"status": "entered-in-error"},
        read | {"note": [{"text": "No"}]},
        read | {"performer": [{"reference": "Organization/hospital-b"}]},
    ):
        assert doctor.put(changed).status_code in (403, 422)
        assert furnished.system("hospital-b").put(changed).status_code in (403, 422)
    assert doctor.delete(name).status_code == 403
    # One restriction closes all of them: they are of one domain.
    furnished.login("p.pat-1").store(restriction("close", domain="observation"))
    assert doctor.get(name).status_code == 404


def test_nobody_writes_in_another_persons_name(furnished: House) -> None:
    two = furnished.login("p.pat-2")
    other = entry() | {"subject": {"reference": "Patient/pat-2"}}

    assert two.post("Observation", entry()).status_code == 403
    assert two.post("Observation", other).status_code == 403
    stored = must(furnished.login("p.pat-1").post("Observation", entry())).json()
    assert two.put(stored).status_code in (403, 404)
    # Nor to one's own record what another wrote.
    moved = entry(patient="pat-2") | {"id": stored["id"]}
    assert furnished.login("p.pat-1").put(moved).status_code == 403


def test_what_others_wrote_stays_theirs(furnished: House) -> None:
    patient = furnished.login("p.pat-1")
    own = {"reference": "Patient/pat-1"}
    hospital = furnished.system("hospital-a")
    reported = observation("reported", "survey") | {"performer": [own]}
    hospital.store(reported)

    for record in ("vital-1", "reported"):
        before = must(patient.get(f"Observation/{record}")).json()
        for changed in (
            before | {"status": "entered-in-error"},
            before | {"performer": [own]},
            entry() | {"id": record},
        ):
            assert patient.put(changed).status_code == 403, record
    # A hospital may note what a patient told; it is the hospital's record.
    assert must(hospital.put(reported | {"status": "corrected"})).status_code == 200


def test_an_own_entry_stays_one(furnished: House) -> None:
    patient = furnished.login("p.pat-1")
    stored = must(patient.post("Observation", entry())).json()

    without = {name: value for name, value in stored.items() if name != "performer"}
    assert patient.put(without).status_code == 403
    for kind in ("Condition", "AllergyIntolerance", "MedicationStatement"):
        body = {"resourceType": kind, "subject": {"reference": "Patient/pat-1"}}
        assert patient.post(kind, body).status_code in (403, 422), kind


def test_a_carer_writes_who_decides_and_no_other(furnished: House) -> None:
    viewer = carer(furnished, "carer.1", power="view")
    manager = carer(furnished, "carer.2", power="both")

    assert viewer.post("Observation", entry()).status_code == 403
    stored = must(manager.post("Observation", entry())).json()
    assert stored["performer"] == [{"reference": "Patient/pat-1"}]
    must(manager.put(stored | {"status": "entered-in-error"}))
    assert viewer.put(stored).status_code == 403
    assert manager.post("Observation", entry(patient="pat-2")).status_code == 403


def quantity(value: float, unit: str = "kg") -> dict[str, Any]:
    return {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}


OTHER_CODE = {"coding": [{"system": "http://loinc.org", "code": "718-7"}]}
LABORATORY = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/observation-category",
            "code": "laboratory",
        }
    ]
}
ILL_FORMED: dict[str, dict[str, Any]] = {
    "another test": {"code": OTHER_CODE},
    "a text beside the code": {"code": entry()["code"] | {"text": "x"}},
    "another category": {"category": [LABORATORY]},
    "no category": {"category": None},
    "too light": {"valueQuantity": quantity(0.2)},
    "too heavy": {"valueQuantity": quantity(500.1)},
    "pounds": {"valueQuantity": quantity(150, "[lb_av]")},
    "a bound": {"valueQuantity": quantity(60) | {"comparator": "<"}},
    "no number": {"valueQuantity": {"unit": "kg"}},
    "no value": {"valueQuantity": None},
    "a string": {"valueQuantity": None, "valueString": "heavy"},
    "a component too": {"component": entry(PRESSURE)["component"]},
    "tomorrow": {"effectiveDateTime": "2026-11-23T08:00:00+08:00"},
    "a hundred years ago": {"effectiveDateTime": "1900-01-01"},
    "a year": {"effectiveDateTime": "2025"},
    "no date": {"effectiveDateTime": None},
    "not final": {"status": "preliminary"},
    "a long note": {"note": [{"text": "x" * 301}]},
    "two notes": {"note": [{"text": "x"}, {"text": "y"}]},
    "a note of somebody": {"note": [{"text": "x", "authorString": "Dr A"}]},
    "a narrative": {
        "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">x</div>'}
    },
    "an interpretation": {"interpretation": [{"text": "fine"}]},
    "a range": {"referenceRange": [{"text": "any"}]},
    "a visit": {"encounter": {"reference": "Encounter/enc-1"}},
    "an identifier": {"identifier": [{"value": "1"}]},
    "a tag": {"meta": {"tag": [{"code": "x"}]}},
    "an extension": {"extension": [{"url": "http://example.org/x", "valueString": "x"}]},
}


@pytest.mark.sampled
@pytest.mark.parametrize("case", ILL_FORMED)
def test_what_is_not_plausible_is_refused(furnished: House, case: str) -> None:
    patient = furnished.login("p.pat-1")
    stored = must(patient.post("Observation", entry())).json()

    answer = patient.post("Observation", entry(**deepcopy(ILL_FORMED[case])))
    changed = patient.put(entry(**deepcopy(ILL_FORMED[case])) | {"id": stored["id"]})

    assert answer.status_code == changed.status_code == 422, answer.text
    issue = answer.json()["issue"][0]
    assert issue["expression"][0].startswith("Observation")


def test_the_upper_value_is_above_the_lower(furnished: House) -> None:
    body = build_own_entry(PRESSURE, "pat-1", [80, 120], DAY)

    assert furnished.login("p.pat-1").post("Observation", body).status_code == 422


def test_a_bundle_and_a_patch_obey_the_same_rules(furnished: House) -> None:
    patient = furnished.login("p.pat-1")
    too_heavy = entry(valueQuantity=quantity(900))
    request = {"method": "POST", "url": "Observation"}
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"resource": too_heavy, "request": request}],
    }
    assert patient.post("", bundle).status_code == 422
    stored = must(patient.post("Observation", entry())).json()

    patched = patient.request(
        "PATCH",
        f"Observation/{stored['id']}",
        json=[{"op": "replace", "path": "/valueQuantity/value", "value": 900}],
        headers={"Content-Type": "application/json-patch+json"},
    )

    assert patched.status_code == 422
