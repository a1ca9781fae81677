"""The quality gate at the promotion to gold: Great Expectations on the small gold tables.

A failed expectation does not hold the table back: gold must lose what a patient has withdrawn at
once, good data or not. It is reported, and whoever runs a study decides by the report.
Results hold counts, never values.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import orjson

from ehr_etl.data_quality.rules import load_quality_rules
from ehr_etl.lake import Lake, count_rows, read_small_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ExpectationResult:
    """One expectation: how many rows were looked at, and how many were not as expected."""

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


def preload_great_expectations() -> threading.Thread:
    """Import Great Expectations in the background: it takes 6 to 10 s, and Spark is busy then."""
    thread = threading.Thread(
        target=_import_great_expectations, name="import-great-expectations", daemon=True
    )
    thread.start()
    return thread


def check_gold_tables(lake: Lake, names: Sequence[str]) -> tuple[TableQuality, ...]:
    """Check gold tables against their suites."""
    return tuple(
        check_table(name, read_small_table(lake, f"gold/{name}").to_pandas(), load_suite(name))
        for name in names
    )


def load_suite(name: str) -> Mapping[str, Any]:
    """Read the suite of a gold table (suites/): JSON of Great Expectations' kwargs."""
    file = files(__package__) / "suites" / f"{name}.json"
    return dict(orjson.loads(file.read_bytes()))


def check_table(name: str, frame: pd.DataFrame, suite: Mapping[str, Any]) -> TableQuality:
    """Run a suite over a table held in memory."""
    gx = _import_great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    configured = [
        gx.expectations.expectation_configuration.ExpectationConfiguration(
            type=one["type"], kwargs=one["kwargs"], meta={"name": one["name"]}
        )
        for one in suite["expectations"]
    ]
    asset = context.data_sources.add_pandas(name).add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    outcome = batch.validate(
        gx.ExpectationSuite(name=name, expectations=configured),
        result_format={"result_format": "BASIC", "partial_unexpected_count": 0},
    )
    return TableQuality(
        name, len(frame), tuple(_to_expectation_result(one, len(frame)) for one in outcome.results)
    )


def summarize_silver(lake: Lake) -> TableQuality:
    """Count what the one-pass rules found in all that was ever received, by rule."""
    received = count_rows(lake, "bronze")
    waiting = [
        reason
        for row in read_small_table(lake, "quarantine").select(["reasons", "released"]).to_pylist()
        if not row["released"]
        for reason in row["reasons"]
    ]
    names = [rule.name for rule in load_quality_rules().rules]
    names += sorted(set(waiting) - set(names))
    results = tuple(
        ExpectationResult(name, name not in waiting, received, waiting.count(name))
        for name in names
    )
    return TableQuality("silver", count_rows(lake, "silver"), results)


def write_quality_results(lake: Lake, tables: Sequence[TableQuality]) -> None:
    """Write one JSON file per table, whole or not at all."""
    lake.quality_folder.mkdir(parents=True, exist_ok=True)
    for table in tables:
        target = lake.quality_folder / f"{table.table}.json"
        partial = target.with_suffix(".partial")
        content = {**asdict(table), "success": table.success}
        partial.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
        partial.rename(target)


def read_quality_results(lake: Lake) -> tuple[TableQuality, ...]:
    """Read the results of the last run."""
    found = []
    for file in sorted(lake.quality_folder.glob("*.json")):
        content = orjson.loads(file.read_bytes())
        results = tuple(ExpectationResult(**one) for one in content["results"])
        found.append(TableQuality(content["table"], content["rows"], results))
    return tuple(found)


def _to_expectation_result(outcome: Any, rows: int) -> ExpectationResult:  # Any: GX ships no types
    counts = outcome.result
    evaluated = int(counts.get("element_count", rows))
    unexpected = int(counts.get("unexpected_count", 0 if outcome.success else evaluated))
    return ExpectationResult(
        outcome.expectation_config.meta["name"], bool(outcome.success), evaluated, unexpected
    )


def _import_great_expectations() -> Any:  # Any: GX ships no types
    # It reports usage over the network unless told not to, at import.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations
    import great_expectations.expectations.expectation_configuration

    return great_expectations
