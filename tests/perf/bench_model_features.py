"""Time of a model's frame on made-up people: `python -m tests.perf.bench_model_features [PEOPLE]`.

The frame of `readmission-28d` from Arrow tables in memory: for each person three acute stays of ten
encounters, eight conditions, fifteen prescriptions, ten procedures and forty laboratory results;
the features made by hand, and those of the 100 most frequent codes of each kind. With `--persons`
also the time of one person's features from their resources. More than `PART` people are worked out
part after part with the codes of the first: their frame would not fit into the memory. Not a test:
it prints.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import duckdb
import pyarrow as pa

from ehr_models.frames.codes import CodeGroup
from ehr_models.frames.declaration import FrameDeclaration
from ehr_models.frames.duckdb_frame import build_frame
from ehr_models.frames.person import PersonFrame
from ehr_models.task_file import parse_declaration, read_document
from tests.lib.fhir_people import draw_person

_RECORDS = {
    # Per person, different codes, and the columns of system, code and date.
    "condition_flat": (8, 400, "code_system", "code", "onset"),
    "medication_request": (15, 300, "medication_system", "medication_code", "authored_on"),
    "procedure": (10, 200, "code_system", "code_code", "performed_start"),
    "laboratory": (40, 150, "code_system", "code_code", "effective"),
}

PART = 100_000


def make_tables(declaration: FrameDeclaration, people: int) -> dict[str, pa.Table]:
    """Return the tables of so many people, with the columns that the frame reads."""
    key = "md5(CAST(n AS VARCHAR))"
    day = "strftime(DATE '2021-01-01' + CAST(random() * 1400 AS INTEGER), '%Y-%m-%d')"
    queries = {
        "patient_demographics": f"SELECT {key} AS id, ['female','male'][1 + n % 2] AS gender,"
        " CAST(1930 + random() * 80 AS INTEGER) AS birth_year, 'Kowloon' AS region"
        f" FROM range({people}) t(n)",
        "encounter_flat": "SELECT patient_id, start, CAST(number AS VARCHAR) AS id,"
        " strftime(CAST(start AS DATE) + days, '%Y-%m-%d') AS \"end\", 'finished' AS status, class,"
        " NULL::INTEGER AS age, 'ha-harbour' AS organization_id FROM (SELECT"
        f" {key} AS patient_id, n * 10 + m AS number, {day} AS start,"
        " CASE WHEN m < 2 THEN 'IMP' WHEN m = 2 THEN 'EMER' ELSE 'AMB' END AS class,"
        f" CAST(random() * 9 AS INTEGER) AS days FROM range({people}) t(n), range(10) v(m))",
    }
    for name, (count, codes, system, code, date) in _RECORDS.items():
        further = {
            column: "NULL::VARCHAR"
            for column in declaration.columns[name]
            if column not in ("patient_id", system, code, date)
        }
        nulls = "".join(f", {value} AS {column}" for column, value in further.items())
        queries[name] = (
            # The square of a draw: some codes are frequent, most are rare.
            f"SELECT {key} AS patient_id, 'urn:codes' AS {system},"
            f" CAST(CAST(power(random(), 2) * {codes} AS INTEGER) AS VARCHAR) AS {code},"
            f" {day} AS {date}{nulls} FROM range({people}) t(n), range({count}) v(m)"
        )
    with duckdb.connect() as connection:
        connection.execute("SELECT setseed(0.5)").fetchall()
        return {name: _fetch(connection, sql) for name, sql in queries.items()}


def _fetch(connection: Any, sql: str) -> pa.Table:  # Any: DuckDB's own types differ by version
    return connection.sql(sql).to_arrow_table()


def measure_persons(declaration: FrameDeclaration) -> tuple[float, float]:
    """Return the mean processor time of one person's features in milliseconds, and resources."""
    codes = {group.name: _list_codes(group) for group in declaration.codes}
    frame = PersonFrame(declaration, codes)
    people = [draw_person(number, records=500) for number in range(40)]
    at = datetime(2026, 1, 1, tzinfo=UTC)
    frame.find_current(people[0], at)
    started = time.process_time()
    for resources in people:
        frame.find_current(resources, at)
    milliseconds = (time.process_time() - started) * 1000 / len(people)
    return milliseconds, sum(map(len, people)) / len(people)


def _list_codes(group: CodeGroup) -> tuple[str, ...]:
    return tuple(map(str, range(group.most)))


def main() -> None:
    """Print seconds and memory by the number of people."""
    parser = argparse.ArgumentParser()
    parser.add_argument("people", nargs="*", type=int, default=[10_000, 100_000])
    parser.add_argument("--persons", action="store_true")
    arguments = parser.parse_args()
    declaration = parse_declaration(read_document(files("ehr_models") / "tasks/readmission"))
    for people in arguments.people:
        codes, rows, seconds, cpu = None, 0, 0.0, 0.0
        for _ in range(max(1, people // PART)):
            tables = make_tables(declaration, min(people, PART))
            started, cpu_started = time.perf_counter(), time.process_time()
            frame = build_frame(declaration, tables, codes)
            seconds += time.perf_counter() - started
            cpu += time.process_time() - cpu_started
            codes, rows = frame.codes, rows + len(frame.rows)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(  # noqa: T201
            f"{people:>10,} people {rows:,} rows {len(frame.features)} features"
            f" {seconds:8.1f} s, {cpu:.1f} s of CPU, {memory:.1f} GB, load {os.getloadavg()[0]:.1f}"
        )
    if arguments.persons:
        milliseconds, resources = measure_persons(declaration)
        print(f"one person of {resources:.0f} resources: {milliseconds:.1f} ms of CPU")  # noqa: T201


if __name__ == "__main__":
    main()
