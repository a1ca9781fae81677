"""Older versions: what was put right later is not left open in the version before."""

from __future__ import annotations

from typing import Any

from tests.lib.gateway import House, consent, must, observation

HIV = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}


def labelled(name: str) -> dict[str, Any]:
    """Return a laboratory result under the label HIV."""
    return {**observation(name, "laboratory"), "meta": {"security": [HIV]}}


def test_a_label_added_later_closes_the_versions_before_it(furnished: House) -> None:
    furnished.share()
    deny = consent("hiv", "restriction", provision={"type": "deny", "securityLabel": [HIV]})
    furnished.login("p.pat-1").store(deny)
    must(furnished.system("hospital-a").put(labelled("lab-2")))

    doctor = furnished.login("doctor.b")
    entries = [
        {"request": {"method": "GET", "url": f"Observation/{name}/_history/1"}}
        for name in ("lab-2", "absent")
    ]
    batch = doctor.post("/fhir", {"resourceType": "Bundle", "type": "batch", "entry": entries})

    assert doctor.get("Observation/lab-2/_history/1").status_code == 404
    assert doctor.get("Observation/lab-2/_history").status_code == 404
    hidden, absent = must(batch).json()["entry"]
    assert hidden == absent


def test_a_record_moved_to_another_patient_is_gone_from_the_first_ones(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    hospital.store(observation("mistaken", "laboratory", "pat-2"))
    must(hospital.put(observation("mistaken", "laboratory", "pat-1")))

    first = furnished.login("p.pat-2")

    assert first.get("Observation/mistaken/_history/1").status_code == 404
    assert first.get("Observation/mistaken/_history").status_code == 404
    # The other way round, the first version is still about somebody else.
    second = furnished.login("p.pat-1")
    assert second.get("Observation/mistaken/_history/1").status_code == 404
    assert must(second.get("Observation/mistaken/_history")).json()["total"] == 1


def test_the_author_reads_every_version(furnished: House) -> None:
    must(furnished.system("hospital-a").put(labelled("lab-2")))
    must(furnished.system("hospital-a").delete("Observation/lab-2"))

    doctor = furnished.login("doctor.a")

    assert must(doctor.get("Observation/lab-2/_history")).json()["total"] == 3
    assert must(doctor.get("Observation/lab-2/_history/1")).json()["id"] == "lab-2"
