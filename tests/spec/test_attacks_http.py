"""Ways by which hidden records leaked elsewhere, tried one by one against this gateway."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.lib.gateway import House, Session, consent, must, observation, restriction

# What stands in the hidden record and nowhere else.
SECRET = "wisteria"


def close_laboratory(house: House) -> None:
    house.share()
    close = restriction("close-lab", against="Organization/hospital-b", domain="laboratory")
    house.login("p.pat-1").store(close)


def lab(identity: str = "inside", **more: Any) -> dict[str, Any]:
    return {**observation(identity, "laboratory"), "note": [{"text": SECRET}], **more}


def basic(identity: str, **more: Any) -> dict[str, Any]:
    patient = {"reference": "Patient/pat-1"}
    code = {"text": "note"}
    return {"resourceType": "Basic", "id": identity, "code": code, "subject": patient, **more}


def never_seen(session: Session, *addresses: str) -> None:
    """Check that no answer to any of the requests holds the secret, and none finds anything."""
    for address in addresses:
        answer = session.get(address)
        assert SECRET not in answer.text, address
        assert answer.status_code == 404 or not answer.json().get("entry"), address


HOLDERS: dict[str, dict[str, Any]] = {
    "a contained resource": basic("holder", contained=[lab()]),
    "a report's contained result": {
        "resourceType": "DiagnosticReport", "id": "holder", "status": "final",
        "code": {"text": "report"}, "subject": {"reference": "Patient/pat-1"},
        "contained": [lab()], "result": [{"reference": "#inside"}],
    },
    "a Composition with its contents": {
        "resourceType": "Composition", "id": "holder", "status": "final", "title": "summary",
        "type": {"text": "summary"}, "date": "2026-01-01",
        "subject": {"reference": "Patient/pat-1"},
        "author": [{"reference": "Organization/hospital-a"}], "contained": [lab()],
    },
    "a Bundle stored as data": {
        "resourceType": "Bundle", "id": "holder", "type": "collection",
        "entry": [{"fullUrl": "urn:uuid:6f8a4f3e-0d3b-4a9e-8b57-111111111111", "resource": lab()}],
    },
    "Parameters stored as data": {
        "resourceType": "Parameters", "id": "holder",
        "parameter": [{"name": "a", "part": [{"name": "b", "resource": lab()}]}],
    },
    "a Binary of the patient": {
        "resourceType": "Binary", "id": "holder", "contentType": "text/plain",
        "securityContext": {"reference": "Patient/pat-1"},
        "data": base64.b64encode(SECRET.encode()).decode(),
    },
    "a Binary of the hidden record": {
        "resourceType": "Binary", "id": "holder", "contentType": "text/plain",
        "securityContext": {"reference": "Observation/lab-1"},
        "data": base64.b64encode(SECRET.encode()).decode(),
    },
    "a directory resource that holds a patient's record": {
        "resourceType": "Organization", "id": "holder", "name": "ward", "contained": [lab()],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", HOLDERS)
def test_a_copy_of_a_hidden_record_is_as_hidden(furnished: House, name: str) -> None:
    close_laboratory(furnished)
    holder = HOLDERS[name]
    kind = holder["resourceType"]
    author = furnished.system("ehr-commons" if kind == "Organization" else "hospital-a")
    author.store(holder)

    doctor = furnished.login("doctor.b")

    address = f"{kind}/holder"
    assert author.get(address).status_code == 200
    never_seen(
        doctor, address, f"{address}/_history", f"{address}/_history/1",
        f"{kind}?_id=holder", f"{kind}?_id=holder&_elements=contained,entry,parameter,data",
        f"{kind}?_id=holder&_summary=data", f"?_type={kind}&_id=holder",
    )  # fmt: skip
    assert doctor.get(f"{kind}?_id=holder&_summary=count").json()["total"] == 0


def test_the_same_holder_is_open_where_nothing_is_closed(furnished: House) -> None:
    furnished.share()
    furnished.system("hospital-a").store(HOLDERS["a contained resource"])

    assert SECRET in must(furnished.login("doctor.b").get("Basic/holder")).text


def test_a_grant_that_expires_while_somebody_pages_ends_the_pages(furnished: House) -> None:
    close_laboratory(furnished)
    clock = furnished.clock
    role = restriction("x", against="Organization/hospital-b")["provision"]["actor"][0]["role"]
    account = {"system": "https://ehr-commons.hk/fhir/sid/account", "value": "doctor.b"}
    grant = {
        "type": "permit",
        "actor": [
            {"role": role, "reference": {"identifier": account}},
            {"role": role, "reference": {"reference": "Organization/hospital-b"}},
        ],
        "class": [
            {
                "system": "https://ehr-commons.hk/fhir/CodeSystem/data-domain",
                "code": "laboratory",
            }
        ],
        "period": {"start": "2026-11-22T08:00:00Z", "end": "2026-11-22T08:09:59Z"},
    }
    # After sharing began: a grant counts only under a sharing that was in force when given.
    clock.forward(seconds=1)
    furnished.login("p.pat-1").store(consent("grant", "step-up", provision=grant))
    doctor = furnished.login("doctor.b")
    query = "Observation?patient=pat-1&category=laboratory&_count=1"
    first = must(doctor.get(query)).json()
    assert len(first["entry"]) == 1
    following = next(one["url"] for one in first["link"] if one["relation"] == "next")

    clock.forward(seconds=600)

    page = must(doctor.get(following)).json()
    assert "entry" not in page
    assert [one["relation"] for one in page["link"]] in (["self"], ["self", "first"])


def test_a_page_link_is_of_no_use_to_another_organisation(furnished: House) -> None:
    author = furnished.login("doctor.a")
    page = must(author.get("Observation?patient=pat-1&_count=1")).json()
    following = next(one["url"] for one in page["link"] if one["relation"] == "next")

    answer = furnished.login("doctor.b").get(following)

    assert answer.status_code in (200, 400, 404, 410)
    assert "entry" not in answer.json()


@pytest.mark.parametrize("change", ["flip", "cut", "own"])
def test_a_forged_cursor_is_refused(furnished: House, change: str) -> None:
    furnished.share()
    doctor = furnished.login("doctor.b")
    page = must(doctor.get("Observation?patient=pat-1&_count=1")).json()
    following = next(one["url"] for one in page["link"] if one["relation"] == "next")
    head, mark, cursor = following.rpartition("=")
    forged = {
        "flip": ("B" if cursor[0] == "A" else "A") + cursor[1:],
        "cut": cursor[:-4],
        "own": base64.urlsafe_b64encode(b'{"after":"Observation/lab-1"}').decode(),
    }[change]

    answer = doctor.get(head + mark + forged)

    assert answer.status_code == 400
    assert "entry" not in answer.json()


def test_an_include_does_not_reach_past_the_tokens_compartment(furnished: House) -> None:
    furnished.share()
    linked = {**observation("of-two", "vital-signs", patient="pat-2"), "id": "of-two"}
    furnished.system("hospital-a").store(linked)
    mine = {**observation("mine", "vital-signs"), "derivedFrom": [
        {"reference": "Observation/of-two"}
    ]}  # fmt: skip
    furnished.system("hospital-a").store(mine)

    for session in (furnished.login("p.pat-1"), furnished.login("doctor.b")):
        for query in (
            "Observation?_id=mine&_include=Observation:derived-from",
            "Observation?_id=mine&_include:iterate=*",
            "Patient?_id=pat-1&_revinclude=Observation:patient&_include:iterate=*",
        ):
            found = session.ids(query)
            assert found, query
            assert "Observation/of-two" not in found, query
            assert "Patient/pat-2" not in found, query


def test_elements_do_not_lift_what_consent_closes(furnished: House) -> None:
    close_laboratory(furnished)
    doctor = furnished.login("doctor.b")

    for query in (
        "Observation?_elements=id", "Observation?_elements=Observation.id,subject",
        "Observation?_elements=id&_include=*", "Observation?_summary=text",
        "Patient?_elements=id&_revinclude=Observation:patient",
    ):  # fmt: skip
        assert not [one for one in doctor.ids(query) if "/lab-" in one], query
    assert doctor.get("Observation/lab-1?_elements=id").status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"If-None-Match": 'W/"1"'},
        {"If-None-Match": "*"},
        {"If-Modified-Since": "Sun, 22 Nov 2026 09:00:00 GMT"},
        {"If-Match": 'W/"1"'},
        {"Prefer": "handling=lenient, return=representation"},
    ],
)
def test_no_header_tells_a_hidden_record_from_none(
    furnished: House, headers: dict[str, str]
) -> None:
    close_laboratory(furnished)
    doctor = furnished.login("doctor.b")

    for method in ("GET", "HEAD", "DELETE", "PUT"):
        answers = []
        for name in ("lab-1", "absent"):
            body = observation(name, "laboratory") if method == "PUT" else None
            kind = {"Content-Type": "application/fhir+json"} if body else {}
            answer = doctor.request(
                method, f"Observation/{name}", json=body, headers={**headers, **kind}
            )
            same = answer.content.replace(b"lab-1", b"absent")
            known = {k: v for k, v in answer.headers.items() if k != "x-request-id"}
            answers.append((answer.status_code, same, known))
        assert answers[0] == answers[1], (method, headers)


def test_a_transaction_fails_alike_for_a_hidden_record_and_none(furnished: House) -> None:
    close_laboratory(furnished)
    doctor = furnished.login("doctor.b")
    own = observation("own", "vital-signs")
    del own["id"]

    def sent(name: str, request: dict[str, Any], kind: str) -> tuple[int, bytes]:
        entry: dict[str, Any] = {"request": request}
        if request["method"] == "PUT":
            entry["resource"] = observation(name, "laboratory")
        # In a transaction something that could be done stands beside it.
        made = [{"resource": own, "request": {"method": "POST", "url": "Observation"}}]
        beside = made if kind == "transaction" and "?" not in request["url"] else []
        body = {"resourceType": "Bundle", "type": kind, "entry": [entry, *beside]}
        answer = doctor.post("/fhir", body)
        return answer.status_code, answer.content.replace(name.encode(), b"-")

    for kind in ("transaction", "batch"):
        for method in ("GET", "PUT", "DELETE"):
            found = [
                sent(name, {"method": method, "url": f"Observation/{name}"}, kind)
                for name in ("lab-1", "absent")
            ]
            assert found[0] == found[1], (kind, method)
        conditions = [
            sent(name, {"method": "DELETE", "url": f"Observation?_id={name}"}, kind)
            for name in ("lab-1", "absent")
        ]
        assert conditions[0] == conditions[1], kind


def test_a_conditional_create_does_not_find_what_is_hidden(furnished: House) -> None:
    close_laboratory(furnished)
    doctor = furnished.login("doctor.b")
    body = observation("x", "laboratory")
    del body["id"]

    found = [
        doctor.post("Observation", body, headers={"If-None-Exist": f"_id={name}"}).status_code
        for name in ("lab-1", "absent")
    ]

    assert found == [201, 201]


def test_a_patients_log_says_nothing_of_another_patient(furnished: House) -> None:
    furnished.share()
    must(furnished.login("doctor.a").get("Observation?_include=*"))
    furnished.system("hospital-a").store(observation("of-two", "laboratory", patient="pat-2"))
    must(furnished.login("doctor.a").get("Observation/of-two"))

    answer = must(furnished.login("p.pat-1").get("AuditEvent?_count=50"))

    assert "pat-2" not in answer.text
    assert "of-two" not in answer.text
    assert furnished.login("p.pat-1").ids("AuditEvent?patient=pat-2") == []
