"""The quality gate at the promotion to gold: Great Expectations on the small gold tables.

A failed expectation does not hold the table back: gold must lose what a patient has withdrawn at
once, good data or not. It is reported, and whoever runs a study decides by the report.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import orjson

from ehr_etl.data_quality.results import ExpectationResult, TableQuality
from ehr_etl.lake import Lake, gold_table_name, read_small_table
from ehr_fhir.errors import Fault

if TYPE_CHECKING:
    import pandas as pd


def preload_great_expectations() -> threading.Thread:
    """Import Great Expectations in the background: it takes 6 to 10 s, and Spark is busy then."""
    thread = threading.Thread(
        target=_import_great_expectations, name="import-great-expectations", daemon=True
    )
    thread.start()
    return thread


def check_gold_tables(lake: Lake, views: Sequence[str]) -> tuple[TableQuality, ...]:
    """Check the gold table of each view against its suite."""
    return tuple(
        check_table(
            view, read_small_table(lake, gold_table_name(view)).to_pandas(), load_suite(view)
        )
        for view in views
    )


def load_suite(view: str) -> Mapping[str, Any]:
    """Read the suite of a view: types and kwargs as Great Expectations names them."""
    file = files(__package__) / "suites" / f"{view}.json"
    if not file.is_file():
        raise Fault(f"The view {view} has no expectations: data_quality/suites/{view}.json.")
    return dict(orjson.loads(file.read_bytes()))


def check_table(name: str, frame: pd.DataFrame, suite: Mapping[str, Any]) -> TableQuality:
    """Run a suite over a table held in memory."""
    gx = _import_great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    configurations = [
        gx.expectations.expectation_configuration.ExpectationConfiguration(
            type=expectation["type"],
            kwargs=expectation["kwargs"],
            meta={"name": expectation["name"]},
        )
        for expectation in suite["expectations"]
    ]
    asset = context.data_sources.add_pandas(name).add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    validation = batch.validate(
        gx.ExpectationSuite(name=name, expectations=configurations),
        # BASIC with no examples: a result must not quote a value.
        result_format={"result_format": "BASIC", "partial_unexpected_count": 0},
    )
    results = tuple(_to_expectation_result(result, len(frame)) for result in validation.results)
    return TableQuality(name, len(frame), results)


def _to_expectation_result(result: Any, rows: int) -> ExpectationResult:  # Any: GX ships no types
    counts = result.result
    evaluated = int(counts.get("element_count", rows))
    # An expectation on the whole table counts no rows: all of them meet it, or none does.
    unexpected = int(counts.get("unexpected_count", 0 if result.success else evaluated))
    name = result.expectation_config.meta["name"]
    return ExpectationResult(name, bool(result.success), evaluated, unexpected)


def _import_great_expectations() -> Any:  # Any: GX ships no types
    # It reports usage over the network unless told not to, at import.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations
    import great_expectations.expectations.expectation_configuration

    return great_expectations
