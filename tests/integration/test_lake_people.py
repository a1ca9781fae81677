"""One person after a merge, ages and times of the lake's de-identified records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ehr_analytics.withheld import find_withheld, list_changed_since, read_basis
from ehr_etl.jobs import LocalRunner
from ehr_etl.lake import Lake, read_small_table
from ehr_etl.lake_run import run_once
from ehr_etl.pipeline import LakeWriter
from ehr_privacy.deid import AGE_AT_EVENT, pseudonym
from tests.lib.feed_lines import consent, decision_lines, feed_line
from tests.lib.lake_input import KEY, NOW_MS, Pages, condition, encounter, patient, rows


def run(lake: Lake, feed: Pages) -> None:
    run_once(lake, feed, deid_key=KEY, now_ms=NOW_MS, runner=LocalRunner(1))


def lines_of(resources: list[dict[str, Any]], first: int = 1) -> list[bytes]:
    return [feed_line(number, one, version=first) for number, one in enumerate(resources, first)]


def person(name: str) -> str:
    return pseudonym(KEY, f"Patient/{name}")


def records(lake: Lake, kind: str) -> dict[str, dict[str, Any]]:
    """Return the de-identified records of a type by whose they are."""
    found = read_small_table(lake, "deid").to_pylist()
    return {row["patient"]: json.loads(row["resource"]) for row in found if row["type"] == kind}


START = [
    patient("p-old", birthDate="1915-03-02"),
    patient("p-new", birthDate="1950-06-01"),
    consent("p-old", "joining"),
    consent("p-new", "joining"),
    encounter("enc-old", "p-old", period={"start": "2000-06-15T03:17:00+08:00"}),
    condition("cond-old", "p-old", "enc-old"),
]
MERGED = patient(
    "p-old",
    birthDate="1915-03-02",
    active=False,
    link=[{"type": "replaced-by", "other": {"reference": "Patient/p-new"}}],
)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Return a lake of two accounts, not merged yet."""
    lake = Lake(tmp_path / "lake")
    run(lake, Pages([b"\n".join([*lines_of(START), *decision_lines(START)])]))
    return lake


def test_the_age_at_a_stay_is_told_and_its_time_of_day_is_not(lake: Lake) -> None:
    (stay,) = read_small_table(lake, "gold/encounter_flat").to_pylist()

    assert abs(stay["age"] - 85) <= 1
    assert "T" not in stay["start"]
    assert records(lake, "Encounter")[person("p-old")]["extension"][0]["url"] == AGE_AT_EVENT


def test_merged_accounts_are_one_person_at_once_and_after_a_rebuild(lake: Lake) -> None:
    assert set(records(lake, "Condition")) == {person("p-old")}

    run(lake, Pages([feed_line(50, MERGED, version=2)]))

    assert set(records(lake, "Patient")) == {person("p-new")}
    for kind in ("Encounter", "Condition"):
        (record,) = records(lake, kind).values()
        assert record["subject"] == {"reference": f"Patient/{person('p-new')}"}
        assert set(records(lake, kind)) == {person("p-new")}
    followed = rows(lake, "deid"), rows(lake, "gold/encounter_flat")
    with LakeWriter(lake, KEY, LocalRunner(1)) as writer:
        writer.rebuild("deid", NOW_MS)
    assert (rows(lake, "deid"), rows(lake, "gold/encounter_flat")) == followed


def test_a_merge_that_is_taken_back_makes_two_people_again(lake: Lake) -> None:
    before = rows(lake, "deid")
    run(lake, Pages([feed_line(50, MERGED, version=2)]))
    assert rows(lake, "deid") != before

    run(lake, Pages([feed_line(51, START[0], version=3)]))

    assert rows(lake, "deid") == before


def test_whoever_opts_out_by_one_account_is_out_by_all(lake: Lake) -> None:
    replacing = patient(
        "p-new",
        birthDate="1950-06-01",
        link=[{"type": "replaces", "other": {"reference": "Patient/p-old"}}],
    )
    merge = [feed_line(50, MERGED, version=2), feed_line(51, replacing, version=2)]
    run(lake, Pages([b"\n".join(merge)]))
    assert records(lake, "Condition")

    out = consent("p-new", "research", permit=False)
    told = [feed_line(52, out), *decision_lines([*START, MERGED, replacing, out], 20)]
    run(lake, Pages([b"\n".join(told)]))

    assert read_small_table(lake, "deid").num_rows == 0


@pytest.mark.parametrize("whose", ["p-old", "p-new"])
def test_a_query_leaves_out_every_account_of_whoever_changed_something(
    lake: Lake, whose: str
) -> None:
    """Before the lake's next run: the rows of a merged account bear the other's pseudonym."""
    ends = consent("p-old", "joining", period={"start": "2026-01-01", "end": "2027-01-01"})
    told = [feed_line(50, MERGED, version=2), *decision_lines([*START, MERGED, ends], 20)]
    run(lake, Pages([b"\n".join(told)]))
    data = lake.root.parent
    (data / "keys").mkdir()
    (data / "keys" / "deid.key").write_bytes(KEY)
    rows_of = {row["patient"] for row in read_small_table(lake, "deid").to_pylist()}

    withheld = find_withheld(data, lambda number, epoch: [("Patient", whose)])
    basis = read_basis(data, until_ms=NOW_MS * 2)
    changed = list_changed_since(data, lambda number, epoch: [("Patient", whose)], basis)
    others = find_withheld(data, lambda number, epoch: [("Encounter", "enc-old")])

    assert rows_of == {person("p-new")}
    assert rows_of <= set(withheld.patients) & set(withheld.records)
    assert rows_of <= changed
    # The term of the merged account's joining ends by itself.
    assert rows_of <= {pseudonym for _, pseudonym in basis.due}
    assert others.patients == ()


def test_a_corrected_birth_date_changes_the_ages_of_all_records(lake: Lake) -> None:
    run(lake, Pages([feed_line(50, patient("p-old", birthDate="1965-03-02"), version=2)]))

    (stay,) = read_small_table(lake, "gold/encounter_flat").to_pylist()
    assert abs(stay["age"] - 35) <= 1
