"""A project reads dates in the form of its application, on every path, and two projects differ."""

from __future__ import annotations

import json
from datetime import date

import duckdb
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_analytics.project_dates import ProjectDates, forget_keys
from ehr_privacy.deid import (
    DATE_FORMS,
    DateForm,
    Deidentifier,
    derive_date_key,
    load_rules,
    pseudonym,
)

KEY = b"k" * 32
PATIENT = pseudonym(KEY, "Patient/p")
TRUE = date(2020, 5, 17)
CONNECTION = duckdb.connect()


def dates_of(form: DateForm, project: str = "a") -> ProjectDates:
    return ProjectDates(form, derive_date_key(KEY), project * 64)


def deidentify(patient: str, day: date) -> tuple[str, date]:
    record = {
        "resourceType": "Observation",
        "id": "o",
        "status": "final",
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": day.isoformat(),
    }
    kept = Deidentifier(load_rules(), KEY).scrub(record)
    assert kept is not None
    return json.dumps(kept), date.fromisoformat(kept["effectiveDateTime"])


def read_by_sql(dates: ProjectDates, rows: pa.Table, kind: str) -> list[str | None]:
    with CONNECTION.cursor() as connection:
        connection.register("rows", rows)
        dates.set_keys(connection)
        shown = dates.render_value(f"CAST(value AS {kind})", kind, is_date=False)
        sql = f"SELECT CAST(CAST({shown} AS {kind}) AS VARCHAR)[:10] FROM rows"
        return [text for (text,) in connection.execute(sql).fetchall()]


def test_months_and_quarters_are_the_true_ones() -> None:
    _, shown = deidentify("p", TRUE)

    assert dates_of("month").show(shown, PATIENT, "e") == date(2020, 5, 1)
    assert dates_of("quarter").show(shown, PATIENT, "e") == date(2020, 4, 1)
    assert (TRUE - dates_of("shift").show(shown, PATIENT, "e")).days % 7 == 0


@settings(max_examples=25)
@given(
    form=st.sampled_from(DATE_FORMS),
    days=st.lists(st.dates(date(1930, 1, 1), date(2026, 1, 1)), min_size=1, max_size=20),
    people=st.integers(1, 5),
)
def test_the_paths_of_sql_and_of_records_agree(
    form: DateForm, days: list[date], people: int
) -> None:
    dates = dates_of(form)
    rows = [
        (day.isoformat(), f"{number % people:032x}", f"{number % 3:032x}")
        for number, day in enumerate(days)
    ]
    columns = zip(*rows, strict=True)
    table = pa.table(dict(zip(("value", "_patient", "_episode"), map(list, columns), strict=True)))

    expected = [
        dates.show(date.fromisoformat(text), patient, episode).isoformat()
        for text, patient, episode in rows
    ]

    for kind in ("VARCHAR", "DATE", "TIMESTAMP"):
        assert read_by_sql(dates, table, kind) == expected
    for (text, patient, episode), shown in zip(rows, expected, strict=True):
        record = json.dumps({"onsetDateTime": text, "birthDate": "1950"}, separators=(",", ":"))
        read = json.loads(dates.show_record(record, patient, episode))
        assert read == {"onsetDateTime": shown, "birthDate": "1950"}


def test_what_has_no_form_is_left_out() -> None:
    dates = dates_of("shift")
    texts = ["2020-05-17", "seen on 2020-05-17", "2020-05", "0002-1433-80", "2345-7"]
    rows = pa.table({"value": texts, "_patient": [None, *[PATIENT] * 4], "_episode": ["e"] * 5})

    assert read_by_sql(dates, rows, "VARCHAR") == [None, None, None, "0002-1433-", "2345-7"]
    partial = '{"onsetDateTime":"2020","code":"2020","birthDate":"1950"}'
    assert json.loads(dates.show_record(partial, PATIENT, "e")) == {
        "onsetDateTime": None, "code": "2020", "birthDate": "1950",
    }  # fmt: skip
    assert json.loads(dates.show_record('{"date":"2020-05-17"}', None, "e")) == {"date": None}


def test_the_keys_are_gone_before_a_query_runs() -> None:
    with duckdb.connect() as connection:
        dates_of("shift").set_keys(connection)
        forget_keys(connection)
        found = connection.execute("SELECT count(*) FROM duckdb_variables()").fetchone()

        assert found == (0,)
        assert "a" * 64 not in repr(dates_of("shift"))
