"""The OMOP tables of a lake: columns of the CDM, keys without identifiers, changes by person."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ehr_etl.lake import Lake
from ehr_etl.omop.cdm import ETL_TABLES, build_table, load_cdm, table_name
from ehr_etl.omop.identifiers import integer_key, person_key
from ehr_etl.omop.state import OmopState, load_state, record_run, runs_file
from ehr_etl.omop.writer import list_omop_tables
from ehr_etl.tables.deid import deid_key_text
from tests.lib.lake_input import KEY, NOW_MS, PLANTED, everything_in
from tests.lib.lake_input import patient as planted_patient
from tests.lib.omop_lake import RXNORM, OmopLake, coding, hospital, sorted_rows

TABLES = (*load_cdm(), *ETL_TABLES)


@pytest.fixture
def bench(tmp_path: Path) -> OmopLake:
    made = OmopLake(Lake(tmp_path / "lake"))
    made.put(*hospital())
    made.rebuild()
    return made


def all_rows(bench: OmopLake) -> dict[str, list[str]]:
    return {name: sorted_rows(bench.lake, name) for name in TABLES}


def test_every_table_of_the_cdm_is_there_with_its_columns_and_types(bench: OmopLake) -> None:
    # As OHDSI's CommonDataModel 5.4 lists them.
    assert len(load_cdm()) == 39
    assert sum(len(fields) for fields in load_cdm().values()) == 432
    types = {"integer": "int64", "float": "double", "date": "date32[day]",
             "datetime": "timestamp[us]"}  # fmt: skip
    for name, fields in load_cdm().items():
        schema = (
            DeltaTable(str(bench.lake.table_path(table_name(name)))).to_pyarrow_dataset().schema
        )
        found = {field.name: str(field.type) for field in schema}
        assert {own: found.pop(own) for own in ("_bucket", "_key")}
        assert list(found) == [field.name for field in fields]
        for field in fields:
            assert found[field.name] == types.get(field.datatype, "string"), field


def test_a_column_that_the_cdm_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="death has no column why"):
        build_table("death", [{"why": 1}])


def test_no_two_of_two_hundred_thousand_records_share_a_key() -> None:
    keys = {person_key(deid_key_text(KEY, "Patient", str(number))) for number in range(200_000)}

    assert len(keys) == 200_000
    assert min(keys) > 0
    assert max(keys) < 2**63


def test_a_key_is_of_the_logical_id_under_the_lakes_key_and_of_no_business_identifier(
    tmp_path: Path,
) -> None:
    first, second = OmopLake(Lake(tmp_path / "one")), OmopLake(Lake(tmp_path / "two"))
    first.put(planted_patient("p-one"))
    other = [{"system": "urn:x", "value": "OTHER-1"}]
    second.put({**planted_patient("p-one"), "identifier": other})
    for made in (first, second):
        made.rebuild()

    (row,) = first.rows("person")
    assert row["person_id"] == person_key(deid_key_text(KEY, "Patient", "p-one"))
    assert second.rows("person") == [row]
    assert integer_key("person", "Patient/p-one") != row["person_id"]


def test_no_identifier_is_in_any_table_or_log(tmp_path: Path) -> None:
    bench = OmopLake(Lake(tmp_path / "lake"))
    visit = {"resourceType": "Encounter", "id": "enc-one", "status": "finished",
             "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
             "subject": {"reference": "Patient/p-one", "display": "CHAN Tai Man"},
             "period": {"start": "2026-03-01T09:00:00+08:00"}}  # fmt: skip
    bench.put(planted_patient("p-one"), visit)
    bench.rebuild()

    assert bench.rows("visit_occurrence")
    for folder in ("omop", "omop_etl"):
        text = everything_in(bench.lake.root / folder)
        assert [planted for planted in PLANTED if planted in text] == []


def test_what_links_rows_to_records_is_outside_of_the_cdm(bench: OmopLake) -> None:
    names = {name for name, _, _ in (table.partition("/") for table in list_omop_tables())}
    pseudonym = deid_key_text(KEY, "Patient", "p1")

    assert names == {"omop", "omop_etl"}
    assert pseudonym not in everything_in(bench.lake.root / "omop")
    rows = [row for row in bench.rows("source_records") if row["record"] == pseudonym]
    assert {row["table_name"] for row in rows} == {"person", "death"}
    assert rows[0]["row_id"] == person_key(pseudonym)


def test_doing_it_again_changes_nothing(bench: OmopLake) -> None:
    before = all_rows(bench)

    assert bench.follow(*bench.resources).written == set()
    writer = bench.writer()
    writer.remap()
    assert writer.written == set()
    bench.rebuild()
    assert all_rows(bench) == before


def test_references_between_tables_lead_somewhere(bench: OmopLake) -> None:
    for name, fields in load_cdm().items():
        for field in fields:
            if field.foreign_table in ("", "concept") or not bench.rows(name):
                continue
            keys = {row[f"{field.foreign_table}_id"] for row in bench.rows(field.foreign_table)}
            told = {row[field.name] for row in bench.rows(name)} - {None}
            assert told <= keys, (name, field.name)


def test_a_medication_that_gets_another_code_changes_the_rows_of_those_who_got_it(
    bench: OmopLake,
) -> None:
    bench.put({"resourceType": "Medication", "id": "m1", "code": coding(RXNORM, "2999902")})

    written = bench.follow(("Medication", "m1")).written

    assert [row["drug_source_value"] for row in bench.rows("drug_exposure")] == ["2999902"]
    assert "omop/drug_exposure" in written
    assert "omop/condition_occurrence" not in written


def test_a_doctor_who_leaves_is_referred_to_no_more(bench: OmopLake) -> None:
    assert [row["provider_id"] is not None for row in bench.rows("visit_occurrence")] == [True]

    bench.delete("Practitioner", "d1")
    bench.follow(("Practitioner", "d1"))

    assert bench.rows("provider") == []
    assert [row["provider_id"] for row in bench.rows("visit_occurrence")] == [None]


def test_whoever_leaves_research_leaves_every_table(bench: OmopLake) -> None:
    gone = person_key(deid_key_text(KEY, "Patient", "p1"))
    mine = [key for key, one in bench.resources.items() if "p1" in json.dumps(one)]
    for key in mine:
        bench.delete(*key)
    bench.follow(*mine)

    for name in TABLES:
        assert all(row.get("person_id") != gone for row in bench.rows(name)), name
    assert [row["person_id"] for row in bench.rows("person")] != []


def test_a_record_that_moves_to_another_person_leaves_the_first(bench: OmopLake) -> None:
    other = {"reference": "Patient/p2"}
    moved = {**bench.resources["Procedure", "o1"], "subject": other, "encounter": None}
    bench.put({name: value for name, value in moved.items() if value is not None})

    bench.follow(("Procedure", "o1"))

    owner = person_key(deid_key_text(KEY, "Patient", "p2"))
    assert [row["person_id"] for row in bench.rows("procedure_occurrence")] == [owner]
    followed = all_rows(bench)
    bench.rebuild()
    assert all_rows(bench) == followed


def test_what_was_used_is_on_record(bench: OmopLake) -> None:
    state = load_state(bench.lake)
    assert state is not None
    used = {row["name"]: row["value_as_string"] for row in bench.rows("metadata")}

    assert used == state.describe_run()
    assert used["cdm_version"] == "v5.4"
    assert used["vocabulary_release"] == "none"
    assert used["implementation_guide"] == "hl7.fhir.uv.omop 2.0.0-ballot"
    assert used["software"].startswith("eHR Commons ")
    assert all(row["metadata_datetime"] for row in bench.rows("metadata"))


def test_each_day_of_runs_and_each_change_of_what_is_used_is_a_line_of_the_log(
    bench: OmopLake,
) -> None:
    day = 24 * 3600 * 1000
    later = OmopState("v2", "digest")
    for state, now_ms in (
        (OmopState(), NOW_MS + 1), (OmopState(), NOW_MS + day), (later, NOW_MS + day),
        (later, NOW_MS + day + 1),
    ):  # fmt: skip
        record_run(bench.lake, state, now_ms)

    lines = [json.loads(line) for line in runs_file(bench.lake).read_text().splitlines()]
    assert [(line["time"], line["vocabulary_release"]) for line in lines] == [
        ("2026-11-22T08:00:00+00:00", "none"),
        ("2026-11-23T08:00:00+00:00", "none"),
        ("2026-11-23T08:00:00+00:00", "v2"),
    ]
    assert {line["cdm_version"] for line in lines} == {"v5.4"}


def test_filter_rules_are_one_set_and_a_change_of_them_makes_all_tables_anew(
    bench: OmopLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ehr_etl.omop import state as module

    state = load_state(bench.lake)
    assert state is not None
    before = module.omop_digest(state, "deid")
    monkeypatch.setattr(module, "mappings_digest", lambda: "other rules")

    assert module.omop_digest(state, "deid") != before


changes = st.lists(
    st.tuples(st.sampled_from(("put", "move", "delete")), st.integers(0, 14)),
    min_size=1, max_size=8,
)  # fmt: skip


@settings(max_examples=12,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(steps=st.lists(changes, min_size=1, max_size=4))
def test_changes_give_what_a_build_from_nothing_gives(
    tmp_path_factory: pytest.TempPathFactory, steps: Any
) -> None:
    everything = hospital()
    bench = OmopLake(Lake(tmp_path_factory.mktemp("omop") / "lake"))
    bench.put(*everything[:6])
    bench.rebuild()
    for listed in steps:
        touched = []
        for act, number in listed:
            one = everything[number % len(everything)]
            key = (one["resourceType"], one["id"])
            if act == "delete" and key in bench.resources:
                bench.delete(*key)
            elif act == "move" and "subject" in one:
                bench.put({**one, "subject": {"reference": "Patient/p2"}})
            elif act != "delete":
                changed = {"gender": "male"} if one["resourceType"] == "Patient" else {}
                bench.put({**one, **changed})
            touched.append(key)
        bench.follow(*touched)
    followed = all_rows(bench)

    bench.rebuild()

    assert all_rows(bench) == followed
