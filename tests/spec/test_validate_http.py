"""`$validate`: what is found in a resource that is sent or stored, by loaded profiles too."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.gateway import House, Session, consent, must, observation, patient
from tests.lib.lab_profile import PROFILE, build_lab_profile

# A result needs a value, and no code of another system.
LAB = build_lab_profile(
    {"path": "Observation"},
    {"path": "Observation.value[x]", "min": 1},
    {"path": "Observation.code.coding.system", "fixedUri": "http://example.org/tests"},
)


def validate(session: Session, address: str, body: Any = None) -> list[tuple[str, str, str]]:
    """Return severity, code and place of each issue."""
    answer = session.get(address) if body is None else session.post(address, body)
    issues = must(answer).json()["issue"]
    return [
        (one["severity"], one["code"], one.get("expression", [""])[0])
        for one in issues
        if one["code"] != "informational" and "dom-6" not in one["diagnostics"]
    ]


def parameters(**values: Any) -> dict[str, Any]:
    """Return a Parameters resource of resources, codes and profiles."""
    kinds = {"resource": "resource", "mode": "valueCode", "profile": "valueCanonical"}
    listed = [{"name": name, kinds[name]: value} for name, value in values.items()]
    return {"resourceType": "Parameters", "parameter": listed}


def test_a_sound_resource_has_no_errors_and_is_not_stored(furnished: House) -> None:
    doctor = furnished.login("doctor.a")
    lab = observation("never", "laboratory")

    found = validate(doctor, "Observation/$validate", lab)

    assert [one for one in found if one[0] == "error"] == []
    assert doctor.get("Observation/never").status_code == 404


def test_the_resource_is_taken_plain_or_as_a_parameter(furnished: House) -> None:
    doctor = furnished.login("doctor.a")
    broken = {**observation("x", "laboratory"), "status": "no", "birthDate": "SECRET"}

    plain = validate(doctor, "Observation/$validate", broken)

    assert validate(doctor, "Observation/$validate", parameters(resource=broken)) == plain
    assert ("error", "code-invalid", "Observation.status") in plain
    assert ("error", "structure", "Observation.birthDate") in plain
    assert "SECRET" not in doctor.post("Observation/$validate", broken).text


def test_a_loaded_profile_is_checked_by_parameter_and_by_meta(furnished: House) -> None:
    furnished.system("hospital-a").store(LAB)
    doctor = furnished.login("doctor.a")
    lab = {**observation("x", "laboratory"), "code": {"coding": [{"system": "urn:b", "code": "c"}]}}
    lab.pop("valueQuantity", None)
    expected = {
        ("error", "required", "Observation.value"),
        ("error", "value", "Observation.code.coding[0].system"),
    }

    claimed = {**lab, "meta": {"profile": [PROFILE]}}
    sent = parameters(resource=lab, profile=PROFILE)

    assert expected <= set(validate(doctor, "Observation/$validate", claimed))
    assert expected <= set(validate(doctor, "Observation/$validate", sent))
    assert expected <= set(validate(doctor, f"Observation/$validate?profile={PROFILE}", lab))
    assert not expected & set(validate(doctor, "Observation/$validate", lab))


def test_a_changed_profile_holds_at_the_next_call(furnished: House) -> None:
    system, doctor = furnished.system("hospital-a"), furnished.login("doctor.a")
    system.store(LAB)
    lab = {**observation("x", "laboratory"), "meta": {"profile": [PROFILE]}}
    lab.pop("valueQuantity", None)
    missing = ("error", "required", "Observation.value")
    assert missing in validate(doctor, "Observation/$validate", lab)

    system.store({**LAB, "differential": {"element": [{"path": "Observation"}]}})
    assert missing not in validate(doctor, "Observation/$validate", lab)

    must(system.delete("StructureDefinition/lab"))
    unknown = ("warning", "not-found", "Observation.meta.profile[0]")
    assert unknown in validate(doctor, "Observation/$validate", lab)


def test_a_value_set_that_is_loaded_is_used(furnished: House) -> None:
    system, doctor = furnished.system("hospital-a"), furnished.login("doctor.a")
    binding = {"strength": "required", "valueSet": "http://example.org/vs"}
    element = {"path": "Observation.code", "binding": binding}
    system.store({**LAB, "differential": {"element": [{"path": "Observation"}, element]}})
    lab = {**observation("x", "laboratory"), "meta": {"profile": [PROFILE]}}
    coding = lab["code"]["coding"][0]
    assert ("information", "not-supported", "Observation.code") in validate(
        doctor, "Observation/$validate", lab
    )

    value_set = {
        "resourceType": "ValueSet",
        "id": "vs",
        "url": "http://example.org/vs",
        "status": "active",
        "compose": {"include": [{"system": coding["system"], "concept": [{"code": "other"}]}]},
    }
    system.store(value_set)

    assert ("error", "code-invalid", "Observation.code") in validate(
        doctor, "Observation/$validate", lab
    )


def test_a_stored_resource_is_validated_under_consent_and_on_record(furnished: House) -> None:
    furnished.system("hospital-a").store(LAB)
    doctor, other = furnished.login("doctor.a"), furnished.login("doctor.b")
    address = f"Observation/lab-1/$validate?profile={PROFILE}"

    assert validate(doctor, address)
    assert other.get(address).status_code == 404
    assert other.get("Observation/absent/$validate").status_code == 404
    furnished.gateway.audit_batcher.flush()
    with furnished.gateway.store.read_transaction() as connection:
        rows = connection.execute("SELECT patient, query FROM audit ORDER BY seq").fetchall()
    assert ("pat-1", "$validate") in [tuple(row) for row in rows]


def test_a_definition_that_the_token_does_not_cover_is_not_used(furnished: House) -> None:
    lab = {**observation("x", "laboratory"), "meta": {"profile": [PROFILE]}}
    reader = furnished.login("doctor.a", "user/Observation.rs")
    before = reader.post("Observation/$validate", lab).content

    furnished.system("hospital-a").store(LAB)

    assert reader.post("Observation/$validate", lab).content == before
    assert furnished.login("doctor.a").post("Observation/$validate", lab).content != before


@pytest.mark.parametrize(
    ("address", "body", "status"),
    [
        ("Observation/$validate", {"resourceType": "Parameters"}, 400),
        ("Observation/$validate?mode=x", {"resourceType": "Observation"}, 422),
        ("Observation/$validate?mode=profile", {"resourceType": "Observation"}, 422),
        ("Observation/$validate?mode=delete", {"resourceType": "Observation"}, 422),
        ("Observation/$validate?colour=red", {"resourceType": "Observation"}, 400),
        ("Nothing/$validate", {"resourceType": "Observation"}, 404),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(
    furnished: House, address: str, body: Any, status: int
) -> None:
    answer = furnished.login("doctor.a").post(address, body)

    assert answer.status_code == status, answer.text
    assert answer.json()["resourceType"] == "OperationOutcome"


def test_the_modes_ask_what_their_interactions_would(furnished: House) -> None:
    doctor = furnished.login("doctor.a")
    reader = furnished.login("doctor.a", "user/Observation.rs")
    lab = observation("lab-1", "laboratory")

    wrong = parameters(resource={**lab, "id": "other"}, mode="update")
    assert ("error", "invalid", "Observation.id") in validate(
        doctor, "Observation/lab-1/$validate", wrong
    )
    writer = furnished.login("doctor.a", "user/*.cruds")
    assert validate(writer, "Observation/lab-1/$validate?mode=delete") == []
    assert ("error", "forbidden", "Observation") in validate(
        reader, "Observation/lab-1/$validate?mode=delete"
    )
    assert ("error", "invalid", "resourceType") in validate(
        doctor, "Observation/$validate", patient("pat-9", "A123456(3)")
    )
    assert ("error", "not-supported", "Subscription") in validate(
        doctor, "Subscription/$validate?mode=create", {"resourceType": "Subscription"}
    )


def test_consents_and_bundles_are_validated_too(furnished: House) -> None:
    doctor = furnished.login("doctor.a")
    entry = {
        "fullUrl": "urn:uuid:1",
        "resource": {**observation("x", "laboratory"), "status": "no"},
    }
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [entry]}

    assert ("error", "code-invalid", "Bundle.entry[0].resource.status") in validate(
        doctor, "Bundle/$validate", bundle
    )
    found = validate(doctor, "Consent/$validate", consent("c", "sharing"))
    assert [one for one in found if one[0] == "error"] == []
