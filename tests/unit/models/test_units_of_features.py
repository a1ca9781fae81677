"""Each measured feature of each task in each unit: converted, or left out with a reason."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.resources import files

import pytest

from ehr_fhir import news2
from ehr_models.frames.duckdb_frame import build_frame
from ehr_models.frames.measurements import Measurement
from ehr_models.frames.person import PersonFrame
from ehr_models.task import INCOMPLETE, PATIENT
from ehr_models.task_file import parse_declaration, read_document
from ehr_models.ward.tables import list_results, read_result
from tests.lib.fhir_people import Resource, build_views

LATER = datetime(2024, 2, 1, tzinfo=UTC)
# A second time, by hand: how many of the unit on the right one of the left is. What is not here
# does not become the other.
CONVERSIONS: dict[tuple[str, str], float] = {
    ("g/L", "g/dL"): 0.1, ("mg/dL", "g/dL"): 0.001, ("mg/L", "g/dL"): 0.0001,
    ("kg/L", "g/dL"): 100, ("g/dL", "mg/dL"): 1000, ("g/L", "mg/dL"): 100, ("mg/L", "mg/dL"): 0.1,
    ("kg/L", "mg/dL"): 1e5, ("mmol/L", "mol/L"): 0.001, ("mol/L", "mmol/L"): 1000,
    ("umol/L", "mmol/L"): 0.001, ("mmol/L", "umol/L"): 1000, ("mol/L", "umol/L"): 1e6,
    ("mg/dL", "mg/L"): 10, ("g/L", "mg/L"): 1000, ("g/dL", "mg/L"): 10_000, ("kg/L", "mg/L"): 1e6,
    ("g/dL", "g/L"): 10, ("mg/dL", "g/L"): 0.01, ("mg/L", "g/L"): 0.001, ("kg/L", "g/L"): 1000,
    ("10*3/uL", "10*9/L"): 1, ("10*6/L", "10*9/L"): 0.001, ("/uL", "10*9/L"): 0.001,
    ("kPa", "mm[Hg]"): 7.50064, ("/s", "/min"): 60, ("/h", "/min"): 1 / 60, ("1", "%"): 100,
    ("mL/min", "L/min"): 0.001,
}  # fmt: skip
# Grams of a mole: of creatinine, and of the nitrogen of urea.
CREATININE, UREA = 113.12, 28.014
UNITS = sorted(
    {unit for pair in CONVERSIONS for unit in pair}
    | {"[degF]", "Cel", "K", "kg", "[lb_av]", "g", "mmol", "meq/L", "nonsense", "%", "{beats}/min"}
)


def convert(number: float, unit: str, target: str, molar_mass: float | None) -> float | None:
    """Return what a number should become, by hand."""
    if unit == target or (unit, target) == ("{beats}/min", "/min"):
        return number
    if (unit, target) == ("[degF]", "Cel"):
        return (number - 32) * 5 / 9
    if (unit, target) == ("K", "Cel"):
        return number - 273.15
    if (unit, target) in CONVERSIONS:
        return number * CONVERSIONS[unit, target]
    if molar_mass is not None:
        grams_per_litre = {"g/L": 1, "mg/dL": 0.01, "mg/L": 0.001, "g/dL": 10, "kg/L": 1000}
        moles_per_litre = {"mol/L": 1, "mmol/L": 0.001, "umol/L": 1e-6}
        if unit in moles_per_litre and target in grams_per_litre:
            return number * moles_per_litre[unit] * molar_mass / grams_per_litre[target]
        if unit in grams_per_litre and target in moles_per_litre:
            return number * grams_per_litre[unit] / molar_mass / moles_per_litre[target]
    return None


def list_numbers(unit: str, target: str, low: float, high: float) -> Iterator[float]:
    """Yield a number that is well within the limits, however the unit is read, and one beyond."""
    yield (low + high) / 2
    yield high * 1.5 + 1
    for molar_mass in (None, CREATININE, UREA):
        factor = convert(1, unit, target, molar_mass)
        if factor and (unit, target) not in (("[degF]", "Cel"), ("K", "Cel")):
            yield (low + high) / 2 / factor
    if target == "Cel":
        yield from (98.6, 101.3, 310.15)


@pytest.mark.parametrize("name", list_results())
def test_a_laboratory_value_of_the_ward_is_converted_or_told(name: str) -> None:
    row = list_results()[name]
    low, high = row["limits"]
    molar_mass = {"creatinine": CREATININE, "urea": UREA}.get(name)
    taken = 0
    for unit in UNITS:
        for number in list_numbers(unit, row["unit"], low, high):
            expected = convert(number, unit, row["unit"], molar_mass)
            read = read_result(name, number, unit)
            if expected is None:
                assert read == news2.Reading(None, news2.WRONG_UNIT), unit
            elif not low <= expected <= high:
                assert read == news2.Reading(None, news2.IMPOSSIBLE), unit
            else:
                taken += 1
                assert read.value == pytest.approx(expected, rel=1e-5) and not read.reason
    assert taken > 2


SIGNS = {
    news2.RESPIRATION: ("/min", 0, 100), news2.SATURATION: ("%", 1, 100),
    news2.SYSTOLIC: ("mm[Hg]", 30, 300), news2.PULSE: ("/min", 10, 350),
    news2.TEMPERATURE: ("Cel", 20, 45),
}  # fmt: skip


@pytest.mark.parametrize("name", SIGNS)
def test_a_sign_is_converted_or_told(name: str) -> None:
    target, low, high = SIGNS[name]
    for unit in UNITS:
        for number in list_numbers(unit, target, low, high):
            expected = convert(number, unit, target, None)
            read = news2.read_quantity(name, number, unit)
            if expected is None:
                assert read == news2.Reading(None, news2.WRONG_UNIT), unit
            elif not low <= expected <= high:
                assert read == news2.Reading(None, news2.IMPOSSIBLE), unit
            else:
                assert read.value == pytest.approx(expected, rel=1e-5) and not read.reason


def test_a_temperature_in_fahrenheit_lies_in_the_band_of_the_chart() -> None:
    """Worked out exactly: no digit of a float puts it into the next band."""
    for written, points in (
        (96.8, 1),
        (96.98, 0),
        (100.4, 0),
        (100.49, 1),
        (102.2, 1),
        (102.29, 2),
    ):
        for unit in ("[degF]", "°F", "degF"):
            value = news2.read_quantity(news2.TEMPERATURE, written, unit).value
            assert news2.find_points(news2.TEMPERATURE, value) == points, written


DECLARATION = parse_declaration(read_document(files("ehr_models") / "tasks/readmission"))
# The limits of the data quality rules, in the unit of the feature.
LIMITS = {"haemoglobin": (0.7, 30), "sodium": (80, 220), "creatinine": (0, 60)}


def test_a_measured_feature_is_converted_or_told_by_both_engines() -> None:
    """One person for each feature, unit and number: a table of all, and one after the other."""
    cases = {
        f"{one.feature.name}-{number}": (one, unit, value)
        for one in DECLARATION.measurements
        for number, (unit, value) in enumerate(
            (unit, value)
            for unit in UNITS
            for value in list_numbers(unit, one.feature.unit, *LIMITS[one.feature.name])
        )
    }
    people = {
        person: draw(person, one, unit, value) for person, (one, unit, value) in cases.items()
    }
    resources = [resource for own in people.values() for resource in own]
    rows = build_frame(DECLARATION, build_views(DECLARATION, resources)).rows.set_index(PATIENT)
    one_by_one = PersonFrame(DECLARATION, {})
    names = [feature.name for feature in DECLARATION.own_features]
    taken = 0

    for person, (one, unit, value) in cases.items():
        name, (low, high) = one.feature.name, LIMITS[one.feature.name]
        expected = convert(
            value, unit, one.feature.unit, CREATININE if name == "creatinine" else None
        )
        row, found = rows.loc[person], one_by_one.find_current(people[person], LATER)
        assert found is not None
        told = row[name]
        served = found.features[names.index(name)]
        if expected is not None and low <= expected <= high:
            taken += 1
            assert told == served == pytest.approx(expected, rel=1e-9), (unit, value)
            assert one.feature.title not in row[INCOMPLETE] + "".join(found.incomplete)
        else:
            assert math.isnan(told) and math.isnan(served), (unit, value)
            why = "no unit that could be converted" if expected is None else "cannot be true"
            assert why in row[INCOMPLETE] and any(why in reason for reason in found.incomplete)
    assert taken > 20


def draw(person: str, measurement: Measurement, unit: str, value: float) -> list[Resource]:
    """Return a person of one stay and one result."""
    subject = {"reference": f"Patient/{person}"}
    return [
        {"resourceType": "Patient", "id": person, "birthDate": "1950-01-01", "gender": "male"},
        {
            "resourceType": "Encounter", "id": f"stay-{person}", "status": "finished",
            "subject": subject, "class": {"code": "IMP"},
            "period": {"start": "2024-01-10", "end": "2024-01-15"},
        },
        {
            "resourceType": "Observation", "id": f"result-{person}", "status": "final",
            "subject": subject, "category": [{"coding": [{"code": "laboratory"}]}],
            "code": {"coding": [{"system": "http://loinc.org", "code": measurement.codes[0]}]},
            "effectiveDateTime": "2024-01-12",
            "valueQuantity": {"value": value, "unit": unit, "code": unit},
        },
    ]  # fmt: skip
