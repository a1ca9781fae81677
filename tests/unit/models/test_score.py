"""Scores as FHIR, and how they are sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import httpx
import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.provenance import Provenance
from fhir.resources.R4B.riskassessment import RiskAssessment

from ehr_fhir.errors import Unavailable, Unprocessable
from ehr_models.evaluate import pipeline
from ehr_models.score import Score, score, send, send_all, transaction
from ehr_models.tasks.readmission.features import FEATURES, features
from tests.lib import gold

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
ENDED = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
SCORES = [Score("p1", "e1", ENDED, 0.12345678), Score("p2", "e2", ENDED, 0.5)]


def gateway(answer: httpx.Response | None = None, *, refuses: str = "") -> httpx.Client:
    def handle(request: httpx.Request) -> httpx.Response:
        if answer is not None:
            return answer
        if refuses and refuses in request.content.decode():
            outcome = {"issue": [{"diagnostics": "not joined"}]}
            return httpx.Response(422, json=outcome)
        return httpx.Response(200, json={"resourceType": "Bundle"})

    return httpx.Client(transport=httpx.MockTransport(handle), base_url="http://gateway")


def test_every_resource_is_valid_r4() -> None:
    bundle = transaction(SCORES, "3", NOW)

    Bundle.model_validate(bundle)
    kinds = [entry["resource"]["resourceType"] for entry in bundle["entry"]]
    for entry in bundle["entry"]:
        kind = RiskAssessment if entry["resource"]["resourceType"] == "RiskAssessment" else None
        (kind or Provenance).model_validate(entry["resource"])
    assert kinds == ["RiskAssessment", "Provenance"] * 2


def test_an_assessment_says_what_its_model_is_worth() -> None:
    bundle = transaction(SCORES[:1], "3", NOW, "Too few returns to judge the model.")

    assessment = bundle["entry"][0]["resource"]
    RiskAssessment.model_validate(assessment)
    assert assessment["note"] == [{"text": "Too few returns to judge the model."}]


def test_an_assessment_says_who_when_how_likely_and_by_which_model() -> None:
    assessment, provenance = (
        entry["resource"] for entry in transaction(SCORES[:1], "3", NOW)["entry"]
    )

    assert assessment["status"] == "final"
    assert assessment["subject"] == {"reference": "Patient/p1"}
    assert assessment["encounter"]["identifier"]["value"] == "e1"
    assert assessment["occurrenceDateTime"] == "2026-11-22T08:30:00.000Z"
    assert assessment["method"]["coding"][0]["version"] == "3"
    prediction = assessment["prediction"][0]
    assert prediction["probabilityDecimal"] == 0.1235
    assert prediction["whenPeriod"] == {
        "start": "2026-11-01T12:00:00.000Z",
        "end": "2026-11-29T12:00:00.000Z",
    }
    assert provenance["target"] == [
        {"reference": f"urn:uuid:{assessment['id']}"},
        {"reference": "Patient/p1"},
    ]
    assert provenance["agent"][0]["who"]["identifier"]["value"] == "readmission-28d/3"
    assert provenance["entity"][0]["what"] == assessment["encounter"]


def test_scoring_again_puts_the_same_resources() -> None:
    first = transaction(SCORES, "3", NOW)
    later = transaction(SCORES, "4", datetime(2026, 12, 1, tzinfo=UTC))

    requests = [entry["request"] for entry in first["entry"]]
    assert requests == [entry["request"] for entry in later["entry"]]
    assert {request["method"] for request in requests} == {"PUT"}
    assert len({request["url"] for request in requests}) == 4


def test_each_patients_latest_stay_is_scored_once() -> None:
    views = gold.made_up(30)
    frame = features(views)
    model = pipeline().fit(frame[list(FEATURES)], frame["returned"].fillna(0))

    scores = score(model, views)

    assert len(scores) == len({scored.patient for scored in scores}) > 20
    assert all(0 <= scored.probability <= 1 for scored in scores)


def test_no_acute_stay_gives_no_score() -> None:
    views = gold.made_up(5)
    none = {**views, "encounter_flat": views["encounter_flat"].head(0)}

    assert score(pipeline(), none) == []


def test_the_transaction_goes_to_the_gateway_with_the_token() -> None:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    client = httpx.Client(transport=httpx.MockTransport(handle), base_url="http://gateway")

    assert send(client, "secret", transaction(SCORES, "3", NOW)) == 4

    assert str(seen[0].url) == "http://gateway/fhir"
    assert seen[0].headers["Authorization"] == "Bearer secret"
    assert json.loads(seen[0].content)["type"] == "transaction"


def test_one_refused_patient_does_not_keep_back_the_others() -> None:
    sent = send_all(gateway(refuses="Patient/p1"), "token", SCORES, "3", NOW)

    assert (sent.accepted, sent.refused) == (1, 1)
    assert sent.reason == "The gateway refused the risk assessments: 422, not joined"


def test_a_refusal_carries_the_gateways_reason() -> None:
    with pytest.raises(Unprocessable, match="422, not joined"):
        send(gateway(refuses="p1"), "token", transaction(SCORES, "3", NOW))


def test_a_broken_gateway_is_unavailable_not_a_refusal() -> None:
    with pytest.raises(Unavailable, match="503"):
        send_all(gateway(httpx.Response(503, text="down")), "token", SCORES, "3", NOW)
