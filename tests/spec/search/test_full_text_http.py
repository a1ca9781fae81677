"""`_text` and `_content` over HTTP: words, phrases, Chinese, what changes, what is hidden."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from ehr_inbound.bulk_files.load import load
from ehr_portal.record.record_search import build_searches, parse_words, search_params
from tests.lib.gateway import House, Session, condition, must, observation

NOTE = "Chronic obstructive pulmonary disease; 病人有高血壓及B型肝炎"
PROSE = "<p>Seen for <b>shortness</b> of breath.</p><p>長期咳嗽</p>"


def prose(html: str) -> dict[str, str]:
    div = f'<div xmlns="http://www.w3.org/1999/xhtml">{html}</div>'
    return {"status": "generated", "div": div}


def noted(name: str, note: str, html: str = "", patient: str = "pat-1") -> dict[str, Any]:
    body = {**condition(name, "enc-1"), "note": [{"text": note}]}
    body["subject"] = {"reference": f"Patient/{patient}"}
    if patient != "pat-1":
        del body["encounter"]
    return {**body, "text": prose(html)} if html else body


@pytest.fixture
def hospital(furnished: House) -> Session:
    hospital = furnished.system("hospital-a")
    hospital.store(noted("copd", NOTE, PROSE))
    hospital.store(noted("flu", "Influenza, no cough. Disease mild.", "<p>Fever &amp; 頭痛</p>"))
    return hospital


def found(session: Session, query: str, kind: str = "Condition") -> str:
    name, _, value = query.partition("=")
    ids = session.ids(f"{kind}?{name}={quote(value)}")
    return " ".join(one.partition("/")[2] for one in ids)


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("_content=disease", "copd flu"),
        ("_content=DISEASE pulmonary", "copd"),
        ('_content="pulmonary disease"', "copd"),
        ('_content="disease pulmonary"', ""),
        # From one text into another no phrase reaches.
        ('_content="asthma chronic"', ""),
        ("_content=asthma chronic", "copd"),
        ("_content=influenza OR pulmonary", "copd flu"),
        ("_content=disease -influenza", "copd"),
        ('_content=disease NOT "mild"', "copd"),
        ("_content=pulm*", "copd"),
        ("_content=pulm", ""),
        ("_content=influenza,pulmonary", "copd flu"),
        ("_content=influenza\\,", "flu"),
        # Chinese: any part of a run, of one character too; in either script.
        ("_content=高血壓", "copd"),
        ("_content=高血压", "copd"),
        ("_content=血", "copd"),
        ("_content=壓及", "copd"),
        ("_content=血高", ""),
        ("_content=B型肝炎", "copd"),
        ("_content=Ｂ型", "copd"),
        ("_content=炎", "copd"),
        ("_content=頭", "flu"),
        # The narrative is part of the content, and the content not of the narrative.
        ("_content=breath", "copd"),
        ("_content=breath disease", "copd"),
        ("_text=breath", "copd"),
        ("_text=disease", ""),
        ("_text=breath -disease", "copd"),
        ("_text=咳嗽", "copd"),
        ("_text=咳", "copd"),
        ("_text=高血壓", ""),
        ("_text=fever OR shortness", "copd flu"),
        ('_text="shortness of breath"', "copd"),
        ('_text="of short*"', ""),
        # Neither tags, nor codes, nor ids, nor addresses.
        ("_content=xhtml", ""),
        ("_content=div", ""),
        ("_content=generated", ""),
        ("_content=enc", ""),
        # What means something to a database means nothing here.
        ("_content=narrative : breath", ""),
        ("_content=disease ' & ! <-> | : ^ + { } \\ ; --", "copd flu"),
        ('_content="disease\' OR 1=1"', ""),
    ],
)
def test_words_are_found(hospital: Session, query: str, ids: str) -> None:
    assert found(hospital, query) == ids


@pytest.mark.parametrize("text", ['"chan', "-chan", "chan NOT", "OR chan", "(chan)", "!"])
def test_bad_syntax_names_the_parameter_and_no_value(furnished: House, text: str) -> None:
    for name in ("_text", "_content"):
        answer = furnished.system("hospital-a").get(f"Patient?{name}={quote(text)}")

        assert answer.status_code == 400
        assert f"`{name}`" in answer.json()["issue"][0]["diagnostics"]
        assert "chan" not in answer.text


def test_an_update_and_a_delete_change_what_is_found(hospital: Session) -> None:
    assert found(hospital, "_content=influenza") == "flu"

    hospital.store(noted("flu", "It was pneumonia.", "<p>Better</p>"))
    after_update = [found(hospital, f"_content={word}") for word in ("influenza", "pneumonia")]
    texts = [found(hospital, f"_text={word}") for word in ("fever", "better")]
    must(hospital.delete("Condition/flu"))
    after_delete = found(hospital, "_content=pneumonia OR influenza")
    must(hospital.put(noted("flu", "Influenza after all.")))

    assert after_update == ["", "flu"]
    assert texts == ["", "flu"]
    assert after_delete == ""
    assert found(hospital, "_content=influenza") == "flu"
    assert found(hospital, "_content=pneumonia") == ""


def test_a_write_that_fails_leaves_no_words(hospital: Session) -> None:
    entries = [noted("one", "Unheard-of"), noted("two", "Unheard-of")]
    entries[1]["encounter"] = {"reference": "Encounter/absent"}
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"resource": one, "request": {"method": "PUT", "url": f"Condition/{one['id']}"}}
            for one in entries
        ],
    }

    assert hospital.post("/fhir", bundle).status_code == 422
    hospital.store(noted("three", "Measles"))
    assert found(hospital, "_content=unheard") == ""
    assert found(hospital, "_content=measles") == "three"


def test_it_goes_with_other_parameters_orders_pages_and_totals(hospital: Session) -> None:
    first = hospital.get("Condition?_content=disease&_count=1&_total=accurate").json()
    after = hospital.get(first["link"][-1]["url"]).json()

    assert first["total"] == 2
    assert [one["entry"][0]["resource"]["id"] for one in (first, after)] == ["copd", "flu"]
    assert hospital.ids("Condition?_content=disease&_sort=-_lastUpdated")[0] == "Condition/flu"
    assert hospital.ids("Condition?_content=disease&_text=breath") == ["Condition/copd"]
    assert hospital.ids("Condition?patient=pat-2&_content=disease") == []
    assert hospital.ids("Condition?patient=pat-1&_content=disease&_sort=code") == [
        "Condition/copd", "Condition/flu",
    ]  # fmt: skip
    assert hospital.ids("Patient/pat-1/Condition?_content=influenza") == ["Condition/flu"]


def test_it_stands_at_the_end_of_chains_and_of_has(furnished: House, hospital: Session) -> None:
    person = furnished.login("p.pat-1")

    assert found(person, "encounter.patient._content=ka ming") == "con-1 copd flu"
    assert found(person, "subject:Patient._content=nobody") == ""
    assert found(person, "_has:Condition:patient:_text=breath", "Patient") == "pat-1"
    assert found(person, "_has:Condition:patient:_content=nothing", "Patient") == ""


def test_the_words_of_one_type_are_not_anothers(furnished: House) -> None:
    person = furnished.login("p.pat-1")

    assert found(person, "_content=chan", "Patient") == "pat-1"
    assert found(person, "_content=chan") == ""


def test_what_is_hidden_is_not_found(furnished: House, hospital: Session) -> None:
    hospital.store(noted("other", "Disease of another", "<p>breath</p>", patient="pat-2"))
    doctor = furnished.login("doctor.b")
    person = furnished.login("p.pat-1")

    assert found(doctor, "_content=disease") == ""
    furnished.share()
    assert found(doctor, "_content=disease") == "copd flu"
    assert found(doctor, "_text=breath") == "copd"
    assert found(doctor, "_has:Condition:patient:_content=another", "Patient") == ""
    assert found(person, "_content=disease") == "copd flu"
    assert doctor.get("Condition?_content=disease&_total=accurate").json()["total"] == 2


def test_a_load_writes_the_words_and_a_second_one_replaces_them(
    furnished: House, tmp_path: Path
) -> None:
    file = tmp_path / "Observation.ndjson"
    hospital = furnished.system("hospital-a")

    def put(note: str) -> str:
        body = {**observation("loaded", "laboratory"), "note": [{"text": note}]}
        file.write_text(json.dumps({**body, "text": prose(f"<p>{note}</p>")}) + "\n")
        assert load(furnished.gateway.store, [file], "hospital-a").rejected == 0
        return found(hospital, "_text=hemolysed", "Observation")

    assert put("Sample hemolysed 溶血") == "loaded"
    assert found(hospital, "_content=溶血", "Observation") == "loaded"
    assert put("Sample sound") == ""
    assert found(hospital, "_content=sound", "Observation") == "loaded"


def test_texts_longer_than_a_database_holds_are_stored_and_found_by_their_beginning(
    hospital: Session,
) -> None:
    words = " ".join(f"word{number}" for number in range(20_000))
    repeated = "again " * 20_000 + "last"
    hospital.store(noted("long", f"first thing {words}", f"<p>{words}</p>"))
    hospital.store(noted("repeated", f"{'字' * 20_000} {repeated}"))

    assert found(hospital, '_content="first thing"') == "long"
    assert found(hospital, "_content=word7000") == "long"
    assert found(hospital, "_text=word19999") == ""
    assert found(hospital, "_content=字字") == "repeated"


def test_every_type_states_them(house: House) -> None:
    statement = house.client.get("/fhir/metadata").json()

    for one in statement["rest"][0]["resource"]:
        names = [parameter["name"] for parameter in one["searchParam"]]
        # What is kept apart from records has searches of its own.
        own = one["type"] in ("AuditEvent", "OperationDefinition", "Subscription")
        assert {"_content", "_text"} <= set(names) or own


def test_an_identifier_is_not_a_word(furnished: House) -> None:
    assert found(furnished.login("p.pat-1"), "_content=ZA1234560", "Patient") == ""


@pytest.mark.parametrize("typed", [
    "_", "__a__", "a_b", "B型肝炎", "X光", "ｃｏｕｇｈ", "O'Brien", "-x", "NOT", "near/2", "²",
    '"a" OR *', "ª", "病人有高血壓cough", "a" * 100, "1 2 3 4 5 6 7 8 9", "é", "ß", "\u0e01",
    "(", "100%", "\u3400",
])  # fmt: skip
def test_whatever_a_patient_types_is_answered(hospital: Session, typed: str) -> None:
    for search in build_searches(parse_words(typed)) if parse_words(typed) else ():
        params = {name: str(value) for name, value in search_params(search).items()
                  if name != "_include"}  # fmt: skip
        answer = hospital.get(f"Patient/pat-1/*?{urlencode(params)}")
        assert answer.status_code == 200, (typed, answer.text)
