"""Whom a model may score, by the lake's decisions: who joined, left, opted out, died or merged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ehr_etl.jobs import LocalRunner
from ehr_etl.lake import Lake
from ehr_etl.lake_run import run_once
from ehr_fhir.errors import Fault, Unavailable
from ehr_models.scored_people import ScoredPeople, read_scored_people
from ehr_models.task import Views
from tests.lib.feed_lines import consent, decision_lines, feed_line
from tests.lib.lake_input import KEY, NOW_MS, Pages, patient

_YEAR_MS = 365 * 86_400_000
MERGED = {"type": "replaced-by", "other": {"reference": "Patient/new"}}
RESOURCES: list[dict[str, Any]] = [
    patient("joined"),
    consent("joined", "joining"),
    patient("never"),
    patient("opted-out"),
    consent("opted-out", "joining"),
    consent("opted-out", "research", permit=False),
    patient("left"),
    {**consent("left", "joining"), "status": "inactive"},
    patient("ends"),
    consent("ends", "joining", period={"start": "2026-01-01", "end": "2027-01-01"}),
    patient("old", link=[MERGED]),
    consent("old", "joining"),
    patient("new"),
    consent("new", "joining"),
    patient("old-2", link=[{**MERGED, "other": {"reference": "Patient/new-2"}}]),
    consent("old-2", "joining"),
    patient("new-2"),
    patient("old-3", link=[{**MERGED, "other": {"reference": "Patient/new-3"}}]),
    patient("new-3"),
    consent("new-3", "joining"),
    patient("gone"),
    consent("gone", "joining"),
    patient("doubtful"),
    consent("doubtful", "joining"),
]


def run(lake: Lake, lines: list[bytes]) -> None:
    run_once(lake, Pages([b"\n".join(lines)]), deid_key=KEY, now_ms=NOW_MS, runner=LocalRunner(1))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake(tmp_path_factory.mktemp("scored") / "lake")
    lines = [feed_line(number, one) for number, one in enumerate(RESOURCES, 1)]
    run(lake, [*lines, *decision_lines(RESOURCES)])
    doubtful = {"decision": 90, "type": "Patient", "id": "doubtful", "rules": [{"table": "new"}]}
    gone = feed_line(91, patient("gone"), version=2, method="DELETE")
    run(lake, [gone, json.dumps(doubtful).encode()])
    return lake


def test_who_has_joined_is_scored_and_nobody_else(lake: Lake) -> None:
    people = read_scored_people(lake, KEY, NOW_MS)

    assert people.survivors == {
        **{name: name for name in ("joined", "opted-out", "ends", "new", "new-3")},
        "old": "new",
    }


def test_who_has_left_by_the_end_of_a_term_is_not_scored_either(lake: Lake) -> None:
    people = read_scored_people(lake, KEY, NOW_MS + _YEAR_MS)

    assert "joined" in people.survivors and "ends" not in people.survivors


def test_without_decisions_nobody_is_scored(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="ehr lake run"):
        read_scored_people(Lake(tmp_path / "lake"), KEY, NOW_MS)


def test_where_the_rules_about_everybody_are_in_doubt_nobody_is_scored(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    doubt = {"decision": 90, "type": "Patient", "id": "*", "rules": [{"table": "new"}]}
    some = RESOURCES[:2]
    lines = [feed_line(number, one) for number, one in enumerate(some, 1)]
    run(lake, [*lines, *decision_lines(some), json.dumps(doubt).encode()])

    assert read_scored_people(lake, KEY, NOW_MS).survivors == {}


def views(*people: tuple[str, bool]) -> Views:
    return {
        "patient_demographics": pd.DataFrame(people, columns=["id", "deceased"]),
        "encounter_flat": pd.DataFrame(
            [(f"enc-{name}", name) for name, _ in people], columns=["id", "patient_id"]
        ),
    }


def test_rows_of_merged_accounts_are_those_of_one_person() -> None:
    people = ScoredPeople({"old": "new", "new": "new", "other": "other"})
    seen = views(("old", True), ("new", False), ("other", False), ("never", False))

    chosen = people.select_rows(seen)

    assert chosen["patient_demographics"].to_pylist() == [
        {"id": "new", "deceased": True},
        {"id": "other", "deceased": False},
    ]
    assert chosen["encounter_flat"].to_pylist() == [
        {"id": "enc-old", "patient_id": "new"},
        {"id": "enc-new", "patient_id": "new"},
        {"id": "enc-other", "patient_id": "other"},
    ]
    assert people.count_left_out(seen) == 1


def test_a_view_that_does_not_say_whose_its_rows_are_scores_nobody() -> None:
    rows = {"organizations": pd.DataFrame({"id": ["a"]})}

    with pytest.raises(Fault, match="organizations"):
        ScoredPeople({"a": "a"}).select_rows(rows)
