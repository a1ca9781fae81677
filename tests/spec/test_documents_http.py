"""What is stored as data comes back as it was sent, and its entries go in as a transaction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ehr_fhir.errors import EhrError
from ehr_fhir.json_text import parse
from ehr_fhir.validation.validate import validate
from ehr_privacy.consent.container_patients import RECORD_SUBJECT
from tests.lib.documents import (
    ELSEWHERE,
    as_transaction,
    digest,
    own_documents,
    own_parameters,
    read_json,
    without_own_meta,
)
from tests.lib.gateway import BASE, House, Session, must, restriction

DOCUMENTS = own_documents()
# Bundles whose entries are resources to keep; the others are answers, or hold a Bundle.
MADE_OF = [name for name in DOCUMENTS if not name.endswith(("-response", "in a Bundle"))]

# Of the published patient summaries those that are no valid R4, by this server's own validator
# (R4's elements, cardinalities, datatypes, required bindings, narratives as XHTML), each with the
# first place that is wrong and why.
NOT_R4 = {
    "connectathon_Sept2024__CA_DAVE_DEBRONKART_VERTO": (
        "Bundle.entry[0].resource.section[0].text.div",
        "attributes without quotes; a reaction's severity is `low`",
    ),
    "connectathon_Sept2024__US_MEDITECH_ips_1": (
        "Bundle.entry[0].resource.section[4].text.div",
        "a bare ampersand: COVID-19 (J&J)",
    ),
    "connectathon_archive__AR_Repository_Example_01": (
        "Bundle.entry[1].resource.active",
        "`true` as a text; elements of R5 and of none (notGiven, ingredient.code)",
    ),
    "connectathon_archive__DK_Jens_Villadsen_02": (
        "Bundle.entry[0].resource.author",
        "a Composition without an author",
    ),
    "connectathon_archive__HK_IPS_Sample1": (
        "Bundle.entry[1].resource.text.div",
        "a div that is not closed",
    ),
    "connectathon_archive__HK_IPS_Sample_with_medication": (
        "Bundle.entry[1].resource.text.div",
        "a div that is not closed; doseAndRate.rate",
    ),
}


def send(session: Session, kind: str, body: bytes) -> Any:
    return session.request(
        "POST", kind, content=body, headers={"Content-Type": "application/fhir+json"}
    )


def check_kept(session: Session, body: bytes) -> None:
    """Store a container and check that each way of reading it gives what was sent."""
    sent = read_json(body)
    answer = must(send(session, sent["resourceType"], body))
    address = f"{sent['resourceType']}/{answer.json()['id']}"

    read = read_json(must(session.get(address)).content)
    (found,) = read_json(must(session.get(f"{sent['resourceType']}?_id={read['id']}")).content)[
        "entry"
    ]
    history = read_json(must(session.get(f"{address}/_history")).content)["entry"]

    for kept in (read, found["resource"], history[0]["resource"]):
        assert without_own_meta(kept) == without_own_meta(sent)
        assert digest(kept) == digest(sent)
    # An update leaves it as it is, too.
    again = must(session.put(must(session.get(address)).json())).content
    assert without_own_meta(read_json(again)) == without_own_meta(read_json(json.dumps(
        json.loads(body)
    )))  # fmt: skip


@pytest.mark.parametrize("name", [*DOCUMENTS, "Parameters"])
def test_a_container_comes_back_as_it_was_sent(house: House, name: str) -> None:
    content = own_parameters() if name == "Parameters" else DOCUMENTS[name]
    body = json.dumps(content).replace("61.5", "0.000000615000").encode()

    check_kept(house.system("hospital-a"), body)


@pytest.mark.parametrize("name", [*DOCUMENTS, "Parameters"])
def test_a_container_in_a_transaction_is_kept_too(house: House, name: str) -> None:
    content = own_parameters() if name == "Parameters" else DOCUMENTS[name]
    request = {"method": "POST", "url": content["resourceType"]}
    entries = [{"fullUrl": f"{ELSEWHERE}/Patient/2", "resource": content, "request": request}]
    session = house.system("hospital-a")

    for kind in ("transaction", "batch"):
        bundle = {"resourceType": "Bundle", "type": kind, "entry": entries}
        (stored,) = must(session.post("/fhir", bundle)).json()["entry"]
        assert without_own_meta(stored["resource"]) == without_own_meta(content)


@pytest.mark.parametrize("name", MADE_OF)
def test_the_entries_of_a_document_go_in_as_a_transaction(house: House, name: str) -> None:
    platform = house.system("ehr-commons")
    document = DOCUMENTS[name]
    if name == "searchset":
        # An entry whose elements are missing is nothing to store.
        document = {**document, "entry": document["entry"][:4]}

    stored = must(platform.post("/fhir", as_transaction(document))).json()["entry"]

    resources = {one["resource"]["resourceType"]: one["resource"] for one in stored}
    patient, condition = resources["Patient"], resources["Condition"]
    organization = resources["Organization"]
    assert condition["subject"]["reference"] == f"Patient/{patient['id']}"
    assert condition["recorder"]["reference"] == "#in"
    assert organization["identifier"] == document["entry"][2]["resource"]["identifier"]
    if "Composition" in resources:
        composition, sent = resources["Composition"], document["entry"][0]["resource"]
        assert composition["title"] == sent["title"]
        assert composition["section"][0]["entry"][1] == {"display": "not in the document"}
        if name != "urns, relative references":  # a link that names no entry stays
            link = f'href="Condition/{condition["id"]}"'
            assert link in composition["section"][0]["text"]["div"]


def summaries(shared_data: Path) -> dict[str, bytes]:
    folder = shared_data / "ips-bundles"
    return {path.stem: path.read_bytes() for path in sorted(folder.glob("*.json"))}


def test_every_published_summary_that_is_valid_r4_comes_back_as_it_was_sent(
    house: House, shared_data: Path
) -> None:
    session = house.system("hospital-a")
    for name, body in summaries(shared_data).items():
        if name not in NOT_R4:
            check_kept(session, body)


def test_every_published_summary_that_is_valid_r4_goes_in_as_a_transaction(
    house: House, shared_data: Path
) -> None:
    platform = house.system("ehr-commons")
    for name, body in summaries(shared_data).items():
        if name not in NOT_R4:
            entries = as_transaction(json.loads(body))
            answer = platform.post("/fhir", entries)
            assert answer.status_code == 200, (name, answer.text)
            assert len(answer.json()["entry"]) == len(entries["entry"])


def test_the_published_summaries_that_are_no_valid_r4_are_refused_by_the_place_that_is_wrong(
    house: House, shared_data: Path
) -> None:
    session = house.system("hospital-a")
    faults = {}
    for name, body in summaries(shared_data).items():
        try:
            validate(parse(body))
        except EhrError as error:
            faults[name] = error.issues[0].expression
            assert send(session, "Bundle", body).status_code == 422

    assert faults == {name: place for name, (place, _) in NOT_R4.items()}


# Whose record a document is.


def about(patient_entry: str, condition_entry: str, **meta: Any) -> dict[str, Any]:
    """Return a collection about a Patient/pat-1, which may be another's."""
    condition = {
        "resourceType": "Condition",
        "id": "c",
        "code": {"text": "asthma"},
        "subject": {"reference": "Patient/pat-1"},
    }
    return {
        "resourceType": "Bundle",
        "type": "collection",
        **({"meta": meta} if meta else {}),
        "entry": [
            {"fullUrl": patient_entry, "resource": {"resourceType": "Patient", "id": "pat-1"}},
            {"fullUrl": condition_entry, "resource": condition},
        ],
    }


