"""The table of scrubbed notes: off until it is built, follows every change, holds no identifier."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ehr_analytics.key_hashing import render_note_tags
from ehr_analytics.project_dates import ProjectDates
from ehr_etl.gold.notes import NOTES_TABLE, has_notes
from ehr_etl.lake import Lake
from ehr_etl.lake_run import run_once
from ehr_etl.pipeline import LakeWriter
from ehr_etl.tables.deid import deid_key_text
from ehr_privacy.deid import DATE_FORMS
from ehr_privacy.text import render_tags
from tests.lib.feed_lines import consent, decision_lines, feed_line
from tests.lib.lake_input import KEY, NOW_MS, Pages, patient

NOTE = (
    "CHAN Tai Man (A123456(3)) fell on 01/03/2026. Wife LEE Siu Fong, 9876 5432. "
    "陳大文情緒穩定。Seen by Dr Wong. HbA1c 7.2%."
)


def observation(identifier: str, whose: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation", "id": identifier, "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "4548-4"}]},
        "subject": {"reference": f"Patient/{whose}"}, "note": [{"text": NOTE}], **more,
    }  # fmt: skip


def document(identifier: str, whose: str) -> dict[str, Any]:
    data = base64.b64encode(f"<p title='CHAN'>{NOTE}</p><!-- A123456(3) -->".encode()).decode()
    return {
        "resourceType": "DocumentReference", "id": identifier, "status": "current",
        "subject": {"reference": f"Patient/{whose}"},
        "content": [{"attachment": {"contentType": "text/html", "data": data}}],
    }  # fmt: skip


def composition(identifier: str, whose: str) -> dict[str, Any]:
    return {
        "resourceType": "Composition", "id": identifier, "status": "final", "title": "CHAN",
        "subject": {"reference": f"Patient/{whose}"}, "date": "2026-03-01",
        "type": {"text": "note"}, "author": [{"display": "Dr Wong"}],
        "section": [{"section": [{"text": {"status": "generated", "div": f"<div>{NOTE}</div>"}}]}],
    }  # fmt: skip


RESOURCES: tuple[dict[str, Any], ...] = (
    patient("p-one"),
    patient("p-two"),
    consent("p-one", "joining"),
    observation("obs-one", "p-one"),
    observation("obs-two", "p-two"),
    document("doc-one", "p-one"),
    composition("comp-one", "p-one"),
)


def feed(*resources: dict[str, Any], start: int = 1, decisions: int = 1) -> Pages:
    lines = [feed_line(number, resource) for number, resource in enumerate(resources, start)]
    lines += decision_lines(resources, decisions)
    return Pages([b"\n".join(lines) + b"\n"])


def run(lake: Lake, pages: Pages) -> None:
    run_once(lake, pages, deid_key=KEY, now_ms=NOW_MS)


def read_notes(lake: Lake) -> list[dict[str, Any]]:
    return [dict(row) for row in lake.open_table(NOTES_TABLE).to_pyarrow_table().to_pylist()]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path)
    run(lake, feed(*RESOURCES))
    return lake


def build(lake: Lake) -> int:
    with LakeWriter(lake, KEY) as writer:
        return writer.build_notes(NOW_MS)


def test_a_lake_has_no_notes_until_they_are_built(lake: Lake) -> None:
    assert not has_notes(lake)
    assert not lake.has_table(NOTES_TABLE)


def test_notes_are_of_those_whom_research_may_use_and_hold_no_identifier(lake: Lake) -> None:
    assert build(lake) == 3
    rows = read_notes(lake)
    assert {row["element"] for row in rows} == {
        "Observation.note[0].text",
        "DocumentReference.content[0].attachment.data",
        "Composition.section[0].section[0].text.div",
    }
    assert {row["patient_id"] for row in rows} == {deid_key_text(KEY, "Patient", "p-one")}
    for row in rows:
        text = json.dumps(row, ensure_ascii=False)
        for planted in ("CHAN", "Tai Man", "陳大文", "A123456", "Siu Fong", "9876", "2026-03-01"):
            assert planted not in text
        assert "01/03/2026" not in text
        assert "HbA1c 7.2%" in row["note"]
        assert "情緒穩定" in row["note"]


def test_what_changes_is_followed(lake: Lake) -> None:
    """A new note, a name that is told later, and whoever leaves."""
    build(lake)
    new = observation("obs-three", "p-one", note=[{"text": "Then Zyxwv again, no fever"}])
    run(lake, feed(*RESOURCES, new))
    [note] = [row["note"] for row in read_notes(lake) if "no fever" in row["note"]]
    # Nothing tells yet that this is a name.
    assert "Zyxwv" in note
    named = patient("p-one", name=[{"family": "Zyxwv", "given": ["Abc"]}])
    lines = [feed_line(20, named, version=2)]
    run(lake, Pages([b"\n".join(lines) + b"\n"]))
    assert not [row for row in read_notes(lake) if "Zyxwv" in row["note"]]
    leaving = consent("p-one", "research", permit=False)
    run(lake, Pages([b"\n".join(decision_lines([*RESOURCES, leaving], 40)) + b"\n"]))
    assert read_notes(lake) == []


def test_notes_of_merged_accounts_are_one_persons(lake: Lake) -> None:
    """Under one pseudonym, with one shift, without the names of any of the accounts."""
    run(lake, feed(consent("p-two", "joining"), start=20, decisions=20))
    build(lake)
    text = "Xwvut Rqponm is better on 01/03/2026"
    told = observation("obs-two", "p-two", note=[{"text": text}])
    merged = patient("p-two", link=[{"type": "replaced-by",
                                     "other": {"reference": "Patient/p-one"}}])  # fmt: skip
    renamed = patient("p-one", name=[{"family": "Xwvut", "given": ["Rqponm"]}])
    run(lake, feed(told, merged, start=30))
    first = {row["note"] for row in read_notes(lake) if "better" in row["note"]}
    assert "Xwvut" in str(first)

    # The name stands in another bucket than the note.
    lines = [feed_line(40, renamed, version=2)]
    run(lake, Pages([b"\n".join(lines) + b"\n"]))

    rows = read_notes(lake)
    assert {row["patient_id"] for row in rows} == {deid_key_text(KEY, "Patient", "p-one")}
    [note] = [row["note"] for row in rows if "better" in row["note"]]
    assert "Xwvut" not in note
    days = {str(day) for row in rows for day in re.findall("DATE:([0-9-]+)", row["note"])}
    assert len(days) == 1


def test_a_run_without_a_change_writes_nothing(lake: Lake) -> None:
    build(lake)
    version = lake.open_table(NOTES_TABLE).version()
    run(lake, feed(*RESOURCES))
    assert lake.open_table(NOTES_TABLE).version() == version


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "⟦DATE:2020-05-17⟧ and ⟦DATE:2020-05-18⟧, ⟦DATE⟧",
        "⟦PERSON:0123456789ABCDEF⟧",
        "a ⟦PATIENT:0123456789ABCDEF⟧, b ⟦DATE⟧\nc ⟦HKID:FFFFFFFFFFFFFFFF⟧⟦DATE⟧ d",
    ],
)
def test_tags_and_dates_are_the_same_in_sql_and_in_python(text: str) -> None:
    writes: dict[str, Callable[[date], str | None]] = {
        "shift": date.isoformat,
        "month": lambda day: f"{day:%Y-%m}",
        "quarter": lambda day: f"{day.year}-Q{(day.month + 2) // 3}",
        "episode": lambda day: None,
    }
    for form in DATE_FORMS:
        dates = ProjectDates(form, "a" * 64, "b" * 64)

        def show(day: str, dates: ProjectDates = dates) -> str | None:
            return writes[dates.form](dates.show(date.fromisoformat(day), "p", "e"))

        sql = f"SELECT {render_note_tags('note', dates, 'p')} FROM (SELECT $note AS note, 'p' AS p)"
        with duckdb.connect() as connection:
            dates.set_keys(connection)
            parameters = {"note": text, "key": "k"}
            assert connection.execute(sql, parameters).fetchone() == (render_tags(text, "k", show),)
