"""The quality gate at the promotion to gold: Great Expectations on the small gold tables.

An expectation with `holds_back` is about the structure of a row: its keys, its patient, its formats
and code sets. It is checked over the rows that change, before gold is switched
(`ehr_etl.gold.promotion`). All others (completeness, plausibility, the whole table) are checked
afterwards and reported; whoever runs a study decides by the report.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from functools import cache
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


@cache
def load_suite(view: str) -> Mapping[str, Any]:
    """Read the suite of a view: types and kwargs as Great Expectations names them."""
    file = files(__package__) / "suites" / f"{view}.json"
    if not file.is_file():
        raise Fault(f"The view {view} has no expectations: data_quality/suites/{view}.json.")
    suite = dict(orjson.loads(file.read_bytes()))
    for expectation in suite["expectations"]:
        if expectation.get("holds_back") and not _is_of_each_row(expectation):
            raise Fault(f"{view}: {expectation['name']} is of no single row and holds none back.")
    return suite


def list_holding_expectations(suite: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the expectations of a suite that hold a row back which does not meet them."""
    return [expectation for expectation in suite["expectations"] if expectation.get("holds_back")]


def find_expectation(table: str, name: str) -> Mapping[str, Any] | None:
    """Return an expectation of a table's suite; None for a table without one."""
    if not (files(__package__) / "suites" / f"{table}.json").is_file():
        return None
    expectations = load_suite(table)["expectations"]
    return next((found for found in expectations if found["name"] == name), None)


def find_faulty_rows(
    name: str, frame: pd.DataFrame, suite: Mapping[str, Any]
) -> dict[int, list[str]]:
    """Return number of a row -> names of the expectations for which it is held back."""
    of_rows = list_holding_expectations(suite)
    if frame.empty or not of_rows:
        return {}
    numbered = frame.reset_index(drop=True)
    # The numbers of rows, and no value: they are in no result that is kept.
    details = {"result_format": "COMPLETE", "partial_unexpected_count": 0}
    found: dict[int, list[str]] = {}
    for result in _validate(name, numbered, of_rows, details):
        if result.success:
            continue
        # An expectation that could not be evaluated is met by no row.
        numbers = result.result.get("unexpected_index_list") or range(len(numbered))
        for number in numbers:
            found.setdefault(int(number), []).append(result.expectation_config.meta["name"])
    return found


def check_table(name: str, frame: pd.DataFrame, suite: Mapping[str, Any]) -> TableQuality:
    """Run a suite over a table held in memory."""
    # BASIC with no examples: a result must not quote a value.
    details = {"result_format": "BASIC", "partial_unexpected_count": 0}
    validated = _validate(name, frame, suite["expectations"], details)
    results = tuple(_to_expectation_result(result, len(frame)) for result in validated)
    return TableQuality(name, len(frame), results)


def _is_of_each_row(expectation: Mapping[str, Any]) -> bool:
    is_of_values = str(expectation["type"]).startswith("expect_column_values_")
    return is_of_values and "mostly" not in expectation["kwargs"]


def _validate(
    name: str,
    frame: pd.DataFrame,
    expectations: Sequence[Mapping[str, Any]],
    result_format: Mapping[str, Any],
) -> Sequence[Any]:  # Any: GX ships no types
    gx = _import_great_expectations()
    configurations = [
        gx.expectations.expectation_configuration.ExpectationConfiguration(
            type=expectation["type"],
            kwargs=expectation["kwargs"],
            meta={"name": expectation["name"]},
        )
        for expectation in expectations
    ]
    source = _open_context().data_sources.add_or_update_pandas(name)
    asset = source.add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    validation = batch.validate(
        gx.ExpectationSuite(name=name, expectations=configurations), result_format=result_format
    )
    return list(validation.results)


@cache
def _open_context() -> Any:  # Any: GX ships no types
    """Return the context of this process, in memory alone: it has no folder of its own.

    By default Great Expectations names a temporary folder for a site with results, which an erasure
    would not reach.
    """
    gx = _import_great_expectations()
    from great_expectations.data_context.types import base

    config = base.DataContextConfig(
        store_backend_defaults=base.InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=base.ProgressBarsConfig(globally=False),
    )
    return gx.get_context(mode="ephemeral", project_config=config)


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
