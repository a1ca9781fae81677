"""What an insider who has the whole copy learns of the shifts: no more than chance, or as told."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from math import exp, prod

import pytest

from ehr_privacy.deid import Deidentifier, load_rules
from ehr_privacy.deid.pseudonyms import episode_shift_days, shift_days
from tests.lib.insider import (
    HOLIDAYS,
    LAST,
    OPENED,
    VACCINE_SINCE,
    WAVE,
    Attack,
    Insider,
    Likelihood,
    Record,
    dates_of,
    deidentify,
    make_population,
    measure,
    visit_days,
)

KEY = b"k" * 32
DEIDENTIFIER = Deidentifier(load_rules(), KEY)
CHANCE = 1 / 52
PEOPLE = 120


@cache
def insider(visits: int) -> Insider:
    population = make_population(PEOPLE, visits)
    weeks = {name: -shift_days(KEY, name) // 7 for name in population}
    return deidentify(DEIDENTIFIER, population, weeks)


FEW, MANY = 10, 80


def knows_runs(records: list[Record]) -> Likelihood:
    """The insider knows when the risk model ran, and when the laboratory's batch did."""
    days = dates_of(records, "RiskAssessment")
    return lambda weeks: float(all(day + timedelta(weeks=weeks) == LAST for day in days))


def knows_weekdays(records: list[Record]) -> Likelihood:
    """The insider knows that clinics are closed at weekends."""
    days = visit_days(records)
    return lambda weeks: float(all((day + timedelta(weeks=weeks)).weekday() < 5 for day in days))


def knows_vaccine(records: list[Record]) -> Likelihood:
    """The insider knows a vaccine's first day, and how uptake went on."""
    days = dates_of(records, "Immunization")

    def likelihood(weeks: int) -> float:
        since = [(day + timedelta(weeks=weeks) - VACCINE_SINCE).days for day in days]
        return prod(float(number >= 0) * exp(-number / 60) for number in since)

    return likelihood


def knows_epidemic(records: list[Record]) -> Likelihood:
    """The insider knows in which weeks the cases of an epidemic were."""
    days = dates_of(records, "Condition")

    def likelihood(weeks: int) -> float:
        true = [day + timedelta(weeks=weeks) for day in days]
        return prod(float(WAVE.get(day - timedelta(days=day.weekday()), 0)) for day in true)

    return likelihood


def knows_opening(records: list[Record]) -> Likelihood:
    """The insider knows when a hospital opened, and which pseudonym it has."""
    hospital = DEIDENTIFIER.scrub({"resourceType": "Organization", "id": "new"})
    assert hospital is not None
    days = visit_days(records, f"Organization/{hospital['id']}")
    return lambda weeks: float(all(day + timedelta(weeks=weeks) >= OPENED for day in days))


def knows_holidays(records: list[Record]) -> Likelihood:
    """The insider knows that clinics are closed on public holidays."""
    days = visit_days(records)
    return lambda weeks: float(all(day + timedelta(weeks=weeks) not in HOLIDAYS for day in days))


def knows_extract(records: list[Record]) -> Likelihood:
    """The insider knows when the copy was made."""
    days = visit_days(records)
    return lambda weeks: float(all(day + timedelta(weeks=weeks) <= LAST for day in days))


@pytest.mark.parametrize("attack", [knows_runs, knows_weekdays, knows_vaccine, knows_epidemic])
@pytest.mark.parametrize("visits", [FEW, MANY])
def test_what_is_known_of_all_gives_chance(visits: int, attack: Attack) -> None:
    assert measure(insider(visits), attack) == pytest.approx(CHANCE)


def test_a_new_hospital_gives_little_more_than_chance() -> None:
    assert measure(insider(FEW), knows_opening) < 1.25 * CHANCE
    assert measure(insider(MANY), knows_opening) < 1.25 * CHANCE


def test_the_figures_of_the_documentation_hold() -> None:
    """A constant shift of days shows holidays and the end of the data in a dense record."""
    assert 1.2 * CHANCE < measure(insider(FEW), knows_holidays) < 3 * CHANCE
    assert 0.5 < measure(insider(MANY), knows_holidays) < 0.9
    assert measure(insider(FEW), knows_extract) < 2.5 * CHANCE


