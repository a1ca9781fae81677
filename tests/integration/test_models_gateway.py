"""Scores written back to a real gateway, as any client would."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fhir.resources.R4B.riskassessment import RiskAssessment

from ehr_models.ended_assessments import end_assessments, withdraw_assessments
from ehr_models.registry import get_task
from ehr_models.risk_assessments import ScoringRun, derive_assessment_id
from ehr_models.score import Prediction
from ehr_models.write_back import send_predictions
from tests.lib.gateway import House, consent

TASK = get_task("readmission-28d")
NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
LATER = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)
ENDED = datetime(2026, 1, 9, 0, 0, tzinfo=UTC)
SCOPE = "system/RiskAssessment.cruds system/Provenance.cruds"
RUN = ScoringRun(TASK, "3", NOW)
MINE = Prediction("pat-1", "enc-1", ENDED, 0.25)


@pytest.fixture
def token(furnished: House) -> str:
    """Return a token of the platform's own program."""
    return furnished.system("ehr-commons", SCOPE).headers["Authorization"][7:]


def test_a_score_becomes_a_risk_assessment_with_its_provenance(
    furnished: House, token: str
) -> None:
    sent = send_predictions(furnished.client, token, RUN, [MINE])

    assert (sent.accepted, sent.refused) == (1, 0)
    patient = furnished.login("p.pat-1")
    found = patient.get("RiskAssessment?subject=Patient/pat-1&_total=accurate").json()
    assert found["total"] == 1
    assessment = found["entry"][0]["resource"]
    assert assessment["prediction"][0]["probabilityDecimal"] == 0.25
    target = f"RiskAssessment/{assessment['id']}"
    provenance = patient.get(f"Provenance?target={target}").json()["entry"][0]["resource"]
    assert provenance["target"][0]["reference"] == target


def test_scoring_again_makes_a_second_version_not_a_second_assessment(
    furnished: House, token: str
) -> None:
    send_predictions(furnished.client, token, RUN, [MINE])
    later = Prediction("pat-1", "enc-1", ENDED, 0.5)
    send_predictions(furnished.client, token, ScoringRun(TASK, "4", NOW), [later])

    found = (
        furnished.login("p.pat-1")
        .get("RiskAssessment?subject=Patient/pat-1&_total=accurate")
        .json()
    )
    assert found["total"] == 1
    assessment = found["entry"][0]["resource"]
    assert assessment["meta"]["versionId"] == "2"
    assert assessment["prediction"][0]["probabilityDecimal"] == 0.5


def test_a_patient_the_gateway_does_not_know_keeps_back_nobody(
    furnished: House, token: str
) -> None:
    gone = Prediction("gone", "none", ENDED, 0.9)

    sent = send_predictions(furnished.client, token, RUN, [MINE, gone])

    assert (sent.accepted, sent.refused) == (1, 1)


def leave(furnished: House) -> None:
    furnished.login("p.pat-1").store(consent("joining-1", "joining", status="inactive"))


def list_assessments(furnished: House) -> list[dict[str, Any]]:
    found = furnished.login("p.pat-1").get("RiskAssessment?subject=Patient/pat-1").json()
    return [entry["resource"] for entry in found.get("entry", ())]


@pytest.mark.parametrize("was_scored", [False, True])
def test_nothing_is_written_about_who_has_left_since_the_lakes_last_update(
    furnished: House, token: str, was_scored: bool
) -> None:
    if was_scored:
        send_predictions(furnished.client, token, RUN, [MINE])
    leave(furnished)

    again = Prediction("pat-1", "enc-1", ENDED, 0.75)
    sent = send_predictions(furnished.client, token, ScoringRun(TASK, "4", LATER), [again])

    assert (sent.accepted, sent.refused) == (0, 1)
    probabilities = [
        one["prediction"][0]["probabilityDecimal"] for one in list_assessments(furnished)
    ]
    assert 0.75 not in probabilities


def test_an_assessment_that_no_longer_holds_is_ended_and_stays_on_record(
    furnished: House, token: str
) -> None:
    current = Prediction("pat-1", "enc-1", NOW - timedelta(days=3), 0.25)
    over = Prediction("pat-1", "enc-0", NOW - timedelta(days=40), 0.5)
    other = Prediction("pat-2", "enc-2", NOW - timedelta(days=3), 0.75)
    send_predictions(furnished.client, token, RUN, [current, over, other])
    later = ScoringRun(TASK, "3", LATER)

    kept = {derive_assessment_id(TASK, other)}
    assert end_assessments(furnished.client, token, later, kept) == 1
    # Once is enough.
    assert end_assessments(furnished.client, token, later, kept) == 0

    by_id = {one["id"]: one for one in list_assessments(furnished)}
    ended = by_id[derive_assessment_id(TASK, current)]
    RiskAssessment.model_validate(ended)
    assert ended["status"] == "amended"
    assert ended["prediction"][0]["whenPeriod"]["end"] == "2026-11-23T08:30:00.000Z"
    assert ended["prediction"][0]["probabilityDecimal"] == 0.25
    assert "Ended at the scoring of 2026-11-23" in ended["note"][-1]["text"]
    # Its window was over by itself.
    assert by_id[derive_assessment_id(TASK, over)]["status"] == "final"


def test_what_a_withdrawn_version_wrote_is_ended(furnished: House, token: str) -> None:
    current = Prediction("pat-1", "enc-1", NOW - timedelta(days=3), 0.25)
    send_predictions(furnished.client, token, RUN, [current])

    assert withdraw_assessments(furnished.client, token, TASK, LATER) == 1
    assert withdraw_assessments(furnished.client, token, TASK, LATER) == 0

    (ended,) = list_assessments(furnished)
    RiskAssessment.model_validate(ended)
    assert (ended["status"], "withdrawn" in ended["note"][-1]["text"]) == ("amended", True)


def test_of_who_has_left_no_assessment_is_ended_either(furnished: House, token: str) -> None:
    current = Prediction("pat-1", "enc-1", NOW - timedelta(days=3), 0.25)
    send_predictions(furnished.client, token, RUN, [current])
    leave(furnished)

    assert end_assessments(furnished.client, token, ScoringRun(TASK, "3", LATER), ()) == 0
