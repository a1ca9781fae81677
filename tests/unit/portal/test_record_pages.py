"""The record as the patient and the clinician see it."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from ehr_portal.record.new_entries import ENTRY_SYSTEM
from ehr_portal.record.risk_scores import BETTER_THAN_BASELINE, METHOD_SYSTEM, MODEL_EVALUATION
from tests.lib.portal_house import PortalHouse, portal
from tests.lib.portal_routes import Values, routes

__all__ = ["portal"]


def test_the_record_tells_each_section_with_who_wrote_it(portal: PortalHouse) -> None:
    shown = portal.log_in("patient").get("/record").text

    for text in ("Latex", "High risk", "Lisinopril 10 mg", "Haemoglobin", "13.46\u00a0g/dL"):
        assert text in shown
    assert "Written by Harbour Hospital" in shown.replace('<span lang="en">', "")
    assert "No immunisations are recorded." in shown


def test_the_card_number_is_shown_only_in_part(portal: PortalHouse) -> None:
    shown = portal.log_in("patient").get("/record").text

    assert "ZQ123•••(7)" in shown
    assert "ZQ123456" not in shown


def test_names_are_shown_in_both_scripts_and_marked(portal: PortalHouse) -> None:
    shown = portal.log_in("patient", "zh-Hans").get("/record").text

    assert '<span lang="en">CHAN Ka Yan</span> <span lang="zh-Hant-HK">陳家欣</span>' in shown


def test_a_section_shows_every_value_as_chart_and_table(portal: PortalHouse) -> None:
    shown = portal.log_in("patient").get("/record/results").text

    assert 'role="img" aria-label="Haemoglobin from 1 Jun 2023 to 1 Jun 2025' in shown
    assert shown.count("<tr><td>") == 3
    assert shown.index("13.46") < shown.index("12.1")


def test_a_text_document_is_shown_as_it_was_written(portal: PortalHouse) -> None:
    data = base64.b64encode(b"Chief complaint: cough <none>").decode()
    portal.fake.resources[("DocumentReference", "doc-1")] = {
        "resourceType": "DocumentReference",
        "id": "doc-1",
        "subject": {"reference": "Patient/pat-1"},
        "content": [{"attachment": {"contentType": "text/plain; charset=utf-8", "data": data}}],
    }

    shown = portal.log_in("patient").get("/record/item/DocumentReference/doc-1").text

    assert "Chief complaint: cough &lt;none&gt;" in shown


@pytest.mark.parametrize(
    "page",
    ["/record/item/Observation/lab-9", "/record/item/Claim/c-1", "/record/nothing",
     "/record/item/Condition/other", "/no-such-page"],
)  # fmt: skip
def test_what_is_absent_hidden_or_anothers_gives_one_answer(portal: PortalHouse, page: str) -> None:
    portal.fake.resources[("Condition", "other")] = {
        "resourceType": "Condition",
        "id": "other",
        "subject": {"reference": "Patient/pat-2"},
        "code": {"text": "Somebody else's"},
    }

    shown = portal.log_in("patient").get(page)

    assert shown.status_code == 404
    assert "There is nothing here" in shown.text
    assert "Somebody" not in shown.text


def test_a_clinician_sees_the_same_record_without_the_patients_choices(portal: PortalHouse) -> None:
    browser = portal.log_in("doctor")

    assert "Lisinopril 10 mg" in browser.get("/patients/pat-1").text
    item = browser.get("/patients/pat-1/item/Observation/lab-2025").text
    assert "13.46" in item
    assert "/sharing/" not in item


@pytest.mark.parametrize(
    "path",
    sorted(
        path
        for method, path in routes()
        # A document is sent as it is; the answer to a request needs one.
        if method == "GET" and path.startswith("/patients/{patient}") and "attachment" not in path
    ),
)
def test_a_clinicians_pages_name_the_patient_and_the_allergies(
    portal: PortalHouse, path: str
) -> None:
    result = dict.fromkeys(("resource_id", "observation_id"), "lab-2025")
    # Written by the doctor's own organisation, so that it may be held back.
    own = {"source": "https://ehr-commons.hk/organization/st-b", "versionId": "1"}
    portal.fake.resources[("Observation", "lab-2025")]["meta"] = own
    # A prescription that waits for its signature.
    portal.fake.resources[("MedicationRequest", "a-1")] = {
        "resourceType": "MedicationRequest",
        "id": "a-1",
        "meta": own,
        "identifier": [{"system": ENTRY_SYSTEM, "value": "1"}],
        "status": "draft",
        "intent": "order",
        "subject": {"reference": "Patient/pat-1"},
        "medicationCodeableConcept": {"text": "Warfarin"},
    }
    portal.fake.operations["Patient/pat-1/$access-requests"] = access_requests("a-1")
    address = path.format_map(
        Values(patient="pat-1", resource_type="Observation", key="results", **result)
    )
    answer = portal.log_in("doctor").get(address)
    shown = answer.text.partition("<main")[2]

    assert answer.status_code == 200, address
    for text in ("CHAN Ka Yan", "陳家欣", "14 Mar 1981", "(45 years)", "Female", "ZQ123•••(7)"):
        assert text in shown, address
    # The allergy strip, with the danger.
    assert "ehr-strip--known" in shown and "Latex" in shown and "High risk" in shown, address


def access_requests(name: str) -> dict[str, Any]:
    """Return one request for access."""
    parts = [{"name": "id", "valueString": name}, {"name": "state", "valueString": "pending"}]
    return {"resourceType": "Parameters", "parameter": [{"name": "request", "part": parts}]}


def test_a_patient_who_shares_nothing_looks_like_no_patient_at_all(portal: PortalHouse) -> None:
    browser = portal.log_in("doctor")
    unknown = browser.get("/patients/pat-2")
    portal.fake.resources = {
        key: resource
        for key, resource in portal.fake.resources.items()
        if key[0] in ("Organization", "Consent")
    }
    hidden = browser.get("/patients/pat-1")

    assert (hidden.status_code, unknown.status_code) == (404, 404)
    assert "No shared record is available to you" in hidden.text
    assert hidden.text.replace("pat-1", "pat-2") == unknown.text


def test_a_search_without_a_result_says_no_more_than_that(portal: PortalHouse) -> None:
    portal.log_in("doctor")

    address = portal.send("/patients", "/patients", who="A9876543").headers["location"]

    assert "No shared record is available to you" in portal.browser.get(address).text


def test_what_the_own_organisation_wrote_is_shown_without_the_person(portal: PortalHouse) -> None:
    del portal.fake.resources[("Patient", "pat-1")]

    shown = portal.log_in("doctor").get("/patients/pat-1")

    assert shown.status_code == 200
    assert "Records of your own organisation" in shown.text


def risk_assessment(**changes: Any) -> dict[str, Any]:
    """Return a score of a model that is better than its baseline, within its time."""
    period = {"start": "2026-11-01T00:00:00Z", "end": "2026-11-29T00:00:00Z"}
    evaluation = {"url": MODEL_EVALUATION, "valueCode": BETTER_THAN_BASELINE}
    return {
        "resourceType": "RiskAssessment",
        "status": "final",
        "note": [{"text": "Better than LACE."}],
        "id": "ra-1",
        "meta": {"source": "https://ehr-commons.hk/organization/ehr-commons"},
        "extension": [changes.pop("evaluation", evaluation)],
        "subject": {"reference": "Patient/pat-1"},
        "occurrenceDateTime": changes.pop("at", "2026-11-20T04:00:00Z"),
        "method": {
            "coding": [{"system": METHOD_SYSTEM, "code": "readmission-28d", "version": "3"}],
            "text": "readmission, version 3",
        },
        "prediction": [
            {
                "outcome": {"text": "Readmission in 28 days"},
                "probabilityDecimal": 0.173,
                "whenPeriod": {**period, **changes.pop("period", {})},
            }
        ],
        **changes,
    }


def let_score(portal: PortalHouse, version: str, task: str = "readmission-28d") -> None:
    """Let the gateway say that this version scores now, and no other."""
    parts = [{"name": "task", "valueString": task}, {"name": "version", "valueInteger": version}]
    model = {"name": "model", "part": parts}
    answer = {"resourceType": "Parameters", "parameter": [model]}
    portal.fake.operations["$scoring-models"] = answer


def test_a_risk_score_says_that_a_model_made_it(portal: PortalHouse) -> None:
    portal.fake.resources[("RiskAssessment", "ra-1")] = risk_assessment()
    let_score(portal, "3")

    shown = portal.log_in("doctor").get("/patients/pat-1").text

    assert "17.3%" in shown
    assert "Better than LACE." in shown
    assert "Worked out on 20 Nov 2026 by a computer model, not by a person." in shown
    assert "Version 3 of the model." in shown
    assert "It speaks of the time until 29 Nov 2026." in shown
    assert "17.3%" not in portal.log_in("patient").get("/record").text


@pytest.mark.parametrize(
    "changes",
    [
        {"period": {"end": "2026-11-22T07:59:59Z"}},
        {"period": {"end": "2026-11-21"}},
        {"period": {"end": ""}},
        {"period": {"start": "2026-11-23T00:00:00Z"}},
        {"evaluation": {"url": MODEL_EVALUATION, "valueCode": "not-better"}},
        {"evaluation": {"url": MODEL_EVALUATION, "valueCode": "too-few-outcomes"}},
        {"evaluation": {"url": "urn:other", "valueCode": BETTER_THAN_BASELINE}},
        {"status": "entered-in-error"},
        {"status": "preliminary"},
    ],
)
def test_no_risk_is_shown_past_its_time_or_of_a_model_that_is_not_better(
    portal: PortalHouse, changes: dict[str, Any]
) -> None:
    portal.fake.resources[("RiskAssessment", "ra-1")] = risk_assessment(**changes)
    let_score(portal, "3")

    shown = portal.log_in("doctor").get("/patients/pat-1").text

    assert "17.3%" not in shown and "Risk score" not in shown


def test_the_score_of_a_version_that_was_rolled_back_is_gone_with_the_next_request(
    portal: PortalHouse,
) -> None:
    portal.fake.resources[("RiskAssessment", "ra-1")] = risk_assessment()
    let_score(portal, "3")
    doctor = portal.log_in("doctor")
    assert "17.3%" in doctor.get("/patients/pat-1").text

    let_score(portal, "2")
    assert "17.3%" not in doctor.get("/patients/pat-1").text
    let_score(portal, "3", task="another-model")
    assert "17.3%" not in doctor.get("/patients/pat-1").text
    # Nor where nobody can tell.
    portal.fake.refused_operations["$scoring-models"] = (503, "Not now.")
    shown = doctor.get("/patients/pat-1")
    assert shown.status_code == 200 and "17.3%" not in shown.text


def test_a_newer_score_that_is_not_shown_brings_no_older_one_back(portal: PortalHouse) -> None:
    let_score(portal, "3")
    portal.fake.resources[("RiskAssessment", "ra-1")] = risk_assessment()
    worse = {"url": MODEL_EVALUATION, "valueCode": "not-better"}
    newer = risk_assessment(evaluation=worse, at="2026-11-21T04:00:00Z")
    portal.fake.resources[("RiskAssessment", "ra-2")] = {**newer, "id": "ra-2"}

    assert "17.3%" not in portal.log_in("doctor").get("/patients/pat-1").text


def test_a_section_the_token_does_not_cover_leaves_the_others(portal: PortalHouse) -> None:
    portal.fake.failures = {"Condition": 403}

    shown = portal.log_in("patient").get("/record")

    assert shown.status_code == 200
    assert "Lisinopril 10 mg" in shown.text


@pytest.mark.parametrize(("answer", "status"), [(500, 500), (503, 503), (400, 502)])
def test_a_failure_of_the_gateway_is_told_in_plain_words(
    portal: PortalHouse, answer: int, status: int
) -> None:
    portal.fake.failures = {"Observation": answer}

    shown = portal.log_in("patient").get("/record")

    assert shown.status_code == status
    assert "Something went wrong on our side" in shown.text


def test_a_gateway_that_is_busy_for_a_moment_is_asked_once_more(
    portal: PortalHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ehr_portal.gateway.client._RETRY_SECONDS", 0.0)
    portal.fake.failures = {"Observation": 503}
    portal.fake.recovers = True

    assert portal.log_in("patient").get("/record").status_code == 200
    assert portal.fake.failures == {}


def test_a_day_is_the_same_in_the_list_and_on_the_records_own_page(portal: PortalHouse) -> None:
    late = {**portal.fake.resources[("Condition", "con-1")]}
    portal.fake.resources[("Condition", "con-1")] = late | {
        "onsetDateTime": "2020-02-03T20:00:00+00:00"
    }
    browser = portal.log_in("patient")

    assert "4 Feb 2020" in browser.get("/record").text
    assert "4 Feb 2020 04:00" in browser.get("/record/item/Condition/con-1").text
