"""Mapping rates: how many rows of each table have a standard concept, and why others have none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ehr_etl.lake import Lake
from ehr_etl.omop.cdm import CONCEPT_COLUMNS, load_cdm, table_name
from ehr_etl.omop.state import OmopState, load_state
from ehr_fhir.errors import NotFound

__all__ = [
    "Exclusion",
    "MappingRate",
    "MappingReport",
    "draw_mapping_rates",
    "read_mapping_report",
]


@dataclass(frozen=True)
class MappingRate:
    """How many rows of a table have a concept; what is missing, by code system and reason."""

    table: str
    rows: int
    mapped: int
    system: str = ""
    reason: str = ""

    @property
    def percent(self) -> float | None:
        """Return the mapped part in per cent; None of no rows."""
        return round(100 * self.mapped / self.rows, 1) if self.rows else None


@dataclass(frozen=True)
class Exclusion:
    """Records of a type that gave no row, or were kept with a remark, for one reason."""

    resource_type: str
    reason: str
    records: int


@dataclass(frozen=True)
class MappingReport:
    """What the OMOP tables of a lake are made with, and how well."""

    state: OmopState
    rates: tuple[MappingRate, ...]
    # The same by code system.
    by_system: tuple[MappingRate, ...]
    unmapped: tuple[MappingRate, ...]
    exclusions: tuple[Exclusion, ...]
    # By table of the CDM: its rows, and whether every, some or no column is ever filled.
    populated: Mapping[str, tuple[int, str]]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {
            "used": self.state.describe_run(),
            "rates": [
                {"table": rate.table, "rows": rate.rows, "mapped": rate.mapped,
                 "percent": rate.percent}
                for rate in self.rates
            ],
            "by_system": [
                {"table": rate.table, "system": rate.system, "rows": rate.rows,
                 "mapped": rate.mapped, "percent": rate.percent}
                for rate in self.by_system
            ],
            "unmapped": [
                {"table": rate.table, "system": rate.system, "reason": rate.reason,
                 "rows": rate.rows}
                for rate in self.unmapped
            ],
            "excluded": [
                {"resource_type": item.resource_type, "reason": item.reason,
                 "records": item.records}
                for item in self.exclusions
            ],
            "populated": {
                name: {"rows": rows, "columns": columns}
                for name, (rows, columns) in self.populated.items()
            },
        }  # fmt: skip


def read_mapping_report(lake: Lake) -> MappingReport:
    """Count mapped rows, unmapped codes and excluded records in the tables."""
    state = load_state(lake)
    if state is None or not lake.has_table(table_name("person")):
        raise NotFound("The lake has no OMOP tables: run `ehr lake omop build` first.")
    rates = []
    for table, column in CONCEPT_COLUMNS.items():
        concepts = _read(lake, table, [column]).column(column)
        mapped = pc.sum(pc.greater(concepts, 0)).as_py() or 0
        rates.append(MappingRate(table, len(concepts), mapped))
    unmapped = _count_unmapped(lake)
    return MappingReport(
        state=state,
        rates=tuple(rates),
        by_system=_rate_systems(lake, unmapped),
        unmapped=unmapped,
        exclusions=_count_exclusions(lake),
        populated={name: _describe_table(lake, name) for name in load_cdm()},
    )


def _count_unmapped(lake: Lake) -> tuple[MappingRate, ...]:
    rows = _read(lake, "unmapped_codes", ["table_name", "field", "system", "reason"])
    counts: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    for row in _group(rows, ["table_name", "field", "system", "reason"]):
        if CONCEPT_COLUMNS.get(row["table_name"]) == row["field"]:
            counts[row["table_name"], row["system"] or "", row["reason"]] += row["rows"]
    return tuple(
        MappingRate(table, count, 0, system, reason)
        for (table, system, reason), count in sorted(counts.items())
    )


def _rate_systems(lake: Lake, unmapped: Sequence[MappingRate]) -> tuple[MappingRate, ...]:
    """Return the rates by table and code system, of rows that records of persons gave."""
    missing: defaultdict[tuple[str, str], int] = defaultdict(int)
    for rate in unmapped:
        missing[rate.table, rate.system] += rate.rows
    rows = _read(lake, "source_records", ["table_name", "system"])
    groups = _group(rows.filter(pc.is_valid(rows.column("system"))), ["table_name", "system"])
    return tuple(
        MappingRate(table, number, number - missing[table, system], system)
        for table, system, number in sorted(
            (row["table_name"], row["system"], row["rows"]) for row in groups
        )
    )


def _count_exclusions(lake: Lake) -> tuple[Exclusion, ...]:
    rows = _read(lake, "source_records", ["resource_type", "reason"])
    groups = _group(rows.filter(pc.is_valid(rows.column("reason"))), ["resource_type", "reason"])
    return tuple(
        sorted(
            (Exclusion(row["resource_type"], row["reason"], row["rows"]) for row in groups),
            key=lambda item: (item.resource_type, item.reason),
        )
    )


def _describe_table(lake: Lake, name: str) -> tuple[int, str]:
    """Return the rows of a table, and which of its columns have a value anywhere.

    Batch by batch: a vocabulary has tens of millions of rows.
    """
    columns = [field.name for field in load_cdm()[name]]
    table = lake.open_table(table_name(name)).to_pyarrow_dataset()
    rows, filled = 0, set[str]()
    for batch in table.to_batches(columns=columns):
        rows += batch.num_rows
        filled |= {own for own in columns if batch.column(own).null_count < batch.num_rows}
    if not filled:
        return rows, "none"
    return rows, "all" if len(filled) == len(columns) else "some"


def _read(lake: Lake, name: str, columns: Sequence[str]) -> pa.Table:
    table = lake.open_table(table_name(name)).to_pyarrow_dataset()
    return pa.table(table.to_table(columns=list(columns)))


def _group(rows: pa.Table, columns: Sequence[str]) -> list[dict[str, Any]]:
    grouped = rows.group_by(list(columns)).aggregate([([], "count_all")])
    return [{**row, "rows": row["count_all"]} for row in grouped.to_pylist()]


def draw_mapping_rates(report: MappingReport, file: Path) -> None:
    """Draw the mapped part of each table as bars, with the rows that stand for them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rates = [rate for rate in report.rates if rate.rows]
    figure = Figure(figsize=(8, 1.4 + 0.4 * max(1, len(rates))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    places = range(len(rates))
    axes.barh(places, [100] * len(rates), color="#ffffff", edgecolor="black", linewidth=0.6,
              hatch="//", label="concept 0")  # fmt: skip
    axes.barh(places, [rate.percent or 0 for rate in rates], color="#0072B2", edgecolor="black",
              linewidth=0.6, label="standard concept")  # fmt: skip
    for place, rate in zip(places, rates, strict=True):
        axes.text(101, place, f"{rate.percent:g} % of {rate.rows:,}", va="center", fontsize=9)
    axes.set_yticks(list(places), [rate.table for rate in rates])
    axes.invert_yaxis()
    axes.set_xlim(0, 140)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.set_xlabel("rows, per cent")
    axes.set_title(f"Rows with a standard concept; vocabulary release: {report.state.release}",
                   loc="left", fontsize=11)  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower right", frameon=False, ncols=2)
    figure.savefig(file, format="png", dpi=120, metadata={"Title": "OMOP mapping rates"})
