"""The lake from feed to gold: what arrives, what waits, what never leaves, what a crash does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ehr_etl.change_feed.held_facts import HELD_FACT_SCHEMA
from ehr_etl.change_feed.landing import FeedSource
from ehr_etl.gold.library import read_view_file
from ehr_etl.gold.tables import run_identified_views, run_view
from ehr_etl.lake import Lake, read_small_table
from ehr_etl.pipeline import STEPS, LakeReport, run_once
from ehr_etl.tables import consent_tables, deid, silver
from ehr_etl.tables.quarantine import release_version
from ehr_fhir.errors import EhrError, Invalid, NotFound
from ehr_privacy.consent.label_rules import parse_labels
from ehr_privacy.deid import pseudonym
from tests.lib.feed_lines import consent, feed_line, synthea
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
    patient,
    resources,
    rows,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]

Run = Callable[..., LakeReport]


@pytest.fixture(scope="module")
def run(spark: SparkSession) -> Run:
    def once(lake: Lake, feed: FeedSource, **more: Any) -> LakeReport:
        return run_once(spark, lake, feed, deid_key=KEY, now_ms=NOW_MS, **more)

    return once


@pytest.fixture(scope="module")
def undisturbed(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, LakeReport]:
    lake = Lake(tmp_path_factory.mktemp("undisturbed"))
    return lake, run(lake, first_feed())


def test_every_line_is_accounted_for(undisturbed: tuple[Lake, LakeReport]) -> None:
    _, report = undisturbed

    assert report.landed == 14
    assert (report.silver.taken, report.silver.passed, report.silver.quarantined) == (14, 12, 2)
    assert (report.rows_in("bronze"), report.rows_in("silver"), report.rows_in("quarantine")) == (
        14,
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
    assert found["enc-one"]["patients"] == ["p-one"]


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
    identifying |= {one["value"] for one in person["telecom"]} | {person["birthDate"]}
    identifying |= {part for one in person["address"] for part in (*one["line"], one["city"])}
    for one in records:
        if one["resourceType"] == "Practitioner":
            identifying |= {name["family"] for name in one["name"]}
    assert len(resources(lake, "deid", "Observation")) > 10
    assert sorted(word for word in identifying if word in text) == []


def test_a_run_that_is_cut_short_anywhere_ends_as_an_undisturbed_one(
    run: Run,
    undisturbed: tuple[Lake, LakeReport],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake = Lake(tmp_path)

    def stop_at(name: str) -> Callable[[str, str], None]:
        def progress(step: str, sentence: str) -> None:
            if step == name:
                raise KeyboardInterrupt

        return progress

    def crash_after(module: Any, name: str) -> None:
        original = getattr(module, name)
        cut: list[str] = []

        def crashing(*arguments: Any) -> None:
            original(*arguments)
            cut.append(name)
            raise RuntimeError("cut")

        with monkeypatch.context() as patch:
            patch.setattr(module, name, crashing)
            with pytest.raises((RuntimeError, EhrError)):
                run(lake, first_feed())
        assert cut == [name]

    with pytest.raises(KeyboardInterrupt):
        run(lake, first_feed(), on_progress=stop_at("bronze"))
    # After the table's commit and before the stream's own: the batch comes a second time.
    crash_after(silver, "merge_into_quarantine")
    crash_after(silver, "merge_into_silver")
    crash_after(consent_tables, "write_small_table")
    with pytest.raises(KeyboardInterrupt):
        run(lake, first_feed(), on_progress=stop_at("gold"))

    run(lake, first_feed())

    for table in TABLES:
        assert rows(lake, table) == rows(undisturbed[0], table), table


def test_changes_follow_through_to_every_table(
    run: Run, spark: SparkSession, tmp_path: Path
) -> None:
    lake, first = Lake(tmp_path), first_feed()
    run(lake, first)
    position = 14
    changes = [
        feed_line(position, encounter("enc-one", "p-one"), version=2, method="DELETE"),
        feed_line(position + 1, consent("p-two", "research", permit=False)),
        # An older version that comes late changes nothing.
        feed_line(position + 2, encounter("enc-four", "p-two", status="planned"), version=0),
    ]

    run(lake, Pages([*first.content, b"\n".join(changes) + b"\n"]))

    stays = {row["id"]: row for row in read_small_table(lake, "silver").to_pylist()}
    assert stays["enc-one"]["deleted"]
    assert stays["enc-one"]["resource"] is None
    assert json.loads(stays["enc-four"]["resource"])["status"] == "finished"
    assert resources(lake, "deid", "Patient") == [pseudonym(KEY, "Patient/p-one")]
    assert read_small_table(lake, "gold/encounter_flat").num_rows == 0
    assert read_small_table(lake, "gold/condition_flat").num_rows == 1

    release_version(spark, lake, 11)

    assert "enc-bad" in {row["id"] for row in read_small_table(lake, "silver").to_pylist()}
    held = {
        row["position"]: row["released"] for row in read_small_table(lake, "quarantine").to_pylist()
    }
    assert held == {11: True, None: False}
    with pytest.raises(NotFound):
        release_version(spark, lake, 999)


def test_labels_are_by_the_rules_of_the_run_and_a_merged_account_closes_with_them(
    run: Run, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hiv = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}
    closed = consent("p-two", "restriction", permit=False, securityLabel=[hiv])
    links = [
        {"type": "replaces", "other": {"reference": f"Patient/{name}"}}
        for name in ("p-one", "p-two")
    ]
    by_hand = [
        condition(f"hand-{name}", f"p-{name}", f"enc-{name}", meta={"security": [hiv]})
        for name in ("one", "two")
    ]
    lake = Lake(tmp_path)
    run(lake, first_feed([closed, patient("p-new", link=links), *by_hand]))
    expected = [pseudonym(KEY, f"Condition/cond-{name}") for name in ("one", "two")]
    assert resources(lake, "deid", "Condition") == sorted(expected)

    later = """
