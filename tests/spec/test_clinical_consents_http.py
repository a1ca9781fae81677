"""Consents about care (advance directives, consents to treatment) are clinical documents.

A rule stays a rule: nobody reads one by calling it a document, or in what repeats it.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.gateway import House, Session, consent, encounter, must, observation, restriction

SCOPE = "http://terminology.hl7.org/CodeSystem/consentscope"
DNR = {"coding": [{"system": "http://snomed.info/sct", "code": "304253006"}]}


def directive(code: str = "adr", **more: Any) -> dict[str, Any]:
    """Return an advance directive with a provision, as real patient summaries have them."""
    category = {"system": "http://terminology.hl7.org/CodeSystem/consentcategorycodes"}
    return {
        "resourceType": "Consent",
        "status": "active",
        "scope": {"coding": [{"system": SCOPE, "code": code}]},
        "category": [{"coding": [{**category, "code": "dnr"}]}],
        "patient": {"reference": "Patient/pat-1"},
        "provision": {"code": [DNR]},
        **more,
    }


def never_found(session: Session, address: str) -> None:
    kind, identity = address.split("/")
    for path in (address, f"{address}/_history", f"{address}/_history/1"):
        assert session.get(path).status_code == 404, path
    for query in (f"{kind}?_id={identity}", f"Patient?_id=pat-1&_revinclude={kind}:patient"):
        assert address not in session.ids(query)
    assert must(session.get(f"{kind}?_id={identity}&_summary=count")).json()["total"] == 0
    assert address not in must(session.get(f"{kind}/_history")).text


@pytest.mark.parametrize("scope", ["adr", "treatment"])
def test_a_consent_about_care_is_read_by_the_ten_lines(furnished: House, scope: str) -> None:
    author, other = furnished.system("hospital-a"), furnished.login("doctor.b")
    stored = must(author.post("Consent", directive(scope))).json()
    address = f"Consent/{stored['id']}"

    never_found(other, address)
    furnished.share()

    assert must(furnished.login("doctor.a").get(address)).json() == stored
    assert must(other.get(address)).json() == stored
    assert other.ids("Consent?patient=pat-1") == [address]
    assert must(other.get("Consent?patient=pat-1&_summary=count")).json()["total"] == 1
    assert must(furnished.login("p.pat-1").get(address)).json() == stored
    assert furnished.login("p.pat-2").get(address).status_code == 404
    assert furnished.login("steward").get(address).status_code == 404
    assert furnished.login("researcher").get(address).status_code in (403, 404)


def test_a_hidden_domain_hides_it(furnished: House) -> None:
    furnished.share()
    author, other = furnished.system("hospital-a"), furnished.login("doctor.b")
    address = f"Consent/{must(author.post('Consent', directive())).json()['id']}"
    summaries = {"system": "https://ehr-commons.hk/fhir/CodeSystem/data-domain", "code": "summary"}
    must(other.get(address))

    provision = {"type": "deny", "class": [summaries]}
    furnished.login("p.pat-1").store(consent("hide", "restriction", provision=provision))

    never_found(other, address)
    must(author.get(address))


def test_a_clinicians_document_is_not_the_patients_to_change(furnished: House) -> None:
    stored = must(furnished.system("hospital-a").post("Consent", directive())).json()

    for session in (furnished.login("p.pat-1"), furnished.login("steward")):
        answer = session.put({**stored, "status": "inactive"})
        assert answer.status_code in (403, 404), answer.text


def test_a_patient_writes_a_directive_of_their_own_and_no_other(furnished: House) -> None:
    furnished.share()
    patient = furnished.login("p.pat-1")

    stored = must(patient.post("Consent", directive())).json()

    must(patient.put({**stored, "status": "inactive"}))
    assert must(furnished.login("doctor.b").get(f"Consent/{stored['id']}")).json()
    of_other = directive(patient={"reference": "Patient/pat-2"})
    assert patient.post("Consent", of_other).status_code == 403


def as_patch(body: dict[str, Any]) -> dict[str, Any]:
    operation = {"op": "replace", "path": "/scope", "value": body["scope"]}
    return {"json": [operation], "headers": {"Content-Type": "application/json-patch+json"}}


@pytest.mark.parametrize("name", ["p.pat-1", "steward", "platform"])
def test_nobody_turns_a_rule_into_a_document_or_back(furnished: House, name: str) -> None:
    furnished.share()
    session = furnished.system("ehr-commons") if name == "platform" else furnished.login(name)
    rule = consent("hide", "restriction", provision={"type": "deny"})
    furnished.login("p.pat-1").store(rule)
    document = directive(id="hide")
    own = must(furnished.login("p.pat-1").post("Consent", directive())).json()
    entry = {"request": {"method": "PUT", "url": "Consent/hide"}, "resource": document}

    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    answers = [session.put(document), session.post("/fhir", bundle)]
    if name != "steward":  # to whom a document is no worklist
        answers.append(session.put({**rule, "id": own["id"]}))
    if name != "platform":
        answers.append(session.request("PATCH", "Consent/hide", **as_patch(document)))

    assert [answer.status_code for answer in answers] == [422] * len(answers)
    never_found(furnished.login("doctor.b"), "Consent/hide")
    never_found(furnished.system("hospital-a"), "Consent/hide")


def test_a_clinician_reaches_no_rule_to_change_it(furnished: House) -> None:
    furnished.login("p.pat-1").store(consent("hide", "restriction", provision={"type": "deny"}))

    for session in (furnished.login("doctor.a"), furnished.system("hospital-a")):
        for answer in (
            session.put(directive(id="hide")),
            session.request("PATCH", "Consent/hide", **as_patch(directive())),
            session.delete("Consent/hide"),
        ):
            assert answer.status_code in (403, 404), answer.text
        never_found(session, "Consent/hide")


def test_a_rule_that_was_deleted_is_read_by_nobody_in_the_history_of_a_document(
    furnished: House,
) -> None:
    furnished.share()
    platform = furnished.system("ehr-commons")
    furnished.login("p.pat-1").store(consent("hide", "restriction", provision={"type": "deny"}))
    must(platform.delete("Consent/hide"))
    must(platform.put(directive(id="hide")))
    doctor = furnished.login("doctor.b")

    history = must(doctor.get("Consent/hide/_history")).json()["entry"]

    assert doctor.get("Consent/hide/_history/1").status_code == 404
    assert [one["resource"]["meta"]["versionId"] for one in history if "resource" in one] == ["3"]


@pytest.mark.parametrize(
    "scope",
    [
        {"coding": [{"code": "adr"}]},
        {"text": "advance directive"},
        {"coding": [{"system": SCOPE, "code": "adr"}, {"system": SCOPE, "code": "research"}]},
        {"coding": [{"system": SCOPE, "code": "adr"}, {"code": "patient-privacy"}]},
        {"coding": [{"system": "http://elsewhere.org", "code": "adr"}]},
    ],
)
def test_a_scope_in_doubt_is_no_document(furnished: House, scope: dict[str, Any]) -> None:
    doubtful = directive(scope=scope)
    patient = furnished.login("p.pat-1")

    assert furnished.system("hospital-a").post("Consent", doubtful).status_code in (403, 422)
    assert patient.post("Consent", doubtful).status_code == 422
    del doubtful["provision"]
    answer = patient.post("Consent", doubtful)
    furnished.share()
    if answer.status_code == 201:
        never_found(furnished.login("doctor.b"), f"Consent/{answer.json()['id']}")


def test_a_document_tells_a_clinician_nothing_of_hidden_records(furnished: House) -> None:
    def about(record: str) -> dict[str, Any]:
        data = {"meaning": "instance", "reference": {"reference": record}}
        return directive(provision={"data": [data]})

    doctor = furnished.system("hospital-b")

    hidden, absent = (
        doctor.post("Consent", about(record)) for record in ("Condition/con-1", "Condition/none")
    )

    assert hidden.status_code == absent.status_code == 422
    assert hidden.json() == absent.json()


RULE = {**consent("copied", "restriction", provision={"type": "deny"}), "id": "r"}
COPIES: list[dict[str, Any]] = [
    {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": RULE}, {"resource": {**directive(), "id": "d"}}],
    },
    {"resourceType": "Parameters", "parameter": [{"name": "a", "resource": RULE}]},
]


@pytest.mark.parametrize("copy", COPIES, ids=lambda copy: copy["resourceType"])
def test_what_repeats_a_rule_is_its_authors_alone(furnished: House, copy: dict[str, Any]) -> None:
    furnished.share()
    author = furnished.system("hospital-a")
    stored = must(author.post(copy["resourceType"], copy)).json()
    address = f"{copy['resourceType']}/{stored['id']}"

    must(author.get(address))
    for session in (furnished.login("doctor.b"), furnished.system("hospital-b")):
        kind, identity = address.split("/")
        assert session.get(address).status_code == 404
        assert session.ids(f"{kind}?_id={identity}") == []


HIV = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}
LABELLED: dict[str, Any] = {"meta": {"security": [HIV]}}
NAMED = {"reference": "Observation/labelled"}
NAMING: dict[str, dict[str, Any]] = {
    "provision.data": {"provision": {"data": [{"meaning": "instance", "reference": NAMED}]}},
    "provision.provision.data": {
        "provision": {"provision": [{"data": [{"meaning": "instance", "reference": NAMED}]}]}
    },
    "an extension": {"extension": [{"url": "http://example.org/x", "valueReference": NAMED}]},
    "a document": {"sourceReference": {"reference": "DocumentReference/paper"}},
    "another directive": {"sourceReference": {"reference": "Consent/first"}},
}


@pytest.fixture
def labelled(furnished: House) -> House:
    """Hospital-b sees all of the patient's record but what bears HIV or belongs to a stay."""
    furnished.share()
    hospital = furnished.system("hospital-a")
    hospital.store({**observation("labelled", "laboratory"), **LABELLED})
    paper = {"resourceType": "DocumentReference", "id": "paper", "status": "current"}
    subject = {"reference": "Patient/pat-1"}
    content = [{"attachment": {"contentType": "text/plain", "data": "eA=="}}]
    hospital.store({**paper, "subject": subject, "content": content, **LABELLED})
    hospital.store(directive(id="first", **LABELLED))
    hospital.store(encounter("stay"))
    stay = {"data": [{"meaning": "related", "reference": {"reference": "Encounter/stay"}}]}
    patient = furnished.login("p.pat-1")
    against = "Organization/hospital-b"
    patient.store(restriction("hide-hiv", against=against, securityLabel=[HIV]))
    patient.store(restriction("hide-stay", against=against, **stay))
    return furnished


