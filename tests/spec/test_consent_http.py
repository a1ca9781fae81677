"""What the patient decides, seen over HTTP: every path of the gateway gives the same answer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.gateway import House, Session, must, observation, restriction

RECORDS = ["Condition/con-1", "Encounter/enc-1", "Observation/lab-1", "Observation/vital-1"]
SEARCHES = [
    "Patient?_id=pat-1",
    "Patient?identifier=ZA1234560",
    "Condition?patient=pat-1",
    "Observation?patient=pat-1",
    "Observation?code=718-7",
    "Observation?_lastUpdated=gt2020-01-01",
    "Encounter?subject=Patient/pat-1",
]


def statuses(session: Session) -> set[int]:
    paths = [*RECORDS, "Patient/pat-1"]
    return {
        session.get(path + suffix).status_code
        for path in paths
        for suffix in ("", "/_history/1", "/_history")
    }


def totals(session: Session) -> list[int]:
    return [
        must(session.get(f"{search}&{how}")).json()["total"]
        for search in SEARCHES
        for how in ("_total=accurate", "_summary=count")
    ]


def test_the_hospital_that_wrote_the_records_reads_them(furnished: House) -> None:
    doctor = furnished.login("doctor.a")

    assert {doctor.get(path).status_code for path in RECORDS} == {200}
    assert (
        doctor.ids("Observation?patient=pat-1&_count=50")
        == [
            "Observation/vital-1",
            "Observation/lab-2",
            "Observation/lab-1",
        ]
        or len(doctor.ids("Observation?patient=pat-1")) == 3
    )


def test_before_sharing_another_hospital_sees_nothing_on_any_path(furnished: House) -> None:
    doctor = furnished.login("doctor.b")

    assert statuses(doctor) == {404}
    assert [doctor.ids(search) for search in SEARCHES] == [[]] * len(SEARCHES)
    assert set(totals(doctor)) == {0}


def test_with_sharing_the_other_hospital_sees_all_of_it(furnished: House) -> None:
    furnished.share()
    doctor = furnished.login("doctor.b")

    assert statuses(doctor) == {200}
    assert all(doctor.ids(search) for search in SEARCHES)
    assert 0 not in totals(doctor)


def test_turned_off_it_is_gone_at_the_next_request_of_a_token_issued_before(
    furnished: House,
) -> None:
    furnished.share()
    doctor = furnished.login("doctor.b")
    assert statuses(doctor) == {200}

    furnished.share(status="inactive")

    assert statuses(doctor) == {404}
    assert [doctor.ids(search) for search in SEARCHES] == [[]] * len(SEARCHES)
    assert set(totals(doctor)) == {0}


def test_turned_on_again_it_is_back(furnished: House) -> None:
    for status in ("active", "inactive", "active"):
        furnished.share(status=status)

    assert statuses(furnished.login("doctor.b")) == {200}


def test_deleting_the_consent_ends_the_sharing(furnished: House) -> None:
    furnished.share()

    must(furnished.login("p.pat-1").delete("Consent/sharing-hospital-b"))

    assert statuses(furnished.login("doctor.b")) == {404}


def test_a_paging_begun_before_the_switch_yields_nothing_after_it(furnished: House) -> None:
    furnished.share()
    doctor = furnished.login("doctor.b")
    first = must(doctor.get("Observation?patient=pat-1&_count=1")).json()
    following = next(link["url"] for link in first["link"] if link["relation"] == "next")

    furnished.share(status="inactive")

    page = must(doctor.get(following)).json()
    assert "entry" not in page
    assert [link["relation"] for link in page["link"]] == ["self"]


def test_an_include_does_not_deliver_what_is_hidden(furnished: House) -> None:
    furnished.share()
    doctor = furnished.login("doctor.b")
    address = "Condition?patient=pat-1&_include=Condition:encounter"
    assert "Encounter/enc-1" in doctor.ids(address)

    hide = restriction("hide-1", against="Organization/hospital-b", record="Encounter/enc-1")
    furnished.login("p.pat-1").store(hide)

    assert "Encounter/enc-1" not in doctor.ids(address)


def test_a_domain_closed_to_an_organisation_is_closed_to_it_alone(furnished: House) -> None:
    furnished.share()
    close = restriction("close-lab", against="Organization/hospital-b", domain="laboratory")
    furnished.login("p.pat-1").store(close)
    doctor_b, doctor_a = furnished.login("doctor.b"), furnished.login("doctor.a")

    assert doctor_b.get("Observation/lab-1").status_code == 404
    assert doctor_b.ids("Observation?patient=pat-1") == ["Observation/vital-1"]
    total = doctor_b.get("Observation?patient=pat-1&_total=accurate").json()["total"]
    assert total == 1
    assert doctor_a.get("Observation/lab-1").status_code == 200


def test_a_single_record_can_be_closed(furnished: House) -> None:
    furnished.share()
    close = restriction("close-one", against="Organization/hospital-b", record="Observation/lab-1")
    furnished.login("p.pat-1").store(close)
    doctor = furnished.login("doctor.b")

    assert doctor.get("Observation/lab-1").status_code == 404
    assert sorted(doctor.ids("Observation?patient=pat-1")) == [
        "Observation/lab-2",
        "Observation/vital-1",
    ]


def test_the_author_still_sees_its_own_when_everyone_is_shut_out(furnished: House) -> None:
    furnished.share()
    furnished.login("p.pat-1").store(restriction("close-all"))

    assert furnished.login("doctor.a").get("Condition/con-1").status_code == 200
    assert furnished.login("doctor.b").get("Condition/con-1").status_code == 404
    assert furnished.login("p.pat-1").get("Condition/con-1").status_code == 200


def test_a_patient_sees_the_own_record_and_nobody_elses(furnished: House) -> None:
    furnished.system("hospital-a").store(observation("lab-9", "laboratory", patient="pat-2"))
    one, two = furnished.login("p.pat-1"), furnished.login("p.pat-2")

    assert one.get("Observation/lab-1").status_code == 200
    assert two.get("Observation/lab-1").status_code == 404
    assert two.ids("Observation?_count=50") == ["Observation/lab-9"]


def test_a_patient_cannot_decide_for_another(furnished: House) -> None:
    furnished.share()
    sharing = must(furnished.login("p.pat-1").get("Consent/sharing-hospital-b")).json()

    answer = furnished.login("p.pat-2").put({**sharing, "status": "inactive"})

    assert answer.status_code in (403, 404)
    assert statuses(furnished.login("doctor.b")) == {200}


def test_hidden_and_missing_answer_byte_for_byte_alike(furnished: House) -> None:
    doctor = furnished.login("doctor.b")

    for hidden, missing in (
        ("Observation/lab-1", "Observation/none"),
        ("Observation/lab-1/_history/1", "Observation/none/_history/1"),
        ("Observation/lab-1/_history", "Observation/none/_history"),
    ):
        answers = [doctor.get(path) for path in (hidden, missing)]
        assert answers[0].status_code == answers[1].status_code == 404
        assert answers[0].content == answers[1].content


@pytest.mark.parametrize(
    "provision",
    [
        {"type": "deny", "purpose": [{"system": "urn:x", "code": "y"}]},
        {"type": "deny", "class": [{"system": "urn:elsewhere", "code": "laboratory"}]},
    ],
)
def test_what_cannot_be_enforced_is_refused_not_stored(
    furnished: House, provision: dict[str, Any]
) -> None:
    patient = furnished.login("p.pat-1")
    body = {**restriction("odd"), "provision": provision}

    answer = patient.post("Consent", body)

    assert answer.status_code == 422
    assert "provision" in answer.json()["issue"][0]["expression"][0]
    assert patient.ids("Consent?category=restriction") == []
