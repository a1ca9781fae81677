"""What ended stays ended: no later version of a Consent brings a grant or an emergency back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ehr_inbound.bulk_files.load import load
from tests.lib.gateway import House, Session, consent, must, organization
from tests.spec.access.steps import ask, grants, named, redeem, send, xray

Json = dict[str, Any]
Act = Callable[[House], None]

SHARING = "sharing-hospital-b"
DEEMED = "https://ehr-commons.hk/fhir/StructureDefinition/deemed-sharing"


@pytest.fixture
def ward(furnished: House) -> House:
    """Return a house in which hospital-b sees what is open, and an X-ray is restricted."""
    furnished.share()
    xray(furnished, "ray-1")
    return furnished


@pytest.fixture
def pharmacist(ward: House) -> Session:
    """Return somebody with a grant for the X-ray."""
    session = ward.login("pharmacist.b")
    redeem(ward, session, ask(session))
    assert session.get("ImagingStudy/ray-1").status_code == 200
    return session


def patient(house: House) -> Session:
    return house.login("p.pat-1")


def stored(house: House, address: str) -> Json:
    body: Json = must(patient(house).get(address)).json()
    return {key: value for key, value in body.items() if key != "meta"}


def change(house: House, identity: str, **more: Any) -> None:
    """Store a Consent anew with some elements changed."""
    must(patient(house).put({**stored(house, f"Consent/{identity}"), **more}))


def grant(house: House) -> str:
    """Return the id of the only grant's Consent."""
    with house.gateway.store.read_transaction() as connection:
        row = connection.execute("SELECT consent FROM access_request WHERE kind = 'step-up'")
        return str(row.fetchone()["consent"])


def provision(**more: Any) -> Json:
    actor = consent_actor("Organization/hospital-b")
    return {"type": "permit", "actor": [actor], **more}


def consent_actor(reference: str) -> Json:
    system = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
    role = {"coding": [{"system": system, "code": "IRCP"}]}
    return {"role": role, "reference": {"reference": reference}}


def transaction(*entries: tuple[str, str, Json | None]) -> Json:
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"request": {"method": method, "url": url}} | ({"resource": body} if body else {})
            for method, url, body in entries
        ],
    }


ENDINGS: dict[str, Act] = {
    "inactive": lambda house: house.share(status="inactive"),
    "in error": lambda house: house.share(status="entered-in-error"),
    "deleted": lambda house: must(patient(house).delete(f"Consent/{SHARING}")) and None,
    "cut short": lambda house: change(
        house, SHARING, provision=provision(period={"end": "2026-01-02"})
    ),
    "begun later": lambda house: change(
        house, SHARING, provision=provision(period={"start": "2031-01-01"})
    ),
    "shared with another": lambda house: change(
        house,
        SHARING,
        provision={"type": "permit", "actor": [consent_actor("Organization/hospital-a")]},
    ),
    "joining withdrawn": lambda house: change(house, "joining-1", status="inactive"),
    "joining ended": lambda house: change(
        house, "joining-1", provision={"type": "permit", "period": {"end": "2026-01-02"}}
    ),
    "grant withdrawn": lambda house: change(house, grant(house), status="inactive"),
}


def again(house: House) -> None:
    """Switch everything on as it was, by the same Consents."""
    change_status = {"op": "replace", "path": "/status", "value": "active"}
    must(patient(house).put(consent(SHARING, "sharing", provision=provision())))
    change(house, "joining-1", status="active", provision={"type": "permit"})
    change(house, grant(house), status="active")
    must(
        patient(house).request(
            "PATCH",
            f"Consent/{grant(house)}",
            json=[change_status],
            headers={"Content-Type": "application/json-patch+json"},
        )
    )


def anew(house: House) -> None:
    """Share by another Consent, which says that it began long ago."""
    change(house, "joining-1", status="active", provision={"type": "permit"})
    since = provision(period={"start": "2000-01-01"})
    body = consent("sharing-anew", "sharing", provision=since)
    must(patient(house).post("Consent", {**body, "dateTime": "2000-01-01"}))


def at_once(house: House) -> None:
    """Switch sharing off and on, and write the grant anew, in one transaction."""
    share = consent(SHARING, "sharing", provision=provision())
    given = stored(house, f"Consent/{grant(house)}")
    change(house, "joining-1", status="active", provision={"type": "permit"})
    off = {**share, "status": "inactive"}
    must(patient(house).post("", transaction(("PUT", f"Consent/{SHARING}", off))))
    entries = [
        ("PUT", f"Consent/{SHARING}", share),
        ("PUT", f"Consent/{given['id']}", {**given, "status": "active"}),
    ]
    must(patient(house).post("", transaction(*entries)))


