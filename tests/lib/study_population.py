"""A made-up population for the studies that come with the platform, with effects that are known.

Whoever gets an anti-inflammatory bleeds three times as often in the year after; the old are given
more medicines and stay longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import write_deltalake

from ehr_etl.gold.delta_views import save_definition
from ehr_etl.gold.library import iterate_definitions, list_view_names
from ehr_etl.lake import GOLD_EPISODE, GOLD_PATIENT, Lake, gold_table_name

__all__ = ["make_population", "write_population"]

_DRUGS = str(
    "M01AE01 C09AA03 C03AA03 C10AA01 A02BC01 N02BE01 C08CA01 A10BA02 R03AC02 B01AC06 N06AB03 "
    "H02AB06".split()
)
_QUERIES = {
    "patient_demographics": """
        SELECT md5(CAST(n AS VARCHAR)) AS id, ['female','male'][1 + n % 2] AS gender,
          birth_year, ['Hong Kong Island','Kowloon','New Territories'][1 + n % 3] AS region
        FROM people""",
    "medication_request": """
        SELECT md5(CAST(n AS VARCHAR)) AS patient_id, code AS medication_code, 'order' AS intent,
          strftime(DATE '2020-01-01' + first_day + CAST(gap * visit AS INTEGER), '%Y-%m-%d')
            AS authored_on
        FROM prescribed""",
    "condition_flat": """
        SELECT md5(CAST(n AS VARCHAR)) AS patient_id, code,
          strftime(DATE '2020-01-01' + first_day + day, '%Y-%m-%d') AS onset
        FROM (
          SELECT n, first_day, 'K92.2' AS code, CAST(1 + random() * 364 AS INTEGER) AS day,
            random() < (CASE WHEN anti_inflammatory THEN 0.06 ELSE 0.02 END) AS has
          FROM people
          UNION ALL
          SELECT n, first_day, 'N17.9', CAST(1 + random() * 364 AS INTEGER),
            random() < 0.01 + (2020 - birth_year) / 4000 FROM people
          UNION ALL
          SELECT n, first_day, 'J45', CAST(random() * 364 AS INTEGER), random() < 0.3 FROM people)
        WHERE has""",
    "encounter_flat": """
        SELECT patient_id, class, reason_code, strftime(day, '%Y-%m-%d') AS start,
          strftime(day + days, '%Y-%m-%d') AS "end"
        FROM (
          SELECT md5(CAST(n AS VARCHAR)) AS patient_id,
            ['IMP','EMER','AMB','AMB'][1 + CAST(floor(random() * 4) AS INTEGER)] AS class,
            'code-' || CAST(floor(random() * 12) AS INTEGER) AS reason_code,
            DATE '2020-01-01' + CAST(random() * 1095 AS INTEGER) AS day,
            CAST(-ln(1 - random()) * (1 + (2020 - birth_year) / 15) AS INTEGER) AS days
          FROM people, range(4) v(m))""",
}


def make_population(people: int) -> Mapping[str, pa.Table]:
    """Return the views `patient_demographics`, `encounter_flat`, `condition_flat`, and
    `medication_request` of so many people; the same in every run."""
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        connection.execute("SELECT setseed(0.5)").fetchall()
        connection.execute(
            "CREATE TABLE people AS SELECT n, CAST(1925 + random() * 85 AS INTEGER) AS birth_year,"
            " CAST(random() * 700 AS INTEGER) AS first_day, random() < 0.3 AS anti_inflammatory"
            f" FROM range({people}) t(n)"
        )
        # At the first visit the anti-inflammatory, if any; then medicines, more for the old.
        connection.execute(
            f"""CREATE TABLE prescribed AS
            SELECT n, first_day, 0 AS visit, 0 AS gap,
              CASE WHEN anti_inflammatory THEN 'M01AE01' ELSE 'N02BE01' END AS code FROM people
            UNION ALL
            SELECT n, first_day, m AS visit, random() * 10 AS gap,
              {_DRUGS}[2 + CAST(floor(random() * 11) AS INTEGER)]
            FROM people, range(12) v(m) WHERE random() < (2020 - birth_year) / 110"""
        )
        return {name: _fetch(connection, sql) for name, sql in _QUERIES.items()}


def write_population(data: Path, views: Mapping[str, pa.Table]) -> None:
    """Write the views as Delta tables where the lake of a data folder keeps gold, and its key."""
    (data / "keys").mkdir(exist_ok=True)
    (data / "keys" / "deid.key").write_bytes(b"k" * 32)
    lake = Lake(data / "lake")
    own = {str(definition["name"]): definition for definition in iterate_definitions()}
    for name, table in views.items():
        whose = table.column("id" if name == "patient_demographics" else "patient_id")
        # As the lake does: whose each row is, and its episode.
        rows = table.append_column(GOLD_PATIENT, whose).append_column(GOLD_EPISODE, whose)
        write_deltalake(str(lake.table_path(gold_table_name(name))), rows, mode="overwrite")
        if name not in list_view_names():
            save_definition(lake, own[name])


def _fetch(connection: Any, sql: str) -> pa.Table:  # Any: DuckDB's own types differ by version
    return connection.sql(sql).to_arrow_table()
