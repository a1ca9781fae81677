"""What the quality gate keeps, sends and shows holds no value of a row, whatever the row is."""

from __future__ import annotations

import logging
from pathlib import Path

import orjson
import pandas as pd
import pytest

from ehr_etl.data_quality import expectations
from ehr_etl.data_quality.expectations import check_table, find_faulty_rows, load_suite
from ehr_etl.data_quality.measure_reports import build_measure_reports
from ehr_etl.data_quality.results import write_quality_results
from ehr_etl.gold.library import list_view_names, load_view
from ehr_etl.lake import Lake
from ehr_etl.sql_on_fhir import compile_view
from ehr_portal.oversight.quality import newest_reports
from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]

MARK = "zebra"
NUMBER = 987_654_321


def marked_frame(view: str, marked: str) -> pd.DataFrame:
    """Return rows of which one column holds marked texts and a marked number."""
    columns = compile_view(load_view(view)).column_names
    rows: list[dict[str, object]] = [
        {name: f"{MARK}-{name}" if name == marked else None for name in columns},
        {name: f"{MARK}-{name}" if name == marked else "a" * 32 for name in columns},
        {name: NUMBER if name == marked else "b" * 32 for name in columns},
    ]
    return pd.DataFrame(rows, columns=list(columns))


CASES = [
    (view, column)
    for view in list_view_names()
    for column in compile_view(load_view(view)).column_names
]


@pytest.mark.parametrize(("view", "column"), CASES)
def test_no_marked_value_is_kept_sent_shown_or_logged(
    portal: PortalHouse,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    view: str,
    column: str,
) -> None:
    frame = marked_frame(view, column)

    with caplog.at_level(logging.DEBUG):
        held = find_faulty_rows(view, frame, load_suite(view))
        found = check_table(view, frame, load_suite(view))
        write_quality_results(Lake(tmp_path), [found])
    (report,) = build_measure_reports([found], "2026-11-22T08:00:00Z")
    portal.fake.resources[("MeasureReport", report["id"])] = report
    steward = portal.log_in("steward")
    shown = steward.get("/quality").text
    docs = steward.get(f"/quality/{newest_reports([report])[0].table}").text

    kept = "".join(file.read_text() for file in tmp_path.rglob("*.json"))
    assert not found.success
    assert found.results
    assert "id-is-a-pseudonym" in kept
    assert "Not as expected" in docs
    for text in (kept, orjson.dumps(report).decode(), shown, docs, repr(held), caplog.text):
        assert MARK not in text
        assert str(NUMBER) not in text
        assert "987,654,321" not in text


def test_the_gate_makes_no_temporary_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No folder outside of the data folder: an erasure would not reach it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    expectations._open_context.cache_clear()
    view, column = CASES[0]

    with caplog.at_level(logging.INFO):
        check_table(view, marked_frame(view, column), load_suite(view))

    assert list(tmp_path.iterdir()) == []
    assert "temporary directory" not in caplog.text
    assert not expectations._open_context().variables.data_docs_sites