@pytest.mark.parametrize("how", NAMING)
def test_it_bears_the_labels_of_what_it_names(labelled: House, how: str) -> None:
    hospital, other = labelled.system("hospital-a"), labelled.login("doctor.b")
    hospital.store(directive(id="plain"))
    hospital.store(directive(id="naming", **NAMING[how]))

    assert other.get("Consent/plain").status_code == 200
    never_found(other, "Consent/naming")
    # Anew when what it names changes, and when it names it no more.
    for body in (
        observation("labelled", "laboratory"),
        directive(id="first"),
        {**must(hospital.get("DocumentReference/paper")).json(), "meta": {"versionId": "1"}},
    ):
        must(hospital.put(body))
    assert other.get("Consent/naming").status_code == 200
    must(hospital.put({**observation("labelled", "laboratory"), **LABELLED}))
    must(hospital.put(directive(id="naming")))
    assert other.get("Consent/naming").status_code == 200


def test_it_belongs_to_the_stay_that_it_names(labelled: House) -> None:
    stay = {"meaning": "related", "reference": {"reference": "Encounter/stay"}}
    labelled.system("hospital-a").store(directive(id="naming", provision={"data": [stay]}))

    never_found(labelled.login("doctor.b"), "Consent/naming")


def test_what_names_it_bears_its_labels(labelled: House) -> None:
    hospital, other = labelled.system("hospital-a"), labelled.login("doctor.b")
    naming = [{"url": "http://example.org/x", "valueReference": {"reference": "Consent/first"}}]
    hospital.store({**observation("naming", "laboratory"), "extension": naming})

    never_found(other, "Observation/naming")
    must(hospital.put(directive(id="first")))
    assert other.get("Observation/naming").status_code == 200