def test_one_true_date_gives_a_person_away_under_one_shift_alone() -> None:
    """Who knows one dated event of a person, and finds it, knows all of that person's dates."""
    population = make_population(20, 10)
    for name, records in population.items():
        true = {
            record["id"]: date.fromisoformat(record["period"]["start"][:10])
            for record in records
            if record["resourceType"] == "Encounter"
        }
        copy = {
            form: [
                date.fromisoformat(kept["period"]["start"])
                for record in records
                if record["resourceType"] == "Encounter"
                and (kept := Deidentifier(load_rules(), KEY, form).scrub(record)) is not None
            ]
            for form in ("shift", "episode")
        }
        shifts = {
            form: {(day - shown).days for day, shown in zip(true.values(), days, strict=True)}
            for form, days in copy.items()
        }
        assert shifts["shift"] == {-shift_days(KEY, name)}
        assert len(shifts["episode"]) > 5


def knows_holidays_and_extract(records: list[Record]) -> Likelihood:
    """The insider knows the public holidays, and when the copy was made."""
    holidays, extract = knows_holidays(records), knows_extract(records)
    return lambda weeks: holidays(weeks) * extract(weeks)


@pytest.mark.parametrize(("visits", "people"), [(FEW, 100), (MANY, 30)])
def test_shifts_per_episode_leave_near_chance_however_dense_a_record_is(
    visits: int, people: int
) -> None:
    """An episode tells of its own days alone, so more visits of a person tell no more."""
    scrubber = Deidentifier(load_rules(), KEY, "episode")
    episodes = {
        record["id"]: [record]
        for records in make_population(people, visits).values()
        for record in records
        if record["resourceType"] == "Encounter"
    }
    weeks = {
        name: -episode_shift_days(KEY, name.partition("-")[0], f"Encounter/{name}") // 7
        for name in episodes
    }

    assert measure(deidentify(scrubber, episodes, weeks), knows_holidays_and_extract) < 1.2 * CHANCE


def test_a_record_moves_with_its_encounter() -> None:
    scrubber = Deidentifier(load_rules(), KEY, "episode")
    stay, other = (
        {
            "resourceType": "Encounter",
            "id": name,
            "status": "finished",
            "subject": {"reference": "Patient/p"},
            "period": {"start": "2020-03-02", "end": "2020-03-05"},
        }
        for name in ("e1", "e2")
    )
    result = {
        "resourceType": "Observation",
        "id": "o",
        "status": "final",
        "subject": {"reference": "Patient/p"},
        "encounter": {"reference": "Encounter/e1"},
        "effectiveDateTime": "2020-03-02T08:00:00+08:00",
    }
    kept, beside, of_stay = (scrubber.scrub(record) for record in (stay, other, result))

    assert kept is not None and beside is not None and of_stay is not None
    assert of_stay["effectiveDateTime"] == kept["period"]["start"]
    assert kept["period"]["start"] != beside["period"]["start"]


def test_months_and_quarters_have_no_shift_to_be_found() -> None:
    record = {
        "resourceType": "Observation",
        "id": "o",
        "status": "final",
        "subject": {"reference": "Patient/p"},
        "effectiveDateTime": "2020-05-17T08:00:00+08:00",
    }
    forms = {"month": "2020-05", "quarter": "2020-04"}
    for form, shown in forms.items():
        kept = Deidentifier(load_rules(), KEY, form).scrub(record)  # type: ignore[arg-type]
        assert kept is not None and kept["effectiveDateTime"] == shown


def test_no_instant_is_shared_by_five_patients() -> None:
    """A program's instant would be the same, but for whole weeks, in the records of many."""
    shared: dict[tuple[str, str, str], set[str]] = {}
    for name, records in insider(FEW).records.items():
        for record in records:
            for path, text in instants(record, record["resourceType"]):
                shared.setdefault(
                    (path, text[10:], str(date.fromisoformat(text[:10]).weekday())), set()
                ).add(name)

    assert [place for place, people in shared.items() if len(people) >= 5] == []


def instants(value: object, path: str) -> list[tuple[str, str]]:
    """Return the path and text of every instant of a record: a date with a time of day."""
    if isinstance(value, dict):
        return [
            found for name, inner in value.items() for found in instants(inner, f"{path}.{name}")
        ]
    if isinstance(value, list):
        return [found for inner in value for found in instants(inner, path)]
    is_instant = isinstance(value, str) and value[4:5] == "-" and value[10:11] == "T"
    return [(path, str(value))] if is_instant else []
