"""A store refuses what its setting says: R4's other rules, invariants, profiles by type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ehr_fhir.errors import Invalid
from ehr_fhir.validation_settings import ValidationSettings, parse_required_profiles
from ehr_gateway.store.write_validation import WriteValidation
from tests.lib.gateway import House, Session, must, observation
from tests.lib.lab_profile import PROFILE, build_lab_profile

LAB = build_lab_profile({"path": "Observation.issued", "min": 1})
# An invariant of R4 (obs-6), and a code that its code system does not have.
UNTRUE = {"dataAbsentReason": {"text": "x"}, "valueString": "x"}
UNKNOWN = {
    "interpretation": [
        {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "zz"}]}
    ]
}
Strict = Callable[..., Session]


@pytest.fixture
def strict(furnished: House) -> Strict:
    """Return what opens a session of a hospital's system under a setting."""

    def open_session(mode: str, **settings: Any) -> Session:
        chosen = ValidationSettings(mode, **settings)
        gateway = furnished.gateway
        validation = None
        if mode != "off":
            validation = WriteValidation(chosen, gateway.store.database)
        furnished.app.state.gateway = replace(gateway, write_validation=validation)
        return furnished.system("hospital-a")

    return open_session


def lab(**more: Any) -> dict[str, Any]:
    """Return a result without a value."""
    plain = observation("new", "laboratory")
    return {**{k: v for k, v in plain.items() if not k.startswith("value")}, **more}


def refusals(answer: Any) -> list[tuple[str, str]]:
    """Return the code and the place of each error of a refusal."""
    assert answer.status_code == 422, answer.text
    return [(one["code"], one["expression"][0]) for one in answer.json()["issue"]]


def test_off_takes_what_base_refuses(strict: Strict) -> None:
    for content in (UNTRUE, UNKNOWN):
        assert strict("off").post("Observation", lab(**content)).status_code == 201

    base = strict("base")
    assert refusals(base.post("Observation", lab(**UNTRUE))) == [("invariant", "Observation")]
    place = "Observation.interpretation[0].coding[0].code"
    assert refusals(base.post("Observation", lab(**UNKNOWN))) == [("code-invalid", place)]
    must(base.post("Observation", lab()))


def test_invariants_on_write_are_a_setting(strict: Strict) -> None:
    lenient = strict("base", invariants=False)

    must(lenient.post("Observation", lab(**UNTRUE)))
    assert lenient.post("Observation", lab(**UNKNOWN)).status_code == 422


def test_every_way_to_write_is_checked(strict: Strict) -> None:
    base = strict("base")
    broken = lab(**UNTRUE)
    entry = {"resource": broken, "request": {"method": "PUT", "url": "Observation/new"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    patch = [
        {"op": "add", "path": f"/{key}", "value": value}
        for key, value in {**UNTRUE, "valueString": "x"}.items()
    ]

    assert base.put(broken).status_code == 422
    assert base.post("/fhir", bundle).status_code == 422
    must(base.put(lab()))
    patched = base.request(
        "PATCH",
        "Observation/new",
        json=patch,
        headers={"Content-Type": "application/json-patch+json"},
    )
    assert refusals(patched) == [("invariant", "Observation")]
    assert must(base.get("Observation/new")).json()["meta"]["versionId"] == "1"


def test_profiles_are_those_that_a_resource_names_and_those_by_type(strict: Strict) -> None:
    claimed = lab(meta={"profile": [PROFILE]})
    missing = [("required", "Observation.issued")]

    must(strict("off").put(LAB))
    must(strict("base").post("Observation", claimed))
    named = strict("profiles")
    assert refusals(named.post("Observation", claimed)) == missing
    must(named.post("Observation", lab()))
    must(named.post("Observation", lab(meta={"profile": ["http://example.org/unknown"]})))

    required = strict("profiles", required={"Observation": (PROFILE,)})
    assert refusals(required.post("Observation", lab())) == missing
    must(required.post("Observation", lab(issued="2026-05-04T10:00:00Z")))


def test_a_type_whose_profile_is_not_loaded_is_refused(strict: Strict) -> None:
    session = strict("profiles", required={"Observation": ("http://example.org/unknown",)})

    answer = session.post("Observation", lab())

    assert answer.status_code == 422
    assert "http://example.org/unknown" in answer.json()["issue"][0]["diagnostics"]


def test_a_setting_that_says_two_things_is_refused() -> None:
    with pytest.raises(Invalid, match="validation must be"):
        ValidationSettings("strict")
    with pytest.raises(Invalid, match="validation = profiles"):
        ValidationSettings("base", required={"Observation": (PROFILE,)})
    for text in ("Observation", "Nothing=http://e/p", "Observation=p"):
        with pytest.raises(Invalid, match="pairs"):
            parse_required_profiles(text)
