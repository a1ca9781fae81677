"""Scores as FHIR, and how they are sent."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from importlib.resources import files

import httpx
import pandas as pd
import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.provenance import Provenance
from fhir.resources.R4B.riskassessment import RiskAssessment

from ehr_fhir.errors import Unavailable, Unprocessable
from ehr_models.evaluate import BETTER_THAN_BASELINE, NOT_BETTER, TOO_FEW_OUTCOMES
from ehr_models.frames.duckdb_frame import build_frame
from ehr_models.learners.portable import PortableModel
from ehr_models.learners.tuning import Rows, fit_learners
from ehr_models.registry import get_task
from ehr_models.risk_assessments import ScoringRun, build_transaction
from ehr_models.score import Prediction, find_reference_instant, predict_current
from ehr_models.task_file import parse_declaration, read_document
from ehr_models.write_back import send_predictions, send_transaction
from ehr_portal.record.risk_scores import is_better_than_baseline
from tests.lib import gold
from tests.lib.fhir_people import build_views, draw_person

TASK = get_task("readmission-28d")
NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
ENDED = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
RUN = ScoringRun(TASK, "3", NOW)
PREDICTIONS = [
    Prediction("p1", "e1", ENDED, 0.12345678),
    Prediction("p2", "e2", ENDED, 0.5),
]


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
    bundle = build_transaction(RUN, PREDICTIONS)

    Bundle.model_validate(bundle)
    kinds = [entry["resource"]["resourceType"] for entry in bundle["entry"]]
    for entry in bundle["entry"]:
        kind = RiskAssessment if entry["resource"]["resourceType"] == "RiskAssessment" else None
        (kind or Provenance).model_validate(entry["resource"])
    assert kinds == ["RiskAssessment", "Provenance"] * 2


def test_an_assessment_carries_its_models_grade_where_the_portal_reads_it() -> None:
    bundle = build_transaction(replace(RUN, grade=BETTER_THAN_BASELINE), PREDICTIONS[:1])

    assert is_better_than_baseline(bundle["entry"][0]["resource"])
    RiskAssessment.model_validate(bundle["entry"][0]["resource"])
    for grade in ("", NOT_BETTER, TOO_FEW_OUTCOMES):
        bundle = build_transaction(replace(RUN, grade=grade), PREDICTIONS[:1])
        assert not is_better_than_baseline(bundle["entry"][0]["resource"])


def test_an_assessment_says_what_its_model_is_worth() -> None:
    run = replace(RUN, note="Too few returns to judge the model.")
    bundle = build_transaction(run, PREDICTIONS[:1])

    assessment = bundle["entry"][0]["resource"]
    RiskAssessment.model_validate(assessment)
    assert assessment["note"] == [{"text": "Too few returns to judge the model."}]


def test_an_assessment_says_who_when_how_likely_and_by_which_model() -> None:
    assessment, provenance = (
        entry["resource"] for entry in build_transaction(RUN, PREDICTIONS[:1])["entry"]
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
    first = build_transaction(RUN, PREDICTIONS)
    later = build_transaction(ScoringRun(TASK, "4", datetime(2026, 12, 1, tzinfo=UTC)), PREDICTIONS)

    requests = [entry["request"] for entry in first["entry"]]
    assert requests == [entry["request"] for entry in later["entry"]]
    assert {request["method"] for request in requests} == {"PUT"}
    assert len({request["url"] for request in requests}) == 4


def learn(views: gold.Views) -> PortableModel:
    frame = TASK.build_frame(views)
    return fit_learners(["logistic"], Rows.of_frame(frame))["logistic"]


def test_each_patients_latest_stay_is_scored_once() -> None:
    views = gold.end_last_stays(gold.made_up(30), ENDED)

    scores = predict_current(TASK, learn(views), views, NOW).current

    assert len(scores) == len({scored.patient for scored in scores}) > 20
    assert all(0 <= scored.probability <= 1 for scored in scores)
    assert {scored.predicted_at for scored in scores} == {ENDED}


@pytest.mark.parametrize(
    ("as_of", "is_scored"),
    [
        (ENDED - timedelta(seconds=1), False),
        (ENDED, True),
        (ENDED + timedelta(days=28), True),
        (ENDED + timedelta(days=28, seconds=1), False),
    ],
)
def test_a_stay_is_scored_from_its_end_until_its_28_days_are_over(
    as_of: datetime, is_scored: bool
) -> None:
    views = gold.end_last_stays(gold.made_up(30), ENDED)

    found = predict_current(TASK, learn(views), views, as_of)

    about_the_last = [scored for scored in found.current if scored.predicted_at == ENDED]
    assert bool(about_the_last) is is_scored
    if as_of > ENDED:
        people = TASK.build_frame(views).rows["patient_id"].nunique()
        assert len(found.current) + found.outside_window == people


def test_as_of_a_day_nothing_that_ended_later_is_known() -> None:
    """What is scored is what was scored on that day, with the data of that day."""
    views = gold.made_up(200)
    model = learn(views)
    # The end of a day in Hong Kong: by the day it is known who is in care.
    as_of = datetime(2021, 3, 1, 16, tzinfo=UTC)
    encounters = views["encounter_flat"]
    known = encounters[pd.to_datetime(encounters["start"], utc=True) <= as_of]
    known = known.assign(end=known["end"].where(pd.to_datetime(known["end"], utc=True) <= as_of))

    then = predict_current(TASK, model, {**views, "encounter_flat": known}, as_of).current

    assert predict_current(TASK, model, views, as_of).current == then != ()


def test_who_is_in_care_again_is_not_scored_for_the_stay_before() -> None:
    views = gold.end_last_stays(gold.made_up(30), ENDED)
    model = learn(views)
    person = predict_current(TASK, model, views, NOW).current[0].patient
    encounters = views["encounter_flat"]
    again = encounters[encounters["patient_id"] == person].iloc[[0]]
    again = again.assign(id="again", start="2026-11-20", end=None, status="in-progress")
    again["class"] = "EMER"
    back = {**views, "encounter_flat": pd.concat([encounters, again])}

    found = predict_current(TASK, model, back, NOW)

    assert person not in {scored.patient for scored in found.current} and found.in_care == 1
    # The day before nobody knew.
    before = predict_current(TASK, model, back, datetime(2026, 11, 19, tzinfo=UTC))
    assert person in {scored.patient for scored in before.current} and before.in_care == 0


def test_a_day_to_come_is_no_day_to_score_as_of() -> None:
    assert find_reference_instant(date(2026, 11, 21), NOW) == datetime(2026, 11, 21, 16, tzinfo=UTC)
    # In Hong Kong it is the 22nd since 16:00.
    assert find_reference_instant(date(2026, 11, 22), NOW) == NOW
    with pytest.raises(Unprocessable, match="2026-11-23"):
        find_reference_instant(date(2026, 11, 23), NOW)


def test_an_assessment_as_of_the_past_says_so() -> None:
    run = replace(RUN, note="Few returns.", as_of=date(2025, 9, 10))

    assessment = build_transaction(run, PREDICTIONS[:1])["entry"][0]["resource"]

    RiskAssessment.model_validate(assessment)
    assert [note["text"] for note in assessment["note"]] == [
        "Few returns.",
        "Scored as of 2025-09-10, a day of the past: it says nothing of today.",
    ]
    assert assessment["occurrenceDateTime"] == "2026-11-22T08:30:00.000Z"


def test_no_acute_stay_gives_no_score() -> None:
    views = gold.made_up(5)
    none = {**views, "encounter_flat": views["encounter_flat"].head(0)}

    assert predict_current(TASK, learn(views), none, NOW).current == ()


def test_the_transaction_goes_to_the_gateway_with_the_token() -> None:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    client = httpx.Client(transport=httpx.MockTransport(handle), base_url="http://gateway")

    assert send_transaction(client, "secret", build_transaction(RUN, PREDICTIONS)) == 4

    assert str(seen[0].url) == "http://gateway/fhir"
    assert seen[0].headers["Authorization"] == "Bearer secret"
    assert json.loads(seen[0].content)["type"] == "transaction"


def test_one_refused_patient_does_not_keep_back_the_others() -> None:
    sent = send_predictions(gateway(refuses="Patient/p1"), "token", RUN, PREDICTIONS)

    assert (sent.accepted, sent.refused) == (1, 1)
    assert sent.reason == "The gateway refused the risk assessments: 422, not joined"


def test_a_refusal_carries_the_gateways_reason() -> None:
    with pytest.raises(Unprocessable, match="422, not joined"):
        send_transaction(gateway(refuses="p1"), "token", build_transaction(RUN, PREDICTIONS))


def test_a_broken_gateway_is_unavailable_not_a_refusal() -> None:
    with pytest.raises(Unavailable, match="503"):
        send_predictions(gateway(httpx.Response(503, text="down")), "token", RUN, PREDICTIONS)


def test_nothing_is_predicted_for_the_dead() -> None:
    views = gold.end_last_stays(gold.made_up(60), ENDED)
    model = learn(views)
    living = {scored.patient for scored in predict_current(TASK, model, views, NOW).current}
    people = views["patient_demographics"].copy()
    people["deceased"] = people["id"] == min(living)

    again = predict_current(TASK, model, {**views, "patient_demographics": people}, NOW)

    assert {scored.patient for scored in again.current} == living - {min(living)}
    assert again.not_living == 1


def test_whoever_no_patient_tells_of_is_not_scored() -> None:
    views = gold.end_last_stays(gold.made_up(60), ENDED)
    model = learn(views)
    people = views["patient_demographics"]
    living = {scored.patient for scored in predict_current(TASK, model, views, NOW).current}

    without = {**views, "patient_demographics": people[people["id"] != min(living)]}

    again = predict_current(TASK, model, without, NOW)
    assert {scored.patient for scored in again.current} == living - {min(living)}


def test_rows_of_before_are_not_worked_out_and_change_no_score() -> None:
    """Scoring leaves them out; with all rows the same people get the same figures."""
    declared = parse_declaration(read_document(files("ehr_models") / "tasks/readmission"))
    declared = replace(declared, codes=tuple(replace(g, at_least=2) for g in declared.codes))
    people = [resource for number in range(60) for resource in draw_person(number)]
    for patient in [one for one in people if one["resourceType"] == "Patient"][::7]:
        patient["deceasedBoolean"] = True
    views = build_views(declared, people)
    whole = build_frame(declared, views)
    model = fit_learners(["logistic"], Rows.of_frame(whole))["logistic"]
    frames = partial(build_frame, declared)
    everything = replace(TASK, build_frame=frames, build_recent_frame=None)
    recent = replace(everything, build_recent_frame=frames)

    for days in (150, 400, 880, 1000):
        as_of = datetime(2023, 1, 1, 5, tzinfo=UTC) + timedelta(days=days)
        found = predict_current(recent, model, views, as_of, whole.codes)

        assert found == predict_current(everything, model, views, as_of, whole.codes)
        assert found.outside_window > 5 and found.not_living > 1
        assert found.current or days == 1000
