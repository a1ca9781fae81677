"""A cohort over OMOP, made of a published export of Synthea, beside a count over its files."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from ehr_analytics.cohorts import load_cohort
from ehr_analytics.cohorts.project_run import find_sources, list_data_items, run_project_cohort
from ehr_etl.lake import Lake
from ehr_fhir.jurisdiction import JURISDICTION
from tests.lib.lake_input import KEY
from tests.lib.omop_lake import OmopLake
from tests.lib.research import open_project, register

BRONCHITIS = "10509002"
COHORT = f"""
name = "after-bronchitis"
title = "Visits around a first acute bronchitis"
model = "omop"

[events.bronchitis]
table = "condition_occurrence"
date = "condition_start_date"
where = [{{ column = "condition_source_value", in = ["{BRONCHITIS}"] }}]

[events.clinic]
table = "visit_occurrence"
date = "visit_start_date"
where = [{{ column = "visit_concept_id", in = [9202] }}]

[events.hospital]
table = "visit_occurrence"
date = "visit_start_date"
where = [{{ column = "visit_concept_id", in = [9201, 9203] }}]

[index]
events = "bronchitis"

[[include]]
name = "seen in the half year before"
kind = "count"
events = "clinic"
from_days = -182
to_days = -1

[[column]]
name = "sex"
kind = "person"
column = "gender_concept_id"
values = ["8507", "8532"]

[[column]]
name = "clinic_before"
kind = "count"
events = "clinic"
from_days = -365
to_days = -1

[follow_up]
days = 3650
outcome = [{{ name = "hospital_after", events = "hospital" }}]
"""


def read(folder: Path, kind: str) -> Iterator[dict[str, Any]]:
    with gzip.open(folder / f"{kind}.ndjson.gz", "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def day(text: str) -> date:
    return datetime.fromisoformat(text).astimezone(JURISDICTION.zone).date()


def list_days(folder: Path) -> Mapping[str, Mapping[str, list[date]]]:
    """Return what happened, person by person, on which days."""
    days: defaultdict[str, defaultdict[str, list[date]]] = defaultdict(lambda: defaultdict(list))
    for visit in read(folder, "Encounter"):
        kind = {"AMB": "clinic", "IMP": "hospital", "EMER": "hospital"}.get(visit["class"]["code"])
        if kind is not None:
            days[kind][visit["subject"]["reference"]].append(day(visit["period"]["start"]))
    for condition in read(folder, "Condition"):
        if condition["code"]["coding"][0]["code"] == BRONCHITIS:
            whose = condition["subject"]["reference"]
            days["bronchitis"][whose].append(day(condition["onsetDateTime"]))
    return days


def count_plainly(folder: Path) -> tuple[list[int], Counter[tuple[str, int, str]]]:
    """Return the people left after each step, and of the last ones what is told of each."""
    people = {f"Patient/{one['id']}": one["gender"] for one in read(folder, "Patient")}
    days = list_days(folder)
    left, told = [len(people), 0, 0], Counter[tuple[str, int, str]]()
    for person, gender in people.items():
        if person not in days["bronchitis"]:
            continue
        left[1] += 1
        start = min(days["bronchitis"][person])
        before = [start - each for each in days["clinic"][person] if each < start]
        if not any(gap <= timedelta(days=182) for gap in before):
            continue
        left[2] += 1
        recent = sum(gap <= timedelta(days=365) for gap in before)
        after = any(0 < (each - start).days <= 3650 for each in days["hospital"][person])
        told[{"male": "8507", "female": "8532"}[gender], recent, "yes" if after else "no"] += 1
    return left, told


def test_a_cohort_over_omop_counts_what_the_files_of_synthea_hold(
    shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "synthea-r4-bulk-47"
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "deid.key").write_bytes(KEY)
    bench = OmopLake(Lake(tmp_path / "lake"))
    bench.put(
        *(one for kind in ("Patient", "Encounter", "Condition") for one in read(folder, kind))
    )
    bench.rebuild()
    (tmp_path / "cohort.toml").write_text(COHORT, "utf-8")
    cohort = load_cohort(tmp_path / "cohort.toml")
    book = register(tmp_path)
    items = list_data_items(cohort, find_sources(bench.lake, cohort))
    project = open_project(book, items=items)

    result, versions = run_project_cohort(book, project, cohort, project.applicant, withheld=())

    left, told = count_plainly(folder)
    # Everybody, then everybody of the population.
    assert [step.persons for step in result.attrition] == [left[0], *left]
    rows = result.table.to_pylist()
    assert Counter((r["sex"], r["clinic_before"], r["hospital_after"]) for r in rows) == told
    assert 5 < left[2] < left[1]
    assert len({outcome for _, _, outcome in told}) == 2
    assert set(versions) == {"person", "visit_occurrence", "condition_occurrence"}
