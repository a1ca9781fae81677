"""No read of a project shows a code that few people of the lake have."""

from __future__ import annotations

import random
import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from ehr_analytics.query_job import OWN_VIEW_QUERY, OwnView, QueryJob, SourceView, Withheld
from ehr_analytics.query_worker import run_job
from ehr_etl.duckdb_session import QueryLimits
from ehr_etl.lake import TABLES
from ehr_etl.omop.athena import DATABASE_SCHEMA
from ehr_etl.omop.hierarchy import read_broader_codes
from ehr_privacy.deid import load_rules
from tests.lib.research import DATES

ICD, ATC = "http://hl7.org/fhir/sid/icd-10", "http://www.whocc.no/atc"
SNOMED, LOINC = "http://snomed.info/sct", "http://loinc.org"
STATUS = "http://terminology.hl7.org/CodeSystem/condition-clinical"
LEAST = load_rules().rare_code_persons
OWN_VIEW = {
    "resourceType": "ViewDefinition", "name": "mine", "status": "active", "resource": "Condition",
    "select": [{"column": [
        {"name": "person", "path": "subject.getReferenceKey(Patient)"},
        {"name": "code", "path": "code.coding.first().code"},
        {"name": "state", "path": "clinicalStatus.coding.first().code"},
    ]}],
}  # fmt: skip
# System, code -> how many people have it.
Spread = Mapping[tuple[str, str], int]


def write_lake(folder: Path, spread: Spread, *, are_apart: bool = False) -> None:
    """Write conditions into deid, and their codes into a gold table, a person each from the first.

    People have several records of one code, which makes none of them more people. `are_apart`: each
    code has people of its own.
    """
    records, codes = [], []
    for place, ((system, code), people) in enumerate(spread.items()):
        first = 1000 * place if are_apart else 0
        for number in range(first, first + people):
            person = f"{number:032x}"
            for copy in range(3):
                content = {
                    "resourceType": "Condition",
                    "clinicalStatus": {"coding": [{"system": STATUS, "code": "remission"}]},
                    "code": {"coding": [{"system": system, "code": code}]},
                    "subject": {"reference": f"Patient/{person}"},
                }
                key = f"{system}|{code}|{number}|{copy}"
                records.append(
                    {"bucket": 0, "type": "Condition", "id": key, "patient": person,
                     "episode": key, "resource": orjson.dumps(content).decode()}
                )  # fmt: skip
                codes.append({"patient_id": person, "code": code, "codes": [code], "_key": key,
                              "_patient": person})  # fmt: skip
    schema = TABLES["deid"].schema
    for name, rows in (
        ("deid", pa.Table.from_pylist(records, schema=schema)),
        ("conditions", pa.Table.from_pylist(codes)),
    ):
        write_deltalake(str(folder / name), rows, mode="overwrite")


def read(folder: Path, **changes: Any) -> list[dict[str, Any]]:
    columns = ("patient_id", "code", "codes")
    view = SourceView("conditions", str(folder / "conditions"), 0, columns, ("patient_id",))
    query = "SELECT patient_id AS person, code, codes FROM conditions"
    job = QueryJob(
        (view,), str(folder / "deid"), Withheld(), "a" * 64, DATES, query, {}, "json",
        QueryLimits(), rare_code_persons=LEAST,
    )  # fmt: skip
    return list(run_job(replace(job, **changes))[0].to_pylist())


def read_own_view(folder: Path, **changes: Any) -> list[dict[str, Any]]:
    view = {"views": (), "own_view": OwnView(OWN_VIEW), "sql": OWN_VIEW_QUERY}
    return read(folder, **{**view, **changes})


def test_a_code_of_one_person_passes_where_none_are_counted(tmp_path: Path) -> None:
    """What the counting is there for."""
    write_lake(tmp_path, {(ICD, "E75.2"): 1})

    assert {row["code"] for row in read(tmp_path, rare_code_persons=0)} == {"E75.2"}


@pytest.mark.parametrize("reading", [read, read_own_view])
def test_rare_codes_are_broader_ones_or_nothing(tmp_path: Path, reading: Any) -> None:
    write_lake(
        tmp_path,
        {
            (ICD, "I10"): LEAST,
            (ICD, "E11.2"): LEAST - 1,
            (ICD, "E11.3"): LEAST - 1,
            (ICD, "Q90.1"): 1,
            (SNOMED, "22298006"): LEAST - 1,
            (LOINC, "8867-4"): LEAST,
        },
    )

    shown = {row["code"] for row in reading(tmp_path)}

    # The nine with E11.2 are those with E11.3, so E11 and its chapter have no more.
    assert shown == {"I10", "8867-4", None}


