"""Results of the quality gate: counts per expectation and table, never a value of a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import orjson

from ehr_etl.atomic_files import replace_file
from ehr_etl.lake import Lake


@dataclass(frozen=True)
class ExpectationResult:
    """One expectation: how many rows were evaluated, and how many did not meet it."""

    name: str
    success: bool
    evaluated: int
    unexpected: int


@dataclass(frozen=True)
class TableQuality:
    """The results of one table."""

    table: str
    rows: int
    results: tuple[ExpectationResult, ...]

    @property
    def success(self) -> bool:
        """Say whether every expectation was met."""
        return all(result.success for result in self.results)


def write_quality_results(lake: Lake, tables: Sequence[TableQuality]) -> None:
    """Write one JSON file per table, whole or not at all."""
    lake.quality_folder.mkdir(parents=True, exist_ok=True)
    for table in tables:
        target = lake.quality_folder / f"{table.table}.json"
        content = {**asdict(table), "success": table.success}
        replace_file(target, orjson.dumps(content, option=orjson.OPT_INDENT_2))


def read_quality_results(lake: Lake) -> tuple[TableQuality, ...]:
    """Read the results of the last run, by table."""
    tables = []
    for file in sorted(lake.quality_folder.glob("*.json")):
        content = orjson.loads(file.read_bytes())
        results = tuple(ExpectationResult(**result) for result in content["results"])
        tables.append(TableQuality(content["table"], content["rows"], results))
    return tuple(tables)
