"""NEWS2: the bands of the chart, what is missing, whom it is not for, and which round is taken."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_fhir.news2 import (
    CONSCIOUSNESS,
    CONSCIOUSNESS_SYSTEM,
    HIGH,
    LOW,
    LOW_MEDIUM,
    MEDIUM,
    OXYGEN,
    PARAMETERS,
    PULSE,
    RESPIRATION,
    SATURATION,
    SCALE_CODE,
    SCALE_SYSTEM,
    SYSTOLIC,
    TEMPERATURE,
    Signs,
    work_out,
)
from ehr_portal.record.news2_observations import (
    AGE_UNKNOWN,
    CHILD,
    PREGNANT,
    News2Assessment,
    assess_news2,
)

Resource = dict[str, Any]
NOW = datetime(2026, 11, 28, 8, 0, tzinfo=UTC)
WELL = Signs(16, 97, False, 120, 80, "A", 37.0)

# The chart, written out a second time: the lowest value of each band with its points.
CHART: dict[str, list[tuple[float, int]]] = {
    RESPIRATION: [(0, 3), (9, 1), (12, 0), (21, 2), (25, 3)],
    SATURATION: [(1, 3), (92, 2), (94, 1), (96, 0)],
    SYSTOLIC: [(30, 3), (91, 2), (101, 1), (111, 0), (220, 3)],
    PULSE: [(10, 3), (41, 1), (51, 0), (91, 1), (111, 2), (131, 3)],
    TEMPERATURE: [(20.0, 3), (35.1, 1), (36.1, 0), (38.1, 1), (39.1, 2)],
}
SCALE_2_ON_AIR: list[tuple[float, int]] = [(1, 3), (84, 2), (86, 1), (88, 0)]
SCALE_2_ON_OXYGEN = [*SCALE_2_ON_AIR, (93, 1), (95, 2), (97, 3)]


def by_chart(bands: list[tuple[float, int]], value: float) -> int:
    return [points for lowest, points in bands if value >= lowest][-1]


@pytest.mark.parametrize("parameter", CHART)
def test_every_value_has_the_points_of_the_chart(parameter: str) -> None:
    step = 0.1 if parameter == TEMPERATURE else 1
    lowest, highest = int(CHART[parameter][0][0] / step), int(310 / step)
    for number in range(lowest, min(highest, 450 if step == 0.1 else highest)):
        value = round(number * step, 1)
        score = work_out(replace(WELL, **{parameter: value}))  # type: ignore[arg-type]
        assert score.points[parameter] == by_chart(CHART[parameter], value), value


@pytest.mark.parametrize("oxygen", [True, False])
def test_scale_2_depends_on_oxygen(oxygen: bool) -> None:
    chart = SCALE_2_ON_OXYGEN if oxygen else SCALE_2_ON_AIR
    for value in range(1, 101):
        score = work_out(replace(WELL, saturation=value, oxygen=oxygen, uses_scale_2=True))
        assert score.points[SATURATION] == by_chart(chart, value), value
        assert score.points[OXYGEN] == 2 * oxygen


@pytest.mark.parametrize(
    ("signs", "points", "total", "risk"),
    [
        (Signs(18, 97, False, 120, 80, "A", 37.0), (0, 0, 0, 0, 0, 0, 0), 0, LOW),
        (Signs(22, 93, True, 105, 112, "A", 38.5), (2, 2, 2, 1, 2, 0, 1), 10, HIGH),
        (Signs(20, 95, True, 130, 95, "A", 36.5, True), (0, 2, 2, 0, 1, 0, 0), 5, MEDIUM),
        (Signs(20, 95, True, 130, 95, "A", 36.5), (0, 1, 2, 0, 1, 0, 0), 4, LOW),
        (Signs(16, 96, False, 90, 60, "A", 36.8), (0, 0, 0, 3, 0, 0, 0), 3, LOW_MEDIUM),
        (Signs(16, None, False, 120, 80, "C", 37.0), (0, None, 0, 0, 0, 3, 0), None, LOW_MEDIUM),
    ],
)
def test_the_worked_examples(
    signs: Signs, points: tuple[int | None, ...], total: int | None, risk: str
) -> None:
    score = work_out(signs)
    assert tuple(score.points[name] for name in PARAMETERS) == points
    assert (score.total, score.risk) == (total, risk)


def test_values_between_two_bands_are_rounded_halves_upward() -> None:
    for written, points in ((38.04, 0), (38.05, 1), (39.04, 1), (39.05, 2)):
        assert work_out(replace(WELL, temperature=written)).points[TEMPERATURE] == points
    assert work_out(replace(WELL, saturation=95.5)).points[SATURATION] == 0


ALL_SIGNS = st.builds(
    Signs,
    respiration=st.none() | st.integers(0, 60),
    saturation=st.none() | st.integers(50, 100),
    oxygen=st.none() | st.booleans(),
    systolic=st.none() | st.integers(40, 260),
    pulse=st.none() | st.integers(20, 200),
    consciousness=st.none() | st.sampled_from("ACVPU"),
    temperature=st.none() | st.floats(30, 42),
    uses_scale_2=st.booleans(),
)


@given(ALL_SIGNS)
def test_no_total_without_all_seven_and_never_a_lower_risk_when_more_is_known(signs: Signs) -> None:
    score = work_out(signs)
    missing = {f.name for f in fields(signs) if getattr(signs, f.name) is None}
    assert missing <= set(score.missing)
    # On scale 2 a high saturation has no points as long as nobody knows whether on oxygen.
    assert set(score.missing) - missing <= {SATURATION}
    assert (score.total is None) is bool(score.missing)
    assert 0 <= score.lower_bound <= 20
    filled = {name: getattr(WELL, name) for name in missing}
    whole = work_out(replace(signs, **filled))
    assert whole.total is not None and whole.total >= score.lower_bound
    order = [None, LOW, LOW_MEDIUM, MEDIUM, HIGH]
    assert order.index(whole.risk) >= order.index(score.risk)


def sign(code: str, value: Resource, at: str = "2026-11-28T14:00:00+08:00") -> Resource:
    """Return an Observation of one sign."""
    return {
        "resourceType": "Observation",
        "id": f"{code}-{at}",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "effectiveDateTime": at,
        **value,
    }


def number(value: float, unit: str) -> Resource:
    """Return a value with its UCUM unit."""
    return {"valueQuantity": {"value": value, "unit": unit, "code": unit}}


def a_round(at: str = "2026-11-28T14:00:00+08:00") -> list[Resource]:
    """Return the seven signs of example B."""
    pressure = {
        "component": [
            {
                "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
                **number(value, "mm[Hg]"),
            }
            for code, value in (("8480-6", 105), ("8462-4", 64))
        ]
    }
    alert = {"coding": [{"system": CONSCIOUSNESS_SYSTEM, "code": "A"}]}
    return [
        sign("9279-1", number(22, "/min"), at),
        sign("59408-5", number(93, "%"), at),
        sign("3151-8", number(2, "L/min"), at),
        sign("85354-9", pressure, at),
        sign("8867-4", number(112, "/min"), at),
        sign("67775-7", {"valueCodeableConcept": alert}, at),
        sign("8310-5", number(38.5, "Cel"), at),
    ]


def assess(observations: list[Resource], **more: Any) -> News2Assessment:
    """Return NEWS2 of an adult."""
    return assess_news2(observations, more.pop("birth_date", "1950-01-01"), NOW, **more)


def total(observations: list[Resource], **more: Any) -> int | None:
    """Return the total."""
    score = assess(observations, **more).score
    return score.total if score else None


def test_a_round_of_a_record_is_read() -> None:
    found = assess(a_round())
    assert found.score and found.measurements
    assert found.score.total == 10
    assert list(found.measurements) == list(PARAMETERS)
    assert found.at == "2026-11-28T14:00:00+08:00" and not found.is_old


@pytest.mark.parametrize("place", range(7))
def test_each_sign_that_is_missing_is_named(place: int) -> None:
    observations = a_round()
    del observations[place]
    score = assess(observations).score
    assert score and score.total is None
    assert score.missing == (PARAMETERS[place],)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, number(22, "mL")),
        (1, number(0.93, "g")),
        (1, {"valueQuantity": {"value": 90, "code": "%", "comparator": "<"}}),
        (1, number(930, "%")),
        (2, number(2, "mL")),
        (4, number(1120, "/min")),
        (5, {"valueCodeableConcept": {"text": "drowsy, see notes"}}),
        (6, number(101.3, "Cel")),
        (6, number(38.5, "[degF]")),
        (6, number(38.5, "")),
    ],
)
def test_a_value_that_cannot_be_used_is_missing_and_kept_to_be_shown(
    place: int, value: Resource
) -> None:
    observations = a_round()
    kept = {k: v for k, v in observations[place].items() if not k.startswith("value")}
    observations[place] = {**kept, **value}
    found = assess(observations)
    assert found.score and found.score.missing == (PARAMETERS[place],)
    assert found.measurements and found.measurements[PARAMETERS[place]].is_unusable


def test_what_is_older_than_the_round_is_not_carried_forward() -> None:
    for minutes, is_taken in ((29, True), (30, True), (31, False), (600, False)):
        at = (
            datetime.fromisoformat("2026-11-28T14:00:00+08:00") - timedelta(minutes=minutes)
        ).isoformat()
        observations = a_round()
        observations[1] = sign("59408-5", number(93, "%"), at)
        assert (total(observations) is not None) is is_taken, minutes


def test_the_newest_round_counts_and_an_old_one_is_told_as_old() -> None:
    better = [sign("9279-1", number(16, "/min"), "2026-11-28T15:00:00+08:00")]
    found = assess([*a_round(), *better])
    assert found.score and found.score.total is None and found.score.lower_bound == 0
    assert assess(a_round("2026-11-26T14:00:00+08:00")).is_old
    # Not yet measured: a clock is wrong.
    assert assess(a_round("2026-11-29T14:00:00+08:00")).score is None
    # A day without a time is no round.
    assert assess(a_round("2026-11-28")).score is None


@pytest.mark.parametrize("status", ["entered-in-error", "cancelled", "registered", "unknown"])
def test_what_does_not_count_is_not_counted(status: str) -> None:
    observations = a_round()
    observations[0] = {**observations[0], "status": status}
    score = assess(observations).score
    assert score and score.missing == (RESPIRATION,)


@pytest.mark.parametrize(
    ("birth_date", "reason"),
    [
        ("2010-11-29", CHILD),
        ("2010-11-28", ""),
        ("2010", CHILD),
        ("2009", ""),
        ("2010-11", ""),
        ("", AGE_UNKNOWN),
    ],
)
def test_it_is_for_people_of_sixteen_and_more(birth_date: str, reason: str) -> None:
    assert assess(a_round(), birth_date=birth_date).not_applicable == reason


def test_it_is_not_for_pregnancy() -> None:
    for system, code in (
        ("http://snomed.info/sct", "77386006"),
        ("http://hl7.org/fhir/sid/icd-10", "O24.4"),
    ):
        condition = {"code": {"coding": [{"system": system, "code": code}]}}
        assert assess(a_round(), conditions=[condition]).not_applicable == PREGNANT
    stated = {"coding": [{"system": "http://snomed.info/sct", "code": "77386006"}]}
    pregnant = sign("82810-3", {"valueCodeableConcept": stated}, "2026-06-01T10:00:00+08:00")
    not_any_more = sign(
        "82810-3", {"valueCodeableConcept": {"text": "no"}}, "2026-11-01T10:00:00+08:00"
    )
    assert assess([*a_round(), pregnant]).not_applicable == PREGNANT
    assert not assess([*a_round(), pregnant, not_any_more]).not_applicable
    long_ago = {**pregnant, "effectiveDateTime": "2024-06-01T10:00:00+08:00"}
    assert not assess([*a_round(), long_ago]).not_applicable


def decision(scale: str, at: str, performer: str = "Practitioner/dr-chan", **more: Any) -> Resource:
    """Return a clinician's decision on the scale of the saturation."""
    return {
        "resourceType": "Observation",
        "id": at,
        "status": "final",
        "code": {"coding": [{"system": SCALE_SYSTEM, "code": SCALE_CODE}]},
        "valueCodeableConcept": {"coding": [{"system": SCALE_SYSTEM, "code": scale}]},
        "effectiveDateTime": at,
        "performer": [{"reference": performer}],
        **more,
    }