STATED = [{"url": RECORD_SUBJECT, "valueReference": {"reference": "Patient/pat-1"}}]
OF_ANOTHER = {
    "elsewhere": about(f"{ELSEWHERE}/Patient/pat-1", f"{ELSEWHERE}/Condition/c"),
    "urns": about(
        "urn:uuid:00000000-0000-4000-8000-000000000001",
        "urn:uuid:00000000-0000-4000-8000-000000000002",
    ),
}
OF_PATIENT = {
    "this server's address": about(f"{BASE}/fhir/Patient/pat-1", f"{BASE}/fhir/Condition/c"),
    "stated": about(
        f"{ELSEWHERE}/Patient/pat-1", f"{ELSEWHERE}/Condition/c", extension=STATED
    ),
}  # fmt: skip


def who_reads(house: House, identity: str) -> set[str]:
    """Return who reads and finds a Bundle."""
    names = ("doctor.a", "doctor.b", "p.pat-1", "p.pat-2", "steward")
    readers = set()
    for name in names:
        session = house.login(name)
        read = session.get(f"Bundle/{identity}").status_code == 200
        assert session.ids(f"Bundle?_id={identity}") == ([f"Bundle/{identity}"] if read else [])
        if read:
            readers.add(name)
    return readers


@pytest.mark.parametrize("name", OF_ANOTHER)
def test_a_document_about_another_servers_patient_is_nobodys_here(
    furnished: House, name: str
) -> None:
    furnished.share()
    stored = must(furnished.system("hospital-a").post("Bundle", OF_ANOTHER[name])).json()

    assert who_reads(furnished, stored["id"]) == {"doctor.a", "steward"}