def test_a_rule_bears_no_label_of_what_it_closes(labelled: House) -> None:
    patient, steward = labelled.login("p.pat-1"), labelled.login("steward")
    patient.store(restriction("close-one", record="Observation/labelled"))

    for session in (patient, steward):
        assert session.get("Consent/close-one").status_code == 200
    must(labelled.system("hospital-a").put(observation("labelled", "laboratory")))
    assert labelled.login("doctor.b").get("Observation/labelled").status_code == 404


def test_a_clinician_writes_a_directive_and_no_rule(labelled: House) -> None:
    author, other = labelled.login("doctor.a"), labelled.login("doctor.b")

    stored = must(author.post("Consent", directive())).json()
    address = f"Consent/{stored['id']}"

    assert must(other.get(address)).json() == stored
    must(author.put({**stored, "status": "inactive"}))
    assert other.delete(address).status_code == 403
    assert other.put({**stored, "status": "entered-in-error"}).status_code == 403
    for name in ("sharing-hospital-b", "absent"):
        rule = consent(name, "restriction", provision={"type": "deny"})
        for answer in (
            author.post("Consent", rule),
            author.post("Consent", directive(category=rule["category"])),
        ):
            assert answer.status_code in (403, 422)
        for answer in (
            author.put(rule), author.put(directive(id=name)), author.delete(f"Consent/{name}")
        ):  # fmt: skip
            assert answer.status_code == 404
    assert author.put({**rule, "id": stored["id"]}).status_code in (403, 422)
    must(author.delete(address))


def test_a_pharmacists_cells_hold_for_directives(labelled: House) -> None:
    stored = must(labelled.login("pharmacist.b").post("Consent", directive())).json()

    assert must(labelled.login("p.pat-1").get(f"Consent/{stored['id']}")).json() == stored