def test_scale_2_only_on_the_recorded_decision_of_a_person() -> None:
    saturation = sign("59408-5", number(97, "%"))
    observations = [saturation if o["id"].startswith("59408") else o for o in a_round()]
    before, after = "2026-11-27T09:00:00+08:00", "2026-11-28T15:30:00+08:00"
    copd = {"code": {"coding": [{"system": "http://snomed.info/sct", "code": "13645005"}]}}
    # Example B with 97 %: 8 on scale 1, 11 on scale 2.
    assert total(observations, conditions=[copd]) == 8
    assert total([*observations, decision("2", before)]) == 11
    assert total([*observations, decision("2", after)]) == 8
    assert total([*observations, decision("2", before, "Device/monitor")]) == 8
    assert total([*observations, decision("2", before, status="entered-in-error")]) == 8
    back = decision("1", "2026-11-28T08:00:00+08:00")
    assert total([*observations, decision("2", before), back]) == 8


@given(st.permutations(range(7)))
def test_the_order_of_the_record_changes_nothing(places: list[int]) -> None:
    observations = a_round()
    assert total([observations[place] for place in places]) == 10
    assert CONSCIOUSNESS in PARAMETERS


def test_what_the_patient_measured_at_home_is_no_sign_of_a_round() -> None:
    own = {"reference": "Patient/p"}
    at_home = sign("8480-6", number(70, "mm[Hg]"), "2026-11-28T14:30:00+08:00")
    at_home |= {"subject": own, "performer": [own]}

    assert total([*a_round(), at_home]) == total(a_round())
    assert assess([at_home]).score is None
