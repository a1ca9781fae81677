"""Promotion to gold: rows are checked before a table is switched, and held where they fail.

The rows that change are checked, so the cost follows the change: in one pass (`row_screen`), and
where that finds a fault, by Great Expectations, which names it. Of a record whose row fails, the
last good row stays in gold, if the record is still there for research: what a patient has withdrawn
leaves at once. A newer version that is good takes its place. The lake's own tables have
expectations; a user's view has none.

Held records are kept in `promotions.json`: by pseudonym, with the names of the expectations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ehr_etl.atomic_files import drop_partial_file, replace_file
from ehr_etl.data_quality.expectations import (
    find_faulty_rows,
    list_holding_expectations,
    load_suite,
)
from ehr_etl.data_quality.row_screen import are_plainly_met
from ehr_etl.gold.library import list_view_names
from ehr_etl.lake import GOLD_BUCKET, GOLD_CARRIED, GOLD_KEY, Lake, gold_table_name
from ehr_etl.sql_on_fhir import ViewDefinition
from ehr_etl.tables.bucketed import read_buckets

__all__ = ["HeldPromotion", "forget_held", "gate_rows", "list_held_promotions"]

# View -> pseudonym of a record -> names of the expectations that its row does not meet.
_Held = dict[str, dict[str, list[str]]]


@dataclass(frozen=True)
class HeldPromotion:
    """How many records of a gold table are kept at their last good rows, by expectation."""

    table: str
    expectation: str
    records: int


def list_held_promotions(lake: Lake) -> tuple[HeldPromotion, ...]:
    """Return what is held back from gold now, by table and expectation."""
    return tuple(
        HeldPromotion(gold_table_name(view), name, count)
        for view, held in sorted(_read_held(lake).items())
        for name, count in sorted(Counter(n for names in held.values() for n in names).items())
    )


def gate_rows(
    lake: Lake,
    view: ViewDefinition,
    rows: pa.Table,
    *,
    buckets: Iterable[int],
    replaced: Collection[str] | None,
) -> pa.Table:
    """Return the rows to promote: those that pass, and the last good ones of records that fail.

    `rows` are new rows of a gold table, `buckets` where old rows of their records may be.
    `replaced` are the records that are looked at; None stands for all of the table.
    """
    if view.name not in list_view_names():
        return rows
    failed = _find_failed(view, rows)
    _save_held(lake, view.name, failed, replaced)
    if not failed:
        return rows
    keys = pa.array(sorted(failed), pa.string())
    is_failed = pc.is_in(rows.column(GOLD_KEY), keys)
    good, bad = rows.filter(pc.invert(is_failed)), rows.filter(is_failed)
    return pa.concat_tables([good, _read_last_good(lake, view, bad, buckets)])


def forget_held(lake: Lake, keys: Collection[str]) -> None:
    """Drop records that are erased from what is held, by their pseudonyms.

    What a killed process had half written of it goes as well.
    """
    drop_partial_file(lake.promotions_file)
    held = _read_held(lake)
    kept = {
        view: {key: names for key, names in records.items() if key not in keys}
        for view, records in held.items()
    }
    if kept != held:
        _write_held(lake, kept)


def _find_failed(view: ViewDefinition, rows: pa.Table) -> dict[str, list[str]]:
    if not rows.num_rows:
        return {}
    suite = load_suite(view.name)
    of_view = rows.drop_columns([*GOLD_CARRIED.values()])
    if are_plainly_met(of_view, list_holding_expectations(suite)):
        return {}
    keys = rows.column(GOLD_KEY).to_pylist()
    failed: dict[str, list[str]] = {}
    for number, names in find_faulty_rows(view.name, of_view.to_pandas(), suite).items():
        listed = failed.setdefault(keys[number], [])
        listed += [name for name in names if name not in listed]
    return failed


def _read_last_good(
    lake: Lake, view: ViewDefinition, bad: pa.Table, buckets: Iterable[int]
) -> pa.Table:
    """Return the rows that gold has of the records of some rows, and of the same patient.

    A record that is of another patient now leaves the one whose it was.
    """
    nothing = bad.schema.empty_table()
    table = gold_table_name(view.name)
    if not lake.has_table(table):
        return nothing
    delta = lake.open_table(table)
    if pa.schema(delta.schema().to_arrow()).names != bad.schema.names:
        # Of another definition of the view.
        return nothing
    old = read_buckets(delta, sorted(buckets), column=GOLD_BUCKET)
    whose = str(load_suite(view.name)["patient_column"])
    patients = {
        (row[GOLD_KEY], row[whose], row[GOLD_BUCKET])
        for row in bad.select([GOLD_KEY, whose, GOLD_BUCKET]).to_pylist()
    }
    is_kept = [
        (row[GOLD_KEY], row[whose], row[GOLD_BUCKET]) in patients
        for row in old.select([GOLD_KEY, whose, GOLD_BUCKET]).to_pylist()
    ]
    return old.filter(pa.array(is_kept, pa.bool_())).select(bad.column_names).cast(bad.schema)


def _read_held(lake: Lake) -> _Held:
    file = lake.promotions_file
    return dict(orjson.loads(file.read_bytes())) if file.exists() else {}


def _save_held(
    lake: Lake,
    view: str,
    failed: Mapping[str, list[str]],
    replaced: Collection[str] | None,
) -> None:
    """Keep what is held of a view, where it is another than before; whole or not at all."""
    held = _read_held(lake)
    before = held.get(view, {})
    gone = before.keys() if replaced is None else set(replaced)
    after = {key: names for key, names in before.items() if key not in gone} | dict(failed)
    if after == before:
        return
    _write_held(lake, {**held, view: after})


def _write_held(lake: Lake, held: Mapping[str, Mapping[str, list[str]]]) -> None:
    listed = {view: records for view, records in held.items() if records}
    replace_file(lake.promotions_file, orjson.dumps(listed, option=orjson.OPT_SORT_KEYS))
