"""The lake from feed to gold: what arrives, what waits, what never leaves, what a crash does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ehr_cli.commands.lake import describe_closed
from ehr_etl import pipeline
from ehr_etl.batch import BatchWriter
from ehr_etl.data_quality.measure_reports import build_measure_reports
from ehr_etl.gold.delta_views import run_identified_view, save_definition, write_view_table
from ehr_etl.gold.library import load_view, read_view_file
from ehr_etl.gold.tables import run_view
from ehr_etl.lake import Lake, read_small_table
from ehr_etl.lake_run import STEPS, LakeReport, run_once
from ehr_etl.pipeline import LakeWriter
from ehr_etl.tables.bronze import FeedSource
from ehr_fhir.errors import Conflict, EhrError, Invalid
from ehr_privacy.deid import pseudonym
from tests.lib.feed_lines import consent, decision_lines, feed_line, synthea
from tests.lib.lake_input import (
    KEY,
    NOW_MS,
    PLANTED,
    TABLES,
    Pages,
    condition,
    encounter,
    everything_in,
    first_feed,
    hospital,
    patient,
    resources,
    rows,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


Run = Callable[..., LakeReport]


@pytest.fixture(scope="module")
def run() -> Run:
    def once(lake: Lake, feed: FeedSource, **more: Any) -> LakeReport:
        return run_once(lake, feed, deid_key=KEY, now_ms=NOW_MS, **more)

    return once


@pytest.fixture(scope="module")
def undisturbed(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, LakeReport]:
    lake = Lake(tmp_path_factory.mktemp("undisturbed"))
    return lake, run(lake, first_feed())


def test_every_line_is_accounted_for(undisturbed: tuple[Lake, LakeReport]) -> None:
    _, report = undisturbed

    # Fourteen about resources, two about the rules of patients.
    assert report.landed == 16
    assert (report.silver.taken, report.silver.passed, report.silver.quarantined) == (14, 12, 2)
    assert (report.rows_in("bronze"), report.rows_in("silver"), report.rows_in("quarantine")) == (
        16,
        11,
        2,
    )
    assert set(report.seconds) == set(STEPS)


def test_what_is_not_good_waits_in_quarantine_with_its_reason(
    undisturbed: tuple[Lake, LakeReport],
) -> None:
    lake, _ = undisturbed

    held = {row["id"]: row["reasons"] for row in read_small_table(lake, "quarantine").to_pylist()}

    assert held == {"enc-bad": ["period-in-order"], None: ["feed-line-is-not-json"]}


def test_silver_holds_the_newest_version(undisturbed: tuple[Lake, LakeReport]) -> None:
    lake, _ = undisturbed

    found = {row["id"]: row for row in read_small_table(lake, "silver").to_pylist()}

    assert found["p-one"]["version"] == 2
    assert json.loads(found["p-one"]["resource"])["maritalStatus"] == {"text": "married"}
    assert json.loads(found["enc-one"]["facts"])["patients"] == ["p-one"]


def test_research_sees_joined_patients_alone(undisturbed: tuple[Lake, LakeReport]) -> None:
    lake, _ = undisturbed

    assert resources(lake, "deid", "Patient") == sorted(
        pseudonym(KEY, f"Patient/{name}") for name in ("p-one", "p-two")
    )


def test_gold_rows_join_by_pseudonym(undisturbed: tuple[Lake, LakeReport]) -> None:
    lake, report = undisturbed

    stays = read_small_table(lake, "gold/encounter_flat").to_pylist()
    diagnoses = read_small_table(lake, "gold/condition_flat").to_pylist()
    people = {
        row["id"]: row for row in read_small_table(lake, "gold/patient_demographics").to_pylist()
    }

    assert {row["patient_id"] for row in stays} == set(people)
    assert {row["encounter_id"] for row in diagnoses} <= {row["id"] for row in stays}
    assert {row["class"] for row in stays} == {"IMP"}
    assert {row["code"] for row in diagnoses} == {"38341003"}
    assert [row["birth_year"] for row in people.values()] == [1956, 1956]
    assert report.quality_passed


def test_no_identifier_is_in_deid_gold_or_the_quality_results(
    undisturbed: tuple[Lake, LakeReport],
) -> None:
    lake, _ = undisturbed

    text = "".join(everything_in(lake.root / name) for name in ("deid", "gold", "quality"))

    assert "IMP" in text
    assert [word for word in PLANTED if word in text] == []


def test_no_identifier_of_a_synthea_patient_is_in_deid_or_gold(
    run: Run, shared_data: Path, tmp_path: Path
) -> None:
    records = list(synthea(shared_data / "synthea-r4-bulk-47", 1))
    (person,) = [one for one in records if one["resourceType"] == "Patient"]
    lake = Lake(tmp_path)
    run(lake, first_feed([*records, consent(person["id"], "joining")]))

    text = "".join(everything_in(lake.root / name) for name in ("deid", "gold"))

    identifying = {one["id"] for one in records} | {one["value"] for one in person["identifier"]}
    for name in person["name"]:
        identifying |= {name["family"], *name["given"]}
    identifying |= {one["value"] for one in person["telecom"]}
    identifying |= {part for one in person["address"] for part in (*one["line"], one["city"])}
    for one in records:
        if one["resourceType"] == "Practitioner":
            identifying |= {name["family"] for name in one["name"]}
    assert len(resources(lake, "deid", "Observation")) > 10
    assert sorted(word for word in identifying if word in text) == []
    # Elsewhere a date of an event may be moved onto that day by chance.
    assert person["birthDate"] not in json.dumps(resources(lake, "deid", "Patient"))


@pytest.mark.parametrize("written", ["quarantine", "silver_history", "silver", "deid", "gold"])
def test_a_batch_that_is_cut_short_anywhere_ends_as_an_undisturbed_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    whole, cut = Lake(tmp_path / "whole"), Lake(tmp_path / "cut")
    first, changes = first_feed(), changes_after_first_feed()
    for lake in (whole, cut):
        run(lake, first)
    steps = {
        "quarantine": "_write_quarantine", "silver_history": "_write_history",
        "silver": "_write_silver", "deid": "_write_deid_and_gold", "gold": "_write_decisions",
    }  # fmt: skip
    original = getattr(BatchWriter, steps[written])

    def crash(self: BatchWriter, *arguments: Any) -> None:
        if written != "deid":
            original(self, *arguments)
        raise RuntimeError("cut")

    with monkeypatch.context() as patch:
        patch.setattr(BatchWriter, steps[written], crash)
        with pytest.raises((RuntimeError, EhrError)):
            run(cut, changes)
    run(cut, changes)
    run(whole, changes)

    for table in TABLES:
        assert rows(cut, table) == rows(whole, table), table


def changes_after_first_feed() -> Pages:
    """Return a deletion, an opt-out, an older version that comes late, and one that is not good."""
    first = first_feed()
    bad = encounter("enc-two", "p-two", period={"start": "2026-03-04", "end": "2026-03-01"})
    lines = [
        feed_line(14, encounter("enc-one", "p-one"), version=2, method="DELETE"),
        feed_line(15, consent("p-two", "research", permit=False)),
        feed_line(16, encounter("enc-four", "p-two", status="planned"), version=0),
        feed_line(17, bad, version=2),
    ]
    everything = [*hospital(), consent("p-two", "research", permit=False)]
    lines += decision_lines(everything, start=3)
    return Pages([*first.content, b"\n".join(lines) + b"\n"])


def test_changes_follow_through_to_every_table(run: Run, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    run(lake, first_feed())

    report = run(lake, changes_after_first_feed())

    assert report.rebuilt == ()
    stays = {row["id"]: row for row in read_small_table(lake, "silver").to_pylist()}
    assert stays["enc-one"]["deleted"]
    assert stays["enc-one"]["resource"] is None
    assert json.loads(stays["enc-four"]["resource"])["status"] == "finished"
    assert resources(lake, "deid", "Patient") == [pseudonym(KEY, "Patient/p-one")]
    assert read_small_table(lake, "gold/encounter_flat").num_rows == 0
    assert read_small_table(lake, "gold/condition_flat").num_rows == 1

    decided = [{"version": 1, "decision": "release"}]
    line = {"decision": 99, "type": "Encounter", "id": "enc-bad", "quality": decided}
    run(lake, Pages([json.dumps(line).encode()]))

    assert "enc-bad" in {row["id"] for row in read_small_table(lake, "silver").to_pylist()}
    assert resources(lake, "deid", "Encounter") == [pseudonym(KEY, "Encounter/enc-bad")]
    waiting = {row["position"] for row in read_small_table(lake, "quarantine").to_pylist()}
    assert waiting == {17, None}


def test_nothing_changed_writes_nothing(run: Run, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    run(lake, changes_after_first_feed())
    before = files_in(lake)

    report = run(lake, changes_after_first_feed())

    assert report.written == frozenset()
    assert files_in(lake) == before


def files_in(lake: Lake) -> dict[str, int]:
    return {
        str(file.relative_to(lake.root)): file.stat().st_mtime_ns
        for file in lake.root.rglob("*")
        if file.is_file()
    }


def test_a_changed_record_leaves_the_files_of_others_alone(run: Run, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "ROWS_PER_BUCKET", 1)
        run(lake, first_feed())
        before = files_in(lake)
        newer = condition("cond-one", "p-one", "enc-one", recordedDate="2026-03-02")
        run(lake, Pages([feed_line(14, newer, version=2)]))

    new = [name for name in files_in(lake).keys() - before.keys() if name.endswith(".parquet")]
    tables = {name.split("/bucket=")[0].split("/_bucket=")[0] for name in new}
    assert all(len([file for file in new if file.startswith(f"{name}/bucket=")]) <= 1
               for name in ("silver", "deid"))  # fmt: skip
    assert not any(name.startswith("gold/encounter_flat") for name in tables)


def test_what_is_not_understood_of_a_patients_rules_keeps_them_out(
    run: Run, tmp_path: Path
) -> None:
    lake = Lake(tmp_path)
    run(lake, first_feed())
    rules = {"decision": 9, "type": "Patient", "id": "p-one", "rules": [{"table": "consent_new"}]}

    report = run(lake, Pages([json.dumps(rules).encode()]))

    assert report.closed.patients_in_doubt == {"p-one"}
    assert resources(lake, "deid", "Patient") == [pseudonym(KEY, "Patient/p-two")]
    clear = decision_lines(hospital(), start=10)
    run(lake, Pages([b"\n".join(clear)]))
    assert len(resources(lake, "deid", "Patient")) == 2


def test_a_run_says_why_records_are_out_and_how_many(run: Run, tmp_path: Path) -> None:
    records = [one for one in hospital() if one["resourceType"] != "Consent"]
    lines = [feed_line(number, one) for number, one in enumerate(records, 1)]

    report = run(Lake(tmp_path), Pages([b"\n".join(lines)]))

    assert report.closed.reasons == {"not-joined": 8}
    assert describe_closed(report) == [
        "Of the records looked at, 8 are out: 8 whose patient has not joined.",
        "Nothing may be used for research: nobody has joined, or everybody opted out.",
    ]


def test_a_rebuild_says_so_too(run: Run, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    by_batches = run(lake, first_feed()).closed

    with LakeWriter(lake, KEY) as writer:
        rebuilt = writer.rebuild("silver", NOW_MS).closed

    assert by_batches.reasons["not-joined"] == 2
    assert rebuilt.reasons == by_batches.reasons


def test_a_line_about_decisions_that_cannot_be_read_keeps_everybody_out(
    run: Run, tmp_path: Path
) -> None:
    lake = Lake(tmp_path)
    run(lake, first_feed())

    run(lake, Pages([b'{"decision": 9, "type": 7}']))

    assert read_small_table(lake, "deid").num_rows == 0
    assert read_small_table(lake, "gold/condition_flat").num_rows == 0


def test_a_record_whose_newer_version_is_not_good_is_out_until_it_is_clear(
    run: Run, tmp_path: Path
) -> None:
    lake = Lake(tmp_path)
    run(lake, first_feed())
    bad = encounter("enc-two", "p-two", period={"start": "2026-03-04", "end": "2026-03-01"})

    run(lake, Pages([feed_line(14, bad, version=2)]))
    stays = resources(lake, "deid", "Encounter")
    run(lake, Pages([feed_line(15, encounter("enc-two", "p-two"), version=3)]))

    stay = pseudonym(KEY, "Encounter/enc-two")
    assert stay not in stays
    assert stay in resources(lake, "deid", "Encounter")
    held = {row["id"] for row in read_small_table(lake, "quarantine").to_pylist()}
    assert held == {"enc-bad", None}


def _list_findings(lake: Lake, rule: str) -> set[str]:
    findings = read_small_table(lake, "findings").to_pylist()
    return {row["key"] for row in findings if rule in row["reasons"]}


def test_a_patient_who_is_deleted_takes_their_records_along(run: Run, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    run(lake, first_feed())

    run(lake, Pages([feed_line(14, patient("p-one"), version=3, method="DELETE")]))
    gone = [resources(lake, "deid", kind) for kind in ("Patient", "Encounter", "Condition")]
    said = _list_findings(lake, "patient-not-deleted")
    run(lake, Pages([feed_line(15, patient("p-one"), version=4)]))

    assert [len(found) for found in gone] == [1, 2, 1]
    assert {"Encounter/enc-one", "Condition/cond-one"} <= said
    assert not _list_findings(lake, "patient-not-deleted")
    assert len(resources(lake, "deid", "Condition")) == 2


def test_a_term_that_ends_closes_without_a_change_in_the_feed(tmp_path: Path) -> None:
    lake, first = Lake(tmp_path), first_feed()
    until: Any = {"period": {"start": "2026-01-01", "end": "2026-12-01"}}
    lines = decision_lines([*hospital(), consent("p-one", "joining", **until)], start=3)
    feed = Pages([*first.content, b"\n".join(lines)])
    run_once(lake, feed, deid_key=KEY, now_ms=NOW_MS)
    people = resources(lake, "deid", "Patient")

    run_once(lake, Pages([]), deid_key=KEY, now_ms=NOW_MS + 30 * 24 * 3600 * 1000)

    assert len(people) == 2
    assert resources(lake, "deid", "Patient") == [pseudonym(KEY, "Patient/p-two")]
    assert read_small_table(lake, "gold/condition_flat").num_rows == 1


@pytest.mark.parametrize("before_the_change", ["a run", "nothing", "a run and the view again"])
def test_a_users_own_table_loses_whoever_leaves(
    run: Run, tmp_path: Path, before_the_change: str
) -> None:
    lake = Lake(tmp_path)
    run(lake, first_feed())
    view = {"resource": "Patient", "name": "sexes", "status": "active",
            "select": [{"column": [{"name": "sex", "path": "gender"}]}]}  # fmt: skip
    # As `ehr lake view` does.
    write_view_table(lake, save_definition(lake, view))
    if before_the_change != "nothing":
        run(lake, Pages([]))
    if before_the_change == "a run and the view again":
        write_view_table(lake, save_definition(lake, view))
    before = read_small_table(lake, "gold/sexes").to_pylist()

    run(lake, changes_after_first_feed())

    assert sorted(row["sex"] for row in before) == ["female", "male"]
    assert read_small_table(lake, "gold/sexes").to_pylist() == [{"sex": "male"}]


def test_the_lakes_own_reports_are_no_change(run: Run, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    report = run(lake, first_feed())
    reports = build_measure_reports(report.quality, "2026-11-22T08:00:00Z")
    lines = [feed_line(14 + number, one) for number, one in enumerate(reports)]

    again = run(lake, Pages([b"\n".join(lines)]))

    assert (again.landed, again.written) == (0, frozenset())
    assert again.last_position == 13 + len(reports)


def test_a_second_writer_is_refused(run: Run, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    run(lake, first_feed())

    with (
        LakeWriter(lake, KEY),
        pytest.raises(Conflict, match="Another process"),
    ):
        run(lake, first_feed())


def test_facts_that_others_tell_close_and_open_records(run: Run, tmp_path: Path) -> None:
    hiv = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}
    closed = consent("p-two", "restriction", permit=False, securityLabel=[hiv])
    links = [
        {"type": "replaces", "other": {"reference": f"Patient/{name}"}}
        for name in ("p-one", "p-two")
    ]
    lake = Lake(tmp_path)
    run(lake, first_feed([closed, patient("p-new", link=links)]))
    conditions = [pseudonym(KEY, f"Condition/cond-{name}") for name in ("one", "two")]
    before = resources(lake, "deid", "Condition")

    def facts_line(number: int, name: str, labels: list[str], version: int = 1) -> bytes:
        line = {
            "decision": number, "type": "Condition", "id": f"cond-{name}", "version": version,
            "author": "ha-harbour",
            "facts": {"patients": [f"p-{name}"], "labels": labels, "added_labels": labels},
        }  # fmt: skip
        return json.dumps(line).encode()

    # What closes one account closes those merged with it.
    run(lake, Pages([facts_line(20, "one", ["HIV"]) + b"\n" + facts_line(21, "two", ["HIV"])]))
    labelled = resources(lake, "deid", "Condition")
    run(lake, Pages([facts_line(22, "one", []) + b"\n" + facts_line(23, "two", [], version=7)]))

    assert before == sorted(conditions)
    assert labelled == []
    # The last line is about a version that has not come yet.
    assert resources(lake, "deid", "Condition") == [conditions[0]]


def test_views_over_silver_keep_identities(undisturbed: tuple[Lake, LakeReport]) -> None:
    lake, _ = undisturbed

    people, encounters = (
        run_identified_view(lake, load_view(name)).to_pylist()
        for name in ("patient_demographics", "encounter_flat")
    )

    assert sorted(row["id"] for row in people) == ["p-one", "p-three", "p-two"]
    assert "p-one" in {row["patient_id"] for row in encounters}


@pytest.mark.spark
def test_a_view_file_runs_over_deid(
    spark: SparkSession, undisturbed: tuple[Lake, LakeReport], tmp_path: Path
) -> None:
    lake, _ = undisturbed
    file = tmp_path / "view.json"
    view = {"resource": "Patient", "select": [{"column": [{"name": "g", "path": "gender"}]}]}
    file.write_text(json.dumps(view))

    rows = run_view(spark, lake, read_view_file(file)).collect()
    assert sorted(row["g"] for row in rows) == ["female", "male"]
    with pytest.raises(Invalid):
        run_view(spark, lake, read_view_file(file), source="bronze")
