"""Corrections in the portal: asked for, answered, stated; their words stand in no address."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]

OF_PATIENT, ALL = "Patient/pat-1/$corrections", "$corrections"
TEXT = "The haemoglobin is <b>of my sister</b>"


def correction(state: str = "requested", **values: str) -> dict[str, Any]:
    said = {
        "id": "c-1",
        "state": state,
        "patient": "pat-1",
        "record": "Observation/lab-2025",
        "organization": "st-b",
        "display": "CHAN Ka Yan",
        "text": TEXT,
        "asked": "2026-11-20T08:00:00Z",
        "due": "2026-12-30T08:00:00Z",
    } | values
    if state != "requested":
        said = {
            "answer": "The sample is hers",
            "answered": "2026-11-21T08:00:00Z",
            "answered-by": "Dr WONG",
        } | said
    parts = [{"name": name.replace("_", "-"), "valueString": text} for name, text in said.items()]
    return {"name": "correction", "part": parts}


def listed(*corrections: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Parameters", "parameter": list(corrections)}


def test_a_correction_is_asked_for_from_the_entry(portal: PortalHouse) -> None:
    portal.log_in("patient")
    page = "/corrections/ask/Observation/lab-2025"

    assert page in portal.browser.get("/record/item/Observation/lab-2025").text
    shown = portal.browser.get(page).text
    sent = portal.send(page, page, text=TEXT)

    assert "Harbour Hospital" in shown and "13.46" in shown
    assert sent.headers["location"] == "/corrections"
    (asked,) = portal.fake.written()
    assert {p["name"]: p["valueString"] for p in asked["parameter"]} == {
        "record": "Observation/lab-2025",
        "text": TEXT,
    }
    assert not any("sister" in str(request.url) for request in portal.fake.asked)


def test_what_the_gateway_does_not_take_is_typed_still(portal: PortalHouse) -> None:
    portal.log_in("patient")
    page = "/corrections/ask/Observation/lab-2025"
    shown = portal.browser.get(page)
    assert shown.status_code == 200
    portal.fake.failures["Patient"] = 422

    answer = portal.send(page, page, text="x")

    assert answer.status_code == 422
    assert "Write a sentence or two" in answer.text


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (correction(), ["Waiting for an answer", "due by 30 Dec 2026", "St B&#39;s Hospital"]),
        (correction("accepted"), ["Accepted", "The sample is hers", "not changed yet"]),
        (
            correction("accepted", changed="2026-11-22T08:00:00Z"),
            ["The record was changed on 22 Nov 2026"],
        ),
        (correction("refused"), ["Refused", "Dr WONG", "Attach it to the record"]),
        (
            correction("refused", statement="I was not there"),
            ["Your statement:", "I was not there"],
        ),
    ],
)
def test_the_patient_sees_the_state_of_each(
    portal: PortalHouse, one: dict[str, Any], said: list[str]
) -> None:
    portal.log_in("patient")
    portal.fake.operations[OF_PATIENT] = listed(one)

    shown = portal.browser.get("/corrections").text

    for text in said:
        assert text in shown
    # Somebody's words are text and no markup.
    assert "&lt;b&gt;of my sister" in shown
    assert ("Attach it to the record" in shown) == ("refused" in str(one).lower())


def test_a_statement_is_attached_to_what_was_refused(portal: PortalHouse) -> None:
    portal.log_in("patient")
    portal.fake.operations[OF_PATIENT] = listed(correction("refused"))

    portal.send("/corrections", "/corrections/statement", request="c-1", text="I was not there")

    (sent,) = portal.fake.written()
    assert [p["valueString"] for p in sent["parameter"]] == ["c-1", "I was not there"]


def test_who_reads_the_record_finds_the_statement(portal: PortalHouse) -> None:
    one = correction("refused", statement="I was not there", stated="2026-11-22T08:00:00Z")
    portal.fake.operations["Observation/lab-2025/$corrections"] = listed(one, correction())

    for who, page in (
        ("patient", "/record/item/Observation/lab-2025"),
        ("doctor", "/patients/pat-1/item/Observation/lab-2025"),
    ):
        shown = portal.log_in(who).get(page).text
        assert "I was not there" in shown and "The sample is hers" in shown
        assert shown.count("statement about this record") == 1


def test_the_author_answers(portal: PortalHouse) -> None:
    portal.log_in("doctor")
    portal.fake.operations[ALL] = listed(
        correction(due="2026-11-01T08:00:00Z"), correction("accepted", id="c-2")
    )
    page = "/corrections/to-answer/c-1"

    shown = portal.browser.get("/corrections/to-answer").text
    form = portal.browser.get(page).text
    unsaid = portal.send(page, page, reason="The sample is hers")
    sent = portal.send(page, page, outcome="refused", reason="The sample is hers")

    assert "Overdue" in shown and page in shown and "/corrections/to-answer/c-2" not in shown
    # Whose record it is stands above.
    assert "CHAN Ka Yan" in form and "ehr-person" in form
    assert unsaid.status_code == 422 and "The sample is hers" in unsaid.text
    assert sent.headers["location"] == "/corrections/to-answer"
    (answered,) = portal.fake.written()
    assert [p["valueString"] for p in answered["parameter"]] == [
        "c-1",
        "refused",
        "The sample is hers",
    ]
    assert portal.browser.get("/corrections/to-answer/c-2").status_code == 404


def test_the_steward_watches_and_does_not_answer(portal: PortalHouse) -> None:
    portal.log_in("steward")
    portal.fake.operations[ALL] = listed(correction(), correction("accepted", id="c-2"))

    shown = portal.browser.get("/corrections/to-answer").text

    assert TEXT.replace("<", "&lt;").replace(">", "&gt;") in shown
    assert 'href="/corrections/to-answer/c-1"' not in shown
    assert portal.browser.get("/corrections/to-answer/c-1").status_code == 403
    assert portal.browser.get("/corrections").status_code == 403


def test_a_request_about_a_deleted_record_is_answered_all_the_same(portal: PortalHouse) -> None:
    portal.log_in("doctor")
    portal.fake.operations[ALL] = listed(correction())
    portal.fake.failures["Observation"] = 410
    page = "/corrections/to-answer/c-1"

    assert "The entry was deleted since." in portal.browser.get(page).text
    portal.send(page, page, outcome="accepted", reason="It is deleted")

    (sent,) = portal.fake.written()
    assert [p["valueString"] for p in sent["parameter"]] == ["c-1", "accepted", "It is deleted"]


@pytest.mark.parametrize("lines", [1, 250])
def test_a_text_of_several_lines_is_as_long_as_the_browser_says(
    portal: PortalHouse, lines: int
) -> None:
    portal.log_in("patient")
    page = "/corrections/ask/Observation/lab-2025"

    portal.send(page, page, text="a\r\n" * lines)

    (asked,) = portal.fake.written()
    (text,) = [p["valueString"] for p in asked["parameter"] if p["name"] == "text"]
    assert text == ("a\n" * lines).strip()
