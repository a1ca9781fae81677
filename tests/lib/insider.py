"""An insider who has the whole de-identified copy, and guesses by how much dates have moved.

The population is made up: people who come to clinics on working days, some to a new hospital, some
for a new vaccine, many in the waves of an epidemic. What the insider knows of them is public.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from ehr_privacy.deid import Deidentifier
from ehr_privacy.deid.pseudonyms import SHIFT_WEEKS

Record = dict[str, Any]
HL7 = "http://terminology.hl7.org/CodeSystem"
SNOMED, CVX = "http://snomed.info/sct", "http://hl7.org/fhir/sid/cvx"
# Hong Kong's general holidays that fell on Monday to Friday, 2019 to 2025.
HOLIDAYS = frozenset(
    date.fromisoformat(day)
    for day in """
    2019-01-01 2019-02-05 2019-02-06 2019-02-07 2019-04-05 2019-04-19 2019-04-22 2019-05-01
    2019-05-13 2019-06-07 2019-07-01 2019-10-01 2019-10-07 2019-12-25 2019-12-26
    2020-01-01 2020-01-27 2020-01-28 2020-04-10 2020-04-13 2020-04-30 2020-05-01 2020-06-25
    2020-07-01 2020-10-01 2020-10-02 2020-10-26 2020-12-25
    2021-01-01 2021-02-12 2021-02-15 2021-04-02 2021-04-05 2021-04-06 2021-05-19 2021-06-14
    2021-07-01 2021-09-22 2021-10-01 2021-10-14 2021-12-27
    2022-02-01 2022-02-02 2022-02-03 2022-04-05 2022-04-15 2022-04-18 2022-05-02 2022-05-09
    2022-06-03 2022-07-01 2022-09-12 2022-10-04 2022-12-26 2022-12-27
    2023-01-02 2023-01-23 2023-01-24 2023-01-25 2023-04-05 2023-04-07 2023-04-10 2023-05-01
    2023-05-26 2023-06-22 2023-10-02 2023-10-23 2023-12-25 2023-12-26
    2024-01-01 2024-02-12 2024-02-13 2024-03-29 2024-04-01 2024-04-04 2024-05-01 2024-05-15
    2024-06-10 2024-07-01 2024-09-18 2024-10-01 2024-10-11 2024-12-25 2024-12-26
    2025-01-01 2025-01-29 2025-01-30 2025-01-31 2025-04-04 2025-04-18 2025-04-21 2025-05-01
    2025-05-05 2025-07-01 2025-10-01 2025-10-07 2025-10-29 2025-12-25 2025-12-26
    """.split()
)
FIRST, LAST = date(2019, 1, 1), date(2025, 12, 31)
RUN_AT = "2025-12-31T02:17:43.120+08:00"
OPENED, VACCINE_SINCE = date(2022, 3, 1), date(2021, 2, 26)
# Weeks of an epidemic by their weight: nearly all of its cases lie in two months.
WAVE: dict[date, float] = {
    date(2022, 2, 7) + timedelta(weeks=week): 0.5 ** abs(week - 3) for week in range(9)
}
CANDIDATES = tuple(range(1, SHIFT_WEEKS + 1))
# Weeks -> how likely what is seen is, if dates have moved by them.
Likelihood = Callable[[int], float]
Attack = Callable[[list[Record]], Likelihood]


@dataclass(frozen=True)
class Insider:
    """The copy as the insider has it: the records of each patient, and their true shift."""

    records: dict[str, list[Record]]
    weeks: dict[str, int]


def make_population(people: int, visits: int, seed: int = 1) -> dict[str, list[Record]]:
    """Return the true records of so many people, each with about so many visits in seven years."""
    chance = random.Random(seed)
    return {
        f"p{number}": list(_make_records(f"p{number}", visits, chance)) for number in range(people)
    }


def _make_records(name: str, visits: int, chance: random.Random) -> Iterator[Record]:
    days = [_working_day(chance, FIRST, LAST) for _ in range(visits)]
    for number, day in enumerate(days):
        yield _encounter(f"{name}-e{number}", name, day, "Organization/old")
    yield _encounter(f"{name}-n", name, _working_day(chance, OPENED, LAST), "Organization/new")
    vaccinated = VACCINE_SINCE + timedelta(days=int(chance.expovariate(1 / 60)))
    yield _record(
        "Immunization",
        f"{name}-v",
        name,
        status="completed",
        vaccineCode=_concept(CVX, "208"),
        occurrenceDateTime=vaccinated.isoformat(),
        encounter={"reference": f"Encounter/{name}-e0"},
    )
    week = chance.choices(list(WAVE), list(WAVE.values()))[0]
    ill = week + timedelta(days=chance.randrange(7))
    yield _record(
        "Condition",
        f"{name}-c",
        name,
        code=_concept(SNOMED, "840539006"),
        onsetDateTime=ill.isoformat(),
        recordedDate=RUN_AT,
    )
    yield _record("RiskAssessment", f"{name}-r", name, status="final", occurrenceDateTime=RUN_AT)
    yield _record(
        "Observation",
        f"{name}-o",
        name,
        status="final",
        effectiveDateTime=f"{days[0]}T08:{chance.randrange(60):02}:00+08:00",
        issued=RUN_AT,
    )


def _encounter(name: str, patient: str, day: date, place: str) -> Record:
    return _record(
        "Encounter",
        name,
        patient,
        status="finished",
        **{"class": {"system": f"{HL7}/v3-ActCode", "code": "AMB"}},
        serviceProvider={"reference": place},
        period={"start": f"{day}T09:30:00+08:00", "end": f"{day}T10:00:00+08:00"},
    )


def _record(kind: str, name: str, patient: str, **content: Any) -> Record:
    subject = "patient" if kind == "Immunization" else "subject"
    return {
        "resourceType": kind,
        "id": name,
        subject: {"reference": f"Patient/{patient}"},
    } | content


def _concept(system: str, code: str) -> Record:
    return {"coding": [{"system": system, "code": code}]}


def _working_day(chance: random.Random, first: date, last: date) -> date:
    while True:
        day = first + timedelta(days=chance.randrange((last - first).days))
        if day.weekday() < 5 and day not in HOLIDAYS:
            return day


def deidentify(
    deidentifier: Deidentifier, population: dict[str, list[Record]], weeks: dict[str, int]
) -> Insider:
    """Return the copy that the insider has."""
    kept = {
        name: [out for record in records if (out := deidentifier.scrub(record)) is not None]
        for name, records in population.items()
    }
    return Insider(kept, weeks)


def measure(insider: Insider, attack: Attack) -> float:
    """Return the share of patients whose shift the insider guesses; ties are drawn."""
    share = 0.0
    for name, records in insider.records.items():
        likelihood = attack(records)
        found = {weeks: likelihood(weeks) for weeks in CANDIDATES}
        best = [weeks for weeks, value in found.items() if value == max(found.values())]
        if insider.weeks[name] in best:
            share += 1 / len(best)
    return share / len(insider.records)


def visit_days(records: Iterable[Record], place: str | None = None) -> list[date]:
    """Return the days of a patient's visits as the copy shows them."""
    return [
        date.fromisoformat(record["period"]["start"])
        for record in records
        if record["resourceType"] == "Encounter"
        and "period" in record
        and (place is None or record["serviceProvider"]["reference"] == place)
    ]


def dates_of(records: Iterable[Record], kind: str) -> list[date]:
    """Return the dates that the copy shows in records of a type."""
    return [
        date.fromisoformat(value)
        for record in records
        if record["resourceType"] == kind
        for value in record.values()
        if isinstance(value, str) and len(value) == 10 and value[:2] == "20"
    ]
