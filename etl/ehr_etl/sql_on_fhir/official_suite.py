"""SQL on FHIR's official tests (`tests/*.json` of the specification), and their report.

The tests are run through any engine, given as a function. Rows are compared as the specification
says: as a set, and columns in order where a test names them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from ehr_etl.sql_on_fhir.definition import ViewDefinition, parse_view
from ehr_fhir import json_text
from ehr_fhir.errors import EhrError, Fault, NotFound

Row = Mapping[str, Any]  # Any: a value of any FHIR primitive, or a list of them


@dataclass(frozen=True)
class Case:
    """A test: its file and title, the resources as JSON text, the view and what is expected."""

    file: str
    title: str
    records: tuple[tuple[str, str], ...]
    view: Mapping[str, Any]
    expected_rows: Sequence[Row] | None
    expected_columns: Sequence[str] | None

    def passes(self, run: Engine) -> bool:
        """Run the test; an error passes where one is expected."""
        try:
            columns, rows = run(parse_view(self.view), self.records)
        except Fault:
            # Our own mistake is no refusal.
            return False
        except EhrError:
            return self.expected_rows is None
        if self.expected_rows is None:
            return False
        if self.expected_columns is not None and list(columns) != list(self.expected_columns):
            return False
        return _canonical(rows) == _canonical(self.expected_rows)


# Runs a view over records (resource type and JSON text); returns its columns and rows.
Engine = Callable[[ViewDefinition, Sequence[tuple[str, str]]], tuple[Sequence[str], Sequence[Row]]]


def read_cases(folder: Path) -> Iterator[Case]:
    """Read the tests of the folder `tests` of the specification."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise NotFound(f"There are no tests in {folder}: name the folder `tests` of the suite.")
    for file in files:
        suite = json_text.parse(file.read_bytes())
        # Numbers keep the digits as written: `1.0` is not `1`.
        records = tuple(
            (resource["resourceType"], json_text.serialize(resource).decode())
            for resource in suite["resources"]
        )
        for test in suite["tests"]:
            yield Case(
                file.name,
                test["title"],
                records,
                test["view"],
                None if test.get("expectError") else test["expect"],
                test.get("expectColumns"),
            )


def build_report(cases: Iterable[Case], run: Engine) -> dict[str, Any]:
    """Return the report in the form of the specification's `test-report.schema.json`."""
    report: dict[str, Any] = {}
    for case in cases:
        tests = report.setdefault(case.file, {"tests": []})["tests"]
        tests.append({"name": case.title, "result": {"passed": case.passes(run)}})
    return report


def count_passed(report: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many tests passed, and how many there are."""
    results = [test["result"]["passed"] for file in report.values() for test in file["tests"]]
    return sum(results), len(results)


def _canonical(rows: Iterable[Row]) -> list[str]:
    return sorted(
        json.dumps({name: _plain(value) for name, value in row.items()}, sort_keys=True)
        for row in rows
    )


def _plain(value: object) -> object:
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    return float(str(value)) if is_number else value