@pytest.fixture
def vocabulary(tmp_path: Path) -> str:
    """Return a database as a loaded vocabulary has it; the codes are made up, in SNOMED's form."""
    file = tmp_path / "vocabulary.sqlite"
    names = {1: "900001007", 2: "900002000", 3: "900003005", 4: "900004004", 5: "900006002"}
    with closing(sqlite3.connect(file)) as database:
        database.executescript(DATABASE_SCHEMA)
        database.executemany(
            "INSERT INTO concept VALUES (?, 'SNOMED', ?, 'Condition', 'Disorder', 'S', 1)",
            names.items(),
        )
        above = ((2, 1), (5, 1), (3, 1), (3, 2), (3, 5), (4, 1), (4, 2))
        database.executemany("INSERT INTO ancestor VALUES (?, ?)", above)
        database.commit()
    return str(file)


@pytest.mark.parametrize("reading", [read, read_own_view])
def test_rare_codes_of_snomed_go_up_the_hierarchy_that_the_user_loaded(
    tmp_path: Path, vocabulary: str, reading: Any
) -> None:
    some = LEAST // 2 + 1
    spread = {(SNOMED, "900003005"): some, (SNOMED, "900004004"): some,
              (SNOMED, "900006002"): LEAST - 1}  # fmt: skip
    write_lake(tmp_path, spread, are_apart=True)

    assert {row["code"] for row in reading(tmp_path)} == {None}
    # Two kinds of one thing become it. The third is rare at the top too: they do not count there.
    assert {row["code"] for row in reading(tmp_path, vocabulary=vocabulary)} == {"900002000", None}


def test_a_code_below_several_has_one_way_up(vocabulary: str) -> None:
    broader = read_broader_codes(Path(vocabulary), ["900003005", "900009009"])

    assert broader == {
        "900003005": "900002000", "900002000": "900001007", "900006002": "900001007"
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_shown_is_shown_of_enough_people(tmp_path: Path, seed: int) -> None:
    """Lakes by lot: each code that comes out has so many persons, on both ways to read."""
    chance = random.Random(seed)
    codes = [
        *((ICD, f"{letter}{number}.{place}") for letter in "AE" for number in (10, 11)
          for place in range(3)),
        (ICD, "E11"), (ATC, "A10BA02"), (ATC, "A10BA03"), (ATC, "A10BB01"), (ATC, "A10"),
        (SNOMED, "22298006"),
    ]  # fmt: skip
    spread = {coding: chance.choice((1, LEAST - 1, LEAST, LEAST + 2)) for coding in codes}
    write_lake(tmp_path, spread)

    rows, own = read(tmp_path), read_own_view(tmp_path)

    assert sorted((row["person"], str(row["code"])) for row in rows) == sorted(
        (row["person"], str(row["code"])) for row in own
    )
    assert {row["state"] for row in own} == {"remission"}
    assert all(row["codes"] == [row["code"]] for row in rows)
    people = defaultdict(set)
    for row in rows:
        people[row["code"]].add(row["person"])
    assert min(len(found) for code, found in people.items() if code is not None) >= LEAST
    frequent = {code for (_, code), number in spread.items() if number >= LEAST}
    assert frequent <= people.keys()


def test_a_code_appears_and_leaves_with_its_people(tmp_path: Path) -> None:
    seen = []
    for people in (LEAST - 1, LEAST, LEAST - 1):
        write_lake(tmp_path, {(ICD, "G35"): people})
        seen.append({row["code"] for row in read_own_view(tmp_path)})

    assert seen == [{None}, {"G35"}, {None}]


@pytest.mark.parametrize("reading", [read, read_own_view])
def test_who_is_withheld_does_not_count(tmp_path: Path, reading: Any) -> None:
    write_lake(tmp_path, {(ICD, "G35"): LEAST})

    shown = reading(tmp_path, withheld=Withheld(patients=(f"{0:032x}",)))

    assert {row["code"] for row in shown} == {None}