@pytest.mark.sampled
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("revival", [again, anew, at_once])
def test_no_consent_brings_a_grant_back(
    ward: House, pharmacist: Session, ending: str, revival: Act
) -> None:
    ENDINGS[ending](ward)
    assert pharmacist.get("ImagingStudy/ray-1").status_code == 404

    revival(ward)

    assert pharmacist.get("Patient/pat-1").status_code == 200, "it is shared again"
    assert pharmacist.get("ImagingStudy/ray-1").status_code == 404
    assert grants(ward) == 0
    redeem(ward, pharmacist, ask(pharmacist))
    assert pharmacist.get("ImagingStudy/ray-1").status_code == 200


def test_what_does_not_end_the_sharing_ends_no_grant(ward: House, pharmacist: Session) -> None:
    change(ward, SHARING, provision=provision(period={"end": "2031-01-01"}))
    body = consent("sharing-too", "sharing", provision=provision())
    must(patient(ward).post("Consent", body))
    elsewhere = {"type": "permit", "actor": [consent_actor("Organization/hospital-a")]}
    patient(ward).store(consent("sharing-a", "sharing", provision=elsewhere))
    change(ward, "sharing-a", status="inactive")

    assert pharmacist.get("ImagingStudy/ray-1").status_code == 200


def test_a_sharing_begun_after_one_that_ran_out_ends_grants(
    ward: House, pharmacist: Session
) -> None:
    """The grant would outlive the term, and the Consent of the new one is dated back."""
    change(ward, SHARING, provision=provision(period={"end": "2031-01-01"}))
    day = {"end": "2026-12-31"}
    change(ward, SHARING, provision=provision(period=day))
    redeem(ward, pharmacist, ask(pharmacist, hours=24))
    year = 365 * 24 * 3600
    ward.clock.forward(seconds=year)
    change(ward, grant(ward), provision={
        **stored(ward, f"Consent/{grant(ward)}")["provision"],
        "period": {"start": "2026-01-01", "end": "2031-01-01"},
    })  # fmt: skip

    anew(ward)

    session = ward.login("pharmacist.b")
    assert session.get("Patient/pat-1").status_code == 200
    assert session.get("ImagingStudy/ray-1").status_code == 404


def test_deemed_sharing_that_ended_ends_grants(ward: House) -> None:
    platform = ward.system("ehr-commons")
    deemed = {"url": DEEMED, "valuePeriod": {"start": "2020-01-01"}}
    ward.share(status="inactive")
    platform.store({**organization("hospital-b"), "extension": [deemed]})
    pharmacist = ward.login("pharmacist.b")
    redeem(ward, pharmacist, ask(pharmacist))
    assert pharmacist.get("ImagingStudy/ray-1").status_code == 200

    platform.store(organization("hospital-b"))
    platform.store({**organization("hospital-b"), "extension": [deemed]})

    assert pharmacist.get("Patient/pat-1").status_code == 200
    assert pharmacist.get("ImagingStudy/ray-1").status_code == 404


def test_a_load_ends_grants_too(ward: House, pharmacist: Session, tmp_path: Path) -> None:
    share = consent(SHARING, "sharing", provision=provision())
    for number, body in enumerate(({**share, "status": "inactive"}, share)):
        file = tmp_path / f"{number}.ndjson"
        file.write_text(json.dumps(body))
        load(ward.gateway.store, [file])

    assert pharmacist.get("Patient/pat-1").status_code == 200
    assert pharmacist.get("ImagingStudy/ray-1").status_code == 404


def test_a_code_told_before_the_sharing_ended_opens_nothing(ward: House) -> None:
    pharmacist = ward.login("pharmacist.b")
    request = ask(pharmacist)

    ward.share(status="inactive")
    ward.share()

    assert redeem(ward, pharmacist, request).status_code == 409
    assert send(patient(ward), "$approve-access", request=request).status_code == 409
    assert grants(ward) == 0


def test_an_emergency_that_was_ended_does_not_come_back(ward: House) -> None:
    ward.share(status="inactive")
    doctor = ward.login("doctor.b")
    named(send(doctor, "Patient/pat-1/$declare-emergency", reason="Unconscious after a fall"))
    assert doctor.get("ImagingStudy/ray-1").status_code == 200
    with ward.gateway.store.read_transaction() as connection:
        row = connection.execute("SELECT consent FROM access_request WHERE kind = 'emergency'")
        identity = str(row.fetchone()["consent"])

    change(ward, identity, status="inactive")
    change(ward, identity, status="active")

    assert doctor.get("ImagingStudy/ray-1").status_code == 404
