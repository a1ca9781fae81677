"""Step-up: marker, request, code, grant; and every way that must not lead to one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.notices.one_time_codes import compute_code
from tests.lib.gateway import HKID, PIN, House, Session, must, organization, restriction
from tests.lib.typing_styles import TYPING_STYLES
from tests.spec.access.steps import (
    REASON,
    ask,
    carer,
    grants,
    named,
    redeem,
    send,
    told,
    xray,
)


@pytest.fixture
def ward(furnished: House) -> House:
    """Return a house in which hospital-b sees what is open, and an X-ray is restricted."""
    furnished.share()
    xray(furnished, "ray-1")
    return furnished


@pytest.fixture
def pharmacist(ward: House) -> Session:
    """Return the session of the one who meets the marker."""
    return ward.login("pharmacist.b")


def test_a_pharmacist_meets_the_marker_asks_and_sees_until_the_grant_ends(
    ward: House, pharmacist: Session
) -> None:
    marked = named(pharmacist.get("Patient/pat-1/$withheld"))
    assert marked == {"shared": [True], "hidden": [False], "domain": ["radiology"]}
    assert pharmacist.get("ImagingStudy/ray-1").status_code == 404

    request = ask(pharmacist)
    assert named(redeem(ward, pharmacist, request))["state"] == ["active"]

    assert pharmacist.get("ImagingStudy/ray-1").status_code == 200
    assert "domain" not in named(pharmacist.get("Patient/pat-1/$withheld"))
    ward.clock.forward(seconds=24 * 3600)
    assert ward.login("pharmacist.b").get("ImagingStudy/ray-1").status_code == 404


@pytest.mark.parametrize("style", TYPING_STYLES)
def test_a_code_holds_however_a_keyboard_types_it(
    ward: House, pharmacist: Session, style: str
) -> None:
    request = ask(pharmacist)
    code = compute_code(ward.gateway.form_secret, request)

    typed = TYPING_STYLES[style](code)

    assert named(redeem(ward, pharmacist, request, typed))["state"] == ["active"]


def test_the_grant_is_for_this_person_and_this_organisation_alone(
    ward: House, pharmacist: Session
) -> None:
    ward.system("ehr-commons").store(organization("hospital-c"))
    ward.share("hospital-c")
    accounts.add_account(
        ward.gateway.store,
        Account("other.b", "clinician", "Other", "hospital-b", "pharmacist"),
    )
    accounts.add_account(
        ward.gateway.store,
        Account("ph.c", "clinician", "Ph B", "hospital-c", "pharmacist", person="pharmacist.b"),
    )
    redeem(ward, pharmacist, ask(pharmacist))

    assert ward.login("other.b").get("ImagingStudy/ray-1").status_code == 404
    assert ward.login("ph.c").get("ImagingStudy/ray-1").status_code == 404


def test_code_and_grant_are_told_to_the_patient_without_clinical_words(
    ward: House, pharmacist: Session
) -> None:
    request = ask(pharmacist)
    code = compute_code(ward.gateway.form_secret, request)
    assert [kind for kind, _ in told(ward)] == ["access-code"]
    assert code in told(ward)[0][1]

    redeem(ward, pharmacist, request)

    assert [kind for kind, _ in told(ward)] == ["access-granted", "access-code"]
    assert all("adiolog" not in text and REASON not in text for _, text in told(ward))
    audited = ward.login("p.pat-1").get("/fhir/AuditEvent?patient=pat-1").text
    assert code not in audited and REASON not in audited


def test_parallel_guesses_are_counted_one_by_one_and_then_the_right_code_fails_too(
    ward: House, pharmacist: Session
) -> None:
    request = ask(pharmacist)
    right = compute_code(ward.gateway.form_secret, request)
    wrong = [f"{(int(right) + 1 + number) % 10**8:08d}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda code: redeem(ward, pharmacist, request, code), wrong))

    assert {answer.status_code for answer in answers} == {403}
    assert redeem(ward, pharmacist, request).status_code == 403
    assert grants(ward) == 0


def test_a_code_is_good_once_and_for_ten_minutes(ward: House, pharmacist: Session) -> None:
    request = ask(pharmacist)
    must(redeem(ward, pharmacist, request))
    assert redeem(ward, pharmacist, request).status_code == 409
    assert grants(ward) == 1

    late = ask(pharmacist, domain="birth")
    ward.clock.forward(seconds=600)
    assert redeem(ward, pharmacist, late).status_code == 409
    assert grants(ward) == 1


def test_a_new_request_takes_the_place_of_the_one_that_waited(
    ward: House, pharmacist: Session
) -> None:
    first = ask(pharmacist)
    ask(pharmacist)

    assert redeem(ward, pharmacist, first).status_code == 409
    assert grants(ward) == 0


def test_a_code_opens_neither_anothers_request_nor_another_patients(
    ward: House, pharmacist: Session
) -> None:
    ward.login("p.pat-2").store(_sharing_of_two())
    request, other = ask(pharmacist), ask(pharmacist, "pat-2")
    code = compute_code(ward.gateway.form_secret, other)

    assert redeem(ward, ward.login("doctor.b"), request).status_code == 404
    assert redeem(ward, pharmacist, request, code).status_code == 403
    assert send(ward.login("p.pat-2"), "$approve-access", request=request).status_code == 404
    assert grants(ward) == 0


def test_the_patient_approves_or_refuses_on_the_own_page(ward: House, pharmacist: Session) -> None:
    patient = ward.login("p.pat-1")
    must(send(patient, "$approve-access", request=ask(pharmacist)))
    assert pharmacist.get("ImagingStudy/ray-1").status_code == 200

    refused = ask(pharmacist, domain="birth")
    must(send(patient, "$refuse-access", request=refused))

    assert redeem(ward, pharmacist, refused).status_code == 409
    assert send(patient, "$approve-access", request=refused).status_code == 409
    assert grants(ward) == 1


def test_the_patients_smart_id_approves_and_a_carers_does_not(
    ward: House, pharmacist: Session
) -> None:
    carer(ward, "carer.1", hkid="ZC1234566")
    request = ask(pharmacist)
    card = {"request": request, "hkid": "ZC123456(6)", "pin": PIN}
    assert send(pharmacist, "$redeem-access", **card).status_code == 403
    wrong = {"request": request, "hkid": HKID, "pin": "000000"}
    assert send(pharmacist, "$redeem-access", **wrong).status_code == 403
    assert grants(ward) == 0

    must(send(pharmacist, "$redeem-access", request=request, hkid=HKID, pin=PIN))
    assert grants(ward) == 1


def test_a_carer_who_decides_has_the_code_but_approves_in_no_other_way(
    ward: House, pharmacist: Session
) -> None:
    session = carer(ward, "carer.1")
    request = ask(pharmacist)
    assert send(session, "$approve-access", request=request).status_code == 403
    assert grants(ward) == 0

    kinds = [kind for kind, _ in told(ward, session)]
    assert kinds == ["access-code"]
    must(redeem(ward, pharmacist, request))


def test_for_a_child_only_who_decides_is_sent_the_code(ward: House, pharmacist: Session) -> None:
    platform = ward.system("ehr-commons")
    body = platform.get("Patient/pat-1").json() | {"birthDate": "2014-05-01"}
    must(platform.put(body))
    session = carer(ward, "carer.1")
    request = ask(pharmacist)

    assert [kind for kind, _ in told(ward)] == ["carer"]
    assert [kind for kind, _ in told(ward, session)] == ["access-code"]
    assert send(ward.login("p.pat-1"), "$approve-access", request=request).status_code == 403
    assert (
        send(pharmacist, "$redeem-access", request=request, hkid=HKID, pin=PIN).status_code == 403
    )
    assert grants(ward) == 0


def test_revoking_sharing_ends_the_grant_and_so_does_the_patient_at_once(
    ward: House, pharmacist: Session
) -> None:
    consent = named(redeem(ward, pharmacist, ask(pharmacist)))["consent"][0]
    patient = ward.login("p.pat-1")
    ward.share(status="inactive")
    ward.clock.forward(seconds=5)
    ward.login("p.pat-1").store(_shared_again())
    assert pharmacist.get("ImagingStudy/ray-1").status_code == 404

    second = named(redeem(ward, pharmacist, ask(pharmacist)))["consent"][0]
    assert pharmacist.get("ImagingStudy/ray-1").status_code == 200
    body = patient.get(f"Consent/{second}").json()
    must(patient.put(body | {"status": "inactive"}))

    assert second != consent
    assert pharmacist.get("ImagingStudy/ray-1").status_code == 404


def test_a_grant_opens_what_is_hidden_but_never_what_is_sealed(
    ward: House, pharmacist: Session
) -> None:
    xray(ward, "ray-2")
    patient = ward.login("p.pat-1")
    patient.store(restriction("hides", record="ImagingStudy/ray-1"))
    sealed = {"url": "https://ehr-commons.hk/fhir/StructureDefinition/sealed", "valueBoolean": True}
    patient.store(restriction("seals", record="ImagingStudy/ray-2", extension=[sealed]))
    redeem(ward, pharmacist, ask(pharmacist))

    assert pharmacist.get("ImagingStudy/ray-1").status_code == 200
    assert pharmacist.get("ImagingStudy/ray-2").status_code == 404


def test_a_grant_that_ends_while_paging_shows_no_more_pages(
    ward: House, pharmacist: Session
) -> None:
    for number in range(2, 5):
        xray(ward, f"ray-{number}")
    redeem(ward, pharmacist, ask(pharmacist, hours=1))
    page = must(pharmacist.get("ImagingStudy?patient=pat-1&_count=2")).json()
    following = next(one["url"] for one in page["link"] if one["relation"] == "next")
    assert len(page["entry"]) == 2

    ward.clock.forward(seconds=3600 - 1)
    assert len(must(ward.login("pharmacist.b").get(following)).json()["entry"]) == 2
    ward.clock.forward(seconds=1)

    assert "entry" not in must(ward.login("pharmacist.b").get(following)).json()


def test_a_reason_with_markup_is_kept_as_text(ward: House, pharmacist: Session) -> None:
    reason = '<script>alert("films")</script> & dose'
    answer = send(
        pharmacist, "Patient/pat-1/$request-access", reason=reason, domain="radiology", hours=1
    )

    assert named(answer)["reason"] == [reason]
    listed = named(ward.login("p.pat-1").get("Patient/pat-1/$access-requests"))
    assert listed["request"][0]["reason"] == [reason]


def test_a_flood_of_requests_is_stopped(ward: House, pharmacist: Session) -> None:
    for _ in range(10):
        ask(pharmacist)
    answer = send(
        pharmacist, "Patient/pat-1/$request-access", reason=REASON, domain="radiology", hours=1
    )

    assert answer.status_code == 429
    ward.clock.forward(seconds=3600)
    ask(ward.login("pharmacist.b"))


def test_a_patient_one_cannot_name_is_as_good_as_absent(furnished: House) -> None:
    pharmacist = furnished.login("pharmacist.b")
    answers = [
        send(pharmacist, f"Patient/{name}/$request-access", reason=REASON, domain="birth", hours=1)
        for name in ("pat-1", "nobody")
    ]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].json() == answers[1].json()
    marked = [pharmacist.get(f"Patient/{name}/$withheld") for name in ("pat-1", "nobody")]
    assert marked[0].json() == marked[1].json()


def _sharing_of_two() -> dict[str, object]:
    from tests.lib.gateway import consent

    actor = {
        "role": {
            "coding": [
                {"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType",
                 "code": "IRCP"}
            ]
        },
        "reference": {"reference": "Organization/hospital-b"},
    }  # fmt: skip
    return consent(
        "sharing-2", "sharing", patient="pat-2", provision={"type": "permit", "actor": [actor]}
    )


def _shared_again() -> dict[str, object]:
    body = _sharing_of_two() | {"id": "sharing-again", "patient": {"reference": "Patient/pat-1"}}
    body["dateTime"] = "2026-11-22T16:00:04+08:00"
    return body