number = 2
[systems]
sct = "http://snomed.info/sct"
[[rules]]
label = "HIV"
sct.codes = ["38341003"]
"""
    monkeypatch.setattr(deid, "load_labels", lambda: parse_labels(later))
    tables = consent_tables.refresh_consent_tables(spark, lake)
    deid.refresh_deid(spark, lake, tables, HELD_FACT_SCHEMA.empty_table(), KEY, NOW_MS)

    assert resources(lake, "deid", "Condition") == []
    assert resources(lake, "deid", "Encounter") != []


def test_held_facts_close_records_to_research(
    run: Run, spark: SparkSession, tmp_path: Path
) -> None:
    """What others say of a record counts, and a silver table of older rules is worked out anew."""
    hiv = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}
    closed = [
        consent("p-one", "restriction", permit=False, securityLabel=[hiv]),
        consent("p-two", "restriction", permit=False, dataPeriod={"start": "1990-01-01",
                                                                 "end": "1990-12-31"}),
    ]  # fmt: skip
    lake = Lake(tmp_path)
    run(lake, first_feed(closed))
    conditions = [pseudonym(KEY, f"Condition/cond-{name}") for name in ("one", "two")]
    assert resources(lake, "deid", "Condition") == sorted(conditions)
    stays = resources(lake, "deid", "Encounter")
    lake.facts_version.write_text("1", "utf-8")

    run(lake, HeldPages(b"""\
{"type":"Condition","id":"cond-one","kind":"label","value":"HIV","source":"Medication/m"}
{"type":"Condition","id":"cond-two","kind":"date","value":"1990-05-05","source":"update"}
"""))  # fmt: skip

    assert resources(lake, "deid", "Condition") == []
    assert resources(lake, "deid", "Encounter") == stays
    assert len(read_small_table(lake, "consent/held_fact").to_pylist()) == 2
    run(lake, HeldPages(b""))
    assert resources(lake, "deid", "Condition") == sorted(conditions)


class HeldPages:
    """A feed without changes that has held facts."""

    def __init__(self, page: bytes) -> None:
        self.page = page

    def pages(self, after: int) -> Iterator[bytes]:
        yield from ()

    def held_fact_pages(self) -> Iterator[bytes]:
        yield self.page


def test_views_over_silver_keep_identities(
    spark: SparkSession, undisturbed: tuple[Lake, LakeReport]
) -> None:
    lake, _ = undisturbed

    frames = run_identified_views(spark, lake)

    people = frames["patient_demographics"].collect()
    assert sorted(row["id"] for row in people) == ["p-one", "p-three", "p-two"]
    assert "p-one" in {row["patient_id"] for row in frames["encounter_flat"].collect()}


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
