"""What a model knows is what was known then, and the same for one person as for all."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

from ehr_models.frames.declaration import FrameDeclaration
from ehr_models.frames.duckdb_frame import build_frame
from ehr_models.frames.person import PersonFrame
from ehr_models.registry import get_task
from ehr_models.risk_assessments import ScoringRun, build_transaction
from ehr_models.score import Prediction
from ehr_models.task import BEGUN_AGAIN, INCOMPLETE, PATIENT, PREDICTED_AT, Frame
from ehr_models.task_file import parse_declaration, read_document
from tests.lib.fhir_people import Resource, build_views, draw_encounter, draw_person, draw_record

PEOPLE = 150
# Long after all that is drawn.
LATER = datetime(2030, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def declaration() -> FrameDeclaration:
    """Return the task's frame with codes of few people, so that there are many features."""
    declared = parse_declaration(read_document(files("ehr_models") / "tasks/readmission"))
    return replace(declared, codes=tuple(replace(g, at_least=2) for g in declared.codes))


@pytest.fixture(scope="module")
def people() -> dict[str, list[Resource]]:
    return {f"person-{number}": draw_person(number) for number in range(PEOPLE)}


@pytest.fixture(scope="module")
def frame(declaration: FrameDeclaration, people: dict[str, list[Resource]]) -> Frame:
    resources = [resource for own in people.values() for resource in own]
    return build_frame(declaration, build_views(declaration, resources))


def test_serving_gives_the_features_of_training(
    declaration: FrameDeclaration, people: dict[str, list[Resource]], frame: Frame
) -> None:
    """Of every stay, with all that was recorded since among what serving is given."""
    one_by_one = PersonFrame(declaration, frame.codes)
    compared = 0

    for row in frame.rows.to_dict("records"):
        at = row[PREDICTED_AT].to_pydatetime() + timedelta(minutes=1)
        found = one_by_one.find_current(people[row[PATIENT]], at)
        if found is None:
            # In care again on the day itself.
            assert row[BEGUN_AGAIN] <= pd.Timestamp((at + timedelta(hours=8)).date())
            continue
        compared += 1
        expected = np.array([row[name] for name in frame.feature_names])
        np.testing.assert_array_equal(found.features, expected, strict=True)
        assert (found.encounter, found.ended) == (row["encounter_id"], row[PREDICTED_AT])
        assert "".join(f"{reason}. " for reason in found.incomplete).strip() == row[INCOMPLETE]

    assert compared > PEOPLE and len(frame.features) > 30
    assert (frame.rows[frame.feature_names].std() > 0).mean() > 0.9


def test_values_from_the_future_change_nothing(
    declaration: FrameDeclaration, people: dict[str, list[Resource]], frame: Frame
) -> None:
    """Rows of every table are planted after each person's first stay: its features stay."""
    first = frame.rows.groupby(PATIENT).head(1)
    planted = []
    for person, ended in zip(first[PATIENT], first[PREDICTED_AT], strict=True):
        chance = random.Random(person)
        for number in range(12):
            when = ended.to_pydatetime() + timedelta(days=chance.choice((2, 3, 10, 400)))
            planted.append(draw_record(chance, f"{person}-planted{number}", person, when))
            stay = draw_encounter(chance, f"{person}-later{number}", person, when)
            planted.append({**stay, "status": "finished"})
    assert {one["resourceType"] for one in planted} == {
        "Condition", "Encounter", "MedicationRequest", "Observation", "Procedure",
    }  # fmt: skip
    # Dates in full: a year alone says less than when it was planted.
    planted = [one for one in planted if len(one.get("onsetDateTime", "2024-01-01")) >= 10]

    everything = [*(one for own in people.values() for one in own), *planted]
    views = build_views(declaration, everything)
    again = build_frame(declaration, views, frame.codes).rows.groupby(PATIENT).head(1)

    pd.testing.assert_frame_equal(
        first[frame.feature_names].reset_index(drop=True),
        again[frame.feature_names].reset_index(drop=True),
    )
    one_by_one = PersonFrame(declaration, frame.codes)
    for row in first.head(30).to_dict("records"):
        person, at = row[PATIENT], row[PREDICTED_AT].to_pydatetime() + timedelta(minutes=1)
        own = [one for one in planted if one["subject"]["reference"] == f"Patient/{person}"]
        then = one_by_one.find_current(people[person], at)
        now = one_by_one.find_current([*people[person], *own], at)
        assert (then is None) == (now is None)
        if then is not None and now is not None:
            np.testing.assert_array_equal(then.features, now.features)


