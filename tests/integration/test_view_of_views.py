"""A view of views is a gold table as any other: it follows every change, and who leaves leaves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ehr_etl.gold.delta_views import save_definition, write_view_table
from ehr_etl.gold.library import read_definition
from ehr_etl.lake import Lake, read_small_table
from ehr_etl.lake_run import run_once
from ehr_etl.pipeline import LakeWriter
from ehr_etl.sql_on_fhir import parse_view
from ehr_privacy.deid import pseudonym
from tests.lib.feed_lines import consent
from tests.lib.lake_gateway import FakeStore
from tests.lib.lake_input import KEY, NOW_MS, condition, encounter, patient

PEOPLE = ("p1", "p2")


def run(lake: Lake, store: FakeStore) -> None:
    run_once(lake, store, deid_key=KEY, now_ms=NOW_MS)


def timeline(lake: Lake) -> Counter[tuple[str, str]]:
    """Return how many rows each person has of each type."""
    names = {pseudonym(KEY, f"Patient/{who}"): who for who in PEOPLE}
    rows = read_small_table(lake, "gold/patient_timeline").to_pylist()
    return Counter((names[row["patient_id"]], row["type"]) for row in rows)


def test_the_timeline_follows_every_type(tmp_path: Path) -> None:
    store, lake = FakeStore(), Lake(tmp_path)
    for who in PEOPLE:
        store.put(patient(who))
        store.put(consent(who, "joining"))
        store.put(encounter(f"e-{who}", who))
        store.put(condition(f"c-{who}", who, f"e-{who}"))
    run(lake, store)
    definition = read_definition(Path("patient_timeline"))
    assert write_view_table(lake, parse_view(definition)) == 4
    save_definition(lake, definition)

    store.put(condition("c2-p1", "p1", "e-p1"))
    store.put({**encounter("e-p2", "p2"), "status": "entered-in-error"})
    run(lake, store)
    expected = {("p1", "Encounter"): 1, ("p1", "Condition"): 2, ("p2", "Condition"): 1}
    assert timeline(lake) == expected

    with LakeWriter(lake, KEY) as writer:
        writer.rebuild("gold/patient_timeline", NOW_MS)
    assert timeline(lake) == expected

    store.put({**consent("p1", "joining"), "status": "inactive"})
    run(lake, store)
    assert timeline(lake) == {("p2", "Condition"): 1}