@pytest.mark.parametrize("name", OF_PATIENT)
def test_a_document_about_a_patient_of_ours_is_their_record(furnished: House, name: str) -> None:
    sent = OF_PATIENT[name]
    stored = must(furnished.system("hospital-a").post("Bundle", sent)).json()
    identity = stored["id"]

    before = who_reads(furnished, identity)
    furnished.share()
    shared = who_reads(furnished, identity)
    furnished.login("p.pat-1").store(restriction("x", against="Organization/hospital-b"))
    hidden = who_reads(furnished, identity)

    assert before == hidden == {"doctor.a", "p.pat-1"}
    assert shared == {"doctor.a", "doctor.b", "p.pat-1"}
    assert stored["entry"] == sent["entry"]
    assert stored["meta"]["extension"] == STATED


def test_who_states_a_patient_needs_the_right_to_deposit(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    stated = [{"url": RECORD_SUBJECT, "valueReference": {"reference": "Patient/nobody"}}]
    nobody = {**OF_PATIENT["stated"], "meta": {"extension": stated}}

    assert hospital.post("Bundle", nobody).status_code in (403, 422)


def move(house: House, identity: str, **values: str) -> Any:
    parameters = {"patient": "pat-2", "reason": "by the paper record", **values}
    body = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": name, ("valueString" if name == "reason" else "valueId"): value}
            for name, value in parameters.items()
        ],
    }
    return house.login("steward").post(f"Bundle/{identity}/$move", body)


@pytest.mark.parametrize("name", [*OF_ANOTHER, "stated"])
def test_a_steward_says_whose_a_document_is(furnished: House, name: str) -> None:
    sent = {**OF_ANOTHER, **OF_PATIENT}[name]
    stored = must(furnished.system("hospital-a").post("Bundle", sent)).json()

    must(move(furnished, stored["id"]))

    assert who_reads(furnished, stored["id"]) == {"doctor.a", "p.pat-2"}
    kept = must(furnished.login("p.pat-2").get(f"Bundle/{stored['id']}")).json()
    assert kept["entry"] == sent["entry"]


def test_a_document_that_names_its_patient_inside_is_not_moved(furnished: House) -> None:
    condition = {"resourceType": "Condition", "subject": {"reference": "Patient/pat-1"}}
    sent = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": condition}]}
    stored = must(furnished.system("hospital-a").post("Bundle", sent)).json()

    assert move(furnished, stored["id"]).status_code == 422
    assert who_reads(furnished, stored["id"]) == {"doctor.a", "p.pat-1"}