def test_the_order_of_the_records_changes_nothing(
    declaration: FrameDeclaration, people: dict[str, list[Resource]], frame: Frame
) -> None:
    resources = [resource for own in people.values() for resource in own]
    random.Random(7).shuffle(resources)

    again = build_frame(declaration, build_views(declaration, resources))

    pd.testing.assert_frame_equal(frame.rows, again.rows)


def test_who_is_in_care_has_nothing_to_predict(declaration: FrameDeclaration) -> None:
    patient = draw_person(0)[0]
    subject = {"reference": f"Patient/{patient['id']}"}

    def stay(key: str, start: str, end: str | None) -> Resource:
        period = {"start": start} if end is None else {"start": start, "end": end}
        return {
            "resourceType": "Encounter", "id": key, "status": "finished", "subject": subject,
            "class": {"code": "IMP"}, "period": period,
        }  # fmt: skip

    left = stay("a", "2024-01-01T10:00:00+08:00", "2024-01-05T10:00:00+08:00")
    back = stay("b", "2024-01-09T10:00:00+08:00", None)
    one_by_one = PersonFrame(declaration, {})

    def find(day: int, *resources: Resource) -> str | None:
        at = datetime(2024, 1, day, 12, tzinfo=UTC)
        found = one_by_one.find_current([patient, *resources], at)
        return None if found is None else found.encounter

    assert [find(day, left, back) for day in (4, 5, 8, 9, 20)] == [None, "a", "a", None, None]
    assert find(20, left) == "a"
    assert find(20) is None and one_by_one.find_current([left], LATER) is None
    rows = build_frame(declaration, build_views(declaration, [patient, left, back])).rows
    assert rows[BEGUN_AGAIN].tolist() == [pd.Timestamp("2024-01-09")]


def test_what_cannot_be_true_is_left_out_and_said(declaration: FrameDeclaration) -> None:
    patient = draw_person(0)[0]
    del patient["birthDate"]
    subject = {"reference": f"Patient/{patient['id']}"}

    def test(key: str, day: int, code: str, value: float, unit: str | None) -> Resource:
        quantity = {"value": value, "unit": unit} | ({"code": unit} if unit else {})
        return {
            "resourceType": "Observation", "id": key, "status": "final", "subject": subject,
            "category": [{"coding": [{"code": "laboratory"}]}],
            "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
            "effectiveDateTime": f"2024-01-0{day}", "valueQuantity": quantity,
        }  # fmt: skip

    stay = {
        "resourceType": "Encounter", "id": "a", "status": "finished", "subject": subject,
        "class": {"code": "IMP"}, "period": {"start": "2024-01-01", "end": "2024-01-05"},
    }  # fmt: skip
    resources = [
        patient,
        stay,
        {"resourceType": "Condition", "id": "c", "subject": subject, "onsetDateTime": "2024-01-02"},
        # A slip, older than the value that is taken; then one that is newer than what is taken.
        test("n1", 2, "2951-2", 1400, "mmol/L"), test("n2", 3, "2951-2", 131, "mmol/L"),
        test("h1", 2, "718-7", 9.5, "g/dL"), test("h2", 4, "718-7", 950, "g/dL"),
        test("k1", 2, "2160-0", 1.2, "mg/dL"), test("k2", 3, "2160-0", 80, "U/L"),
    ]  # fmt: skip

    row = build_frame(declaration, build_views(declaration, resources)).rows.iloc[0]
    found = PersonFrame(declaration, {}).find_current(resources, LATER)

    assert row[["sodium", "haemoglobin", "creatinine"]].tolist() == [131, 9.5, 1.2]
    assert found is not None and found.incomplete == (
        "Age is not known",
        "Haemoglobin: the latest value cannot be true and was left out",
        "Creatinine: the latest value is in no unit that could be converted and was left out",
        "Diagnosis: records without a code: 1",
    )
    assert row[INCOMPLETE] == "".join(f"{reason}. " for reason in found.incomplete).strip()
    scored = Prediction(patient["id"], "a", LATER, 0.25, row[INCOMPLETE])
    bundle = build_transaction(ScoringRun(get_task("readmission-28d"), "1", LATER), [scored])
    (note,) = bundle["entry"][0]["resource"]["note"]
    assert note["text"].startswith("Made from incomplete data. Age is not known. Haemoglobin")
