"""Bundle's `composition` and `message` lead into the document or message itself."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.gateway import House, must

Json = dict[str, Any]
LOINC = "http://loinc.org"


def document(name: str, title: str, family: str, **bundle: Any) -> Json:
    """Return a document whose entries name each other by urn, as real ones do."""
    return {
        "resourceType": "Bundle",
        "id": name,
        "type": "document",
        "identifier": {"system": "urn:ietf:rfc:3986", "value": f"urn:oid:1.2.{len(name)}"},
        "timestamp": "2026-02-03T04:05:06Z",
        "entry": [
            {
                "fullUrl": f"urn:uuid:{name}-1",
                "resource": {
                    "resourceType": "Composition",
                    "id": "same",
                    "status": "final",
                    "title": title,
                    "type": {"coding": [{"system": LOINC, "code": "60591-5"}]},
                    "date": "2026-02-03",
                    "subject": {"reference": f"urn:uuid:{name}-2"},
                    "author": [{"reference": "Practitioner/yu"}, {"display": "nobody"}],
                },
            },
            {
                "fullUrl": f"urn:uuid:{name}-2",
                "resource": {
                    "resourceType": "Patient",
                    "name": [{"family": family}],
                    "generalPractitioner": [{"reference": f"urn:uuid:{name}-3"}],
                },
            },
            {
                "fullUrl": f"urn:uuid:{name}-3",
                "resource": {"resourceType": "Practitioner", "name": [{"family": "Yu"}]},
            },
        ],
        **bundle,
    }


MESSAGE: Json = {
    "resourceType": "Bundle",
    "id": "message",
    "type": "message",
    "entry": [
        {
            "fullUrl": "http://elsewhere/fhir/MessageHeader/m",
            "resource": {
                "resourceType": "MessageHeader",
                "id": "m",
                "eventCoding": {"system": "http://example.org/e", "code": "admit"},
                "source": {"endpoint": "http://elsewhere/in"},
                "focus": [{"reference": "Encounter/e"}, {"reference": "Patient/pat-1"}],
            },
        },
        {
            "fullUrl": "http://elsewhere/fhir/Encounter/e",
            "resource": {
                "resourceType": "Encounter",
                "id": "e",
                "status": "planned",
                "class": {"code": "AMB"},
            },
        },
    ],
}


@pytest.fixture
def stored(furnished: House) -> House:
    hospital = furnished.system("hospital-a")
    # A stored Composition and Practitioner under the ids that the documents use for theirs.
    hospital.store({"resourceType": "Practitioner", "id": "yu", "name": [{"family": "Au"}]})
    hospital.store(
        {
            "resourceType": "Composition",
            "id": "same",
            "status": "final",
            "title": "Stored beside",
            "type": {"text": "x"},
            "date": "2020",
            "author": [{"display": "x"}],
            "subject": {"reference": "Patient/pat-1"},
        }
    )
    for body in (
        document("one", "Discharge", "Ng"),
        document("two", "Summary", "Li"),
        MESSAGE,
        {"resourceType": "Bundle", "id": "empty", "type": "document"},
        {"resourceType": "Bundle", "id": "set", "type": "collection",
         "entry": [{"resource": {"resourceType": "Practitioner", "id": "same"}}]},
    ):  # fmt: skip
        hospital.store(body)
    return furnished


FOUND = {
    "composition.title=discharge": "one",
    "composition.title=stored": "",
    "composition.date=2026-02": "one two",
    "composition.date=2020": "",
    "composition.type=60591-5": "one two",
    "composition.status:not=final": "",
    "composition.patient.family=li": "two",
    "composition.patient.family=chan": "",
    "composition.subject:Patient.family=ng": "one",
    "composition.subject:Patient.general-practitioner:missing=false": "one two",
    "composition.author:Practitioner.family=au": "",
    "composition:missing=false": "one two",
    "composition:missing=true": "empty message set",
    "message:missing=false": "message",
    "message.event=admit": "message",
    "message.event=http://example.org/e|discharge": "",
    "message.focus:Encounter.status=planned": "message",
    "message.focus:Patient.family=chan": "",
    "message.focus=http://elsewhere/fhir/Patient/pat-1": "message",
    "message.focus=Patient/pat-1": "",
    "composition.title=summary&type=document": "two",
}


def test_documents_are_found_by_what_stands_in_them(stored: House) -> None:
    hospital = stored.system("hospital-a")

    found = {
        query: " ".join(
            sorted(name.removeprefix("Bundle/") for name in hospital.ids(f"Bundle?{query}"))
        )
        for query in FOUND
    }

    assert found == FOUND


@pytest.mark.parametrize("include", ["composition", "composition:Composition", "message", "*"])
def test_what_is_inside_a_document_is_not_included_beside_it(stored: House, include: str) -> None:
    answer = must(stored.system("hospital-a").get(f"Bundle?_id=one&_include=Bundle:{include}"))

    assert [entry["resource"]["id"] for entry in answer.json()["entry"]] == ["one"]


def test_no_stored_resource_is_named_by_a_document(stored: House) -> None:
    hospital = stored.system("hospital-a")

    assert hospital.ids("Composition?_has:Bundle:composition:type=document") == []
    found = hospital.ids("Composition?_id=same&_revinclude=Bundle:composition")
    assert found == ["Composition/same"]


def test_whose_document_it_is_is_searched_by_the_word_of_who_stored_it(stored: House) -> None:
    stored.share("hospital-a")
    hospital = stored.system("hospital-a")
    base = "http://testserver/fhir"
    body = document("own", "Own", "Chan")
    body["entry"] = body["entry"][:1]
    body["entry"][0]["fullUrl"] = f"{base}/Composition/same"
    body["entry"][0]["resource"]["subject"] = {"reference": "Patient/pat-1"}
    name = must(hospital.post("Bundle", body)).json()["id"]

    assert hospital.ids("Bundle?composition.patient=Patient/pat-1") == [f"Bundle/{name}"]
    assert hospital.ids("Bundle?composition.patient.family=chan") == [f"Bundle/{name}"]


def test_who_does_not_see_a_document_finds_nothing_by_it(stored: House) -> None:
    assert stored.system("hospital-b").ids("Bundle?composition.title=discharge") == []
