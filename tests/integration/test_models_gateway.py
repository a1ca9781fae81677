"""Scores written back to a real gateway, as any client would."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ehr_models.registry import get_task
from ehr_models.risk_assessments import ScoringRun
from ehr_models.score import Prediction
from ehr_models.write_back import send_predictions
from tests.lib.gateway import House

TASK = get_task("readmission-28d")
NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
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
