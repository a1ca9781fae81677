"""What `$match` and the steward's list take: `python -m tests.perf.bench_match_http`.

Asked through the whole application in this process, one after another, as the hospital that wrote
the Patients: made-up people, of whom some have a second record, and beside them as many as
`--common` says who bear one name, each with a birth date of their own. Then Patients are compared
for the steward's list, as many as fit in some seconds.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import chain, cycle
from typing import Any

from ehr_gateway.access import Access
from ehr_gateway.patient_matching.duplicates import find_new_duplicates
from ehr_gateway.transaction.prepared_resource import prepare_draft
from ehr_gateway.transaction.transaction import open_transaction
from tests.lib.duplicated_people import make_people
from tests.lib.gateway import House, Session, must
from tests.perf.bench_house import now_ms, open_house

Patient = dict[str, Any]
MOST_RUNS, LEAST_RUNS, KIND_SECONDS = 300, 20, 15
AT_ONCE = 500
COMPARED_SECONDS = 15.0
COMMON = {"family": "Chan", "given": ["Siu Ming"]}
HAN = {"text": "陳小明"}


def main() -> None:
    """Fill a store, ask, print p50 and p99."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--common", type=int, help="a hundredth of the size if not said")
    parser.add_argument("--databases", default="sqlite,postgresql")
    asked = parser.parse_args()
    common = asked.size // 100 if asked.common is None else asked.common
    for database in asked.databases.split(","):
        with open_house(database) as house:
            people = [_drop_wrong_date(patient) for _, patient in make_people(asked.size)]
            _add_patients(house, chain(people, _make_namesakes(common)))
            _write(f"{database}: {len(people):,} Patients, and {common:,} of one name")
            if database == "postgresql":
                # As autovacuum does a minute after so many rows.
                with house.gateway.store.write_transaction() as connection:
                    connection.execute("ANALYZE")
            _measure(house, people)
            start = time.monotonic()
            number = find_new_duplicates(house.gateway.store, now_ms, seconds=COMPARED_SECONDS)
            _write(f"  {number / (time.monotonic() - start):,.0f} Patients compared a second")


def _drop_wrong_date(patient: Patient) -> Patient:
    """Return a Patient without a mistyped birth date that is no date: it would be refused."""
    try:
        date.fromisoformat(patient.get("birthDate", "1950-01-01"))
    except ValueError:
        return _without(patient, "birthDate")
    return patient


def _make_namesakes(count: int) -> Iterator[Patient]:
    chance = random.Random(3)
    for _ in range(count):
        yield {
            "resourceType": "Patient",
            "name": [COMMON, HAN],
            "gender": chance.choice(("female", "male")),
            "birthDate": f"{chance.randrange(1930, 2020)}-{chance.randrange(1, 13):02}-15",
        }


def _add_patients(house: House, patients: Iterable[Patient]) -> None:
    token = house.system("hospital-a").headers["Authorization"].removeprefix("Bearer ")
    author = house.gateway.verifier.authenticate(token, now_ms())
    access = Access(author.requester, now_ms(), "filling")
    batch: list[Patient] = []

    def store() -> None:
        with open_transaction(house.gateway.store, access) as writing:
            for patient in batch:
                writing.create(prepare_draft(patient, patient["id"], access, "Patient"))
        batch.clear()

    for number, patient in enumerate(patients):
        batch.append({**patient, "id": f"person-{number}"})
        if len(batch) == AT_ONCE:
            store()
    store()


def _measure(house: House, people: Sequence[Patient]) -> None:
    reader, chance = house.system("hospital-a"), random.Random(4)
    chosen = chance.sample(people, 300)
    for title, descriptions in (
        ("everything", chosen),
        ("no number", [_without(one, "identifier") for one in chosen]),
        ("name and birth date", [_without(one, "identifier", "telecom") for one in chosen]),
        ("name alone", [_without(one, "identifier", "telecom", "birthDate") for one in chosen]),
        ("the common name, a birth date",
         [{"resourceType": "Patient", "name": [COMMON, HAN], "birthDate": "1980-05-15"}]),
        ("the common name alone", [{"resourceType": "Patient", "name": [COMMON, HAN]}]),
    ):  # fmt: skip
        _say(title, *_time(reader, descriptions))


def _without(patient: Patient, *elements: str) -> Patient:
    return {name: value for name, value in patient.items() if name not in elements}


def _time(session: Session, descriptions: Sequence[Patient]) -> tuple[list[float], float]:
    """Return what each asking took, in milliseconds, and how many were found on average."""
    turn, took, found = cycle(descriptions), list[float](), 0
    end = time.monotonic() + KIND_SECONDS
    while len(took) < LEAST_RUNS or (len(took) < MOST_RUNS and time.monotonic() < end):
        body = {"resourceType": "Parameters",
                "parameter": [{"name": "resource", "resource": next(turn)}]}  # fmt: skip
        start = time.perf_counter()
        answer = must(session.post("Patient/$match", body))
        took.append((time.perf_counter() - start) * 1000)
        found += len(answer.json().get("entry", ()))
    return took[1:], found / len(took)


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _say(title: str, took: list[float], found: float) -> None:
    p99 = sorted(took)[min(len(took) - 1, int(len(took) * 0.99))]
    _write(
        f"  {title:32} p50 {statistics.median(took):8.1f} ms  p99 {p99:8.1f} ms  {len(took)} runs,"
        f" {found:.1f} found"
    )


if __name__ == "__main__":
    main()
