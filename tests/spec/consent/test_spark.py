"""Spark gives the reference's answers: a spread of the cases, each over every record of the cast.

The full table runs through SQLite and PostgreSQL; a query of Spark takes seconds, so that it goes
through Spark in `make test-slow` (test_spark_cases.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

import pytest

from ehr_etl.spark.sql_text import bind_parameters, sql_literal
from ehr_privacy.consent import (
    RECORD_COLUMNS,
    TABLES,
    Column,
    Record,
    Requester,
    RuleRow,
    Rules,
    compile_predicate,
    decide,
    decide_research,
    extend_to_merged_accounts,
    parse_scopes,
    research_predicate,
)
from ehr_privacy.consent.model import DateRange

Values = dict[str, str | int | None]

NOW = 1_781_496_000_000
KINDS = {"TEXT": "STRING", "INTEGER": "BIGINT"}
RECORD = (
    Column("pk", "INTEGER", False),
    *(Column(name, "TEXT", True) for name in ("type", "id", "author")),
    *RECORD_COLUMNS,
)
PATIENT = Column("patient", "TEXT", False)
LABEL = (Column("label", "TEXT", False), Column("added", "INTEGER", False))
ANY: Values = dict.fromkeys(
    "domain label author author_person episode record_type record_id period_from period_to".split()
)
TERM: Values = {"since": 0, "until": None}
EVERYONE: Values = {"actor_kind": "everyone", "actor_value": None}
CLINIC: Values = {"actor_kind": "organization", "actor_value": "clinic"}

RECORDS = [
    Record("Condition", "1", frozenset({"ann"}), "diagnosis", author="hospital"),
    Record("Condition", "2", frozenset({"ann"}), "diagnosis", frozenset({"HIV"}), "clinic"),
    Record("Observation", "3", frozenset({"ann"}), "laboratory", frozenset({"HIV"}), "hospital"),
    Record("DiagnosticReport", "4", frozenset({"ann"}), "radiology", author="hospital"),
    Record("Provenance", "5", frozenset({"ann"}), "summary", author="hospital"),
    Record("Condition", "6", frozenset({"bob"}), "diagnosis", author="hospital"),
    Record("Procedure", "7", frozenset({"ann", "bob"}), "procedure", author="hospital"),
    Record("Condition", "8", frozenset(), "diagnosis", author="hospital"),
    Record("Organization", "9", directory=True),
    Record("Consent", "10", frozenset({"ann"}), "other"),
    Record("Consent", "14", frozenset({"ann"}), "summary", clinical_consent=True),
    Record("Observation", "11", frozenset({"ann"}), "observation", frozenset({"PSY"}), "hospital"),
    Record(
        "DiagnosticReport",
        "12",
        frozenset({"ann"}),
        "investigation",
        author="hospital",
        inner_domains=frozenset({"laboratory", "radiology"}),
        author_people=frozenset({"x", "y"}),
    ),
    Record(
        "Observation",
        "13",
        frozenset({"ann"}),
        "laboratory",
        labels=frozenset({"HIV"}),
        author="hospital",
        clinical_date=date(2026, 3, 1),
        episodes=frozenset({"stay", "ward"}),
        added_labels=frozenset({"HIV"}),
        added_episodes=frozenset({"stay"}),
        added_dates=DateRange(date(2026, 4, 1), date(2026, 4, 2)),
    ),
    Record("Patient", "13", frozenset({"ann"}), "person", author="hospital"),
    Record("Coverage", "14", frozenset({"ann"}), "encounter", author="hospital"),
    Record("BodyStructure", "15", frozenset({"ann"}), "other", author="clinic"),
]
BASE = [
    RuleRow("consent_joining", {"consent": "j1", "patient": "ann", **TERM}),
    RuleRow("consent_sharing", {"consent": "s1", "patient": "ann", "organization": "*", **TERM}),
    RuleRow("consent_joining", {"consent": "j2", "patient": "bob", **TERM}),
]
APRIL_2 = Record("Condition", "1", clinical_date=date(2026, 4, 2)).clinical_ms
HIV: Values = {"consent": "x1", "rule": "0", **ANY, "label": "HIV"}
RESTRICTED: Values = {"patient": "ann", "sealed": 0, **TERM}
WORLDS: dict[str, list[RuleRow]] = {
    "shared": BASE,
    "restricted with an exception": [
        *BASE,
        RuleRow("consent_restriction", {**HIV, **RESTRICTED, **EVERYONE}),
        RuleRow("consent_exception", {**HIV, "label": None, "domain": "laboratory", **CLINIC}),
    ],
    "sealed, an emergency, a grant, carers": [
        *BASE,
        RuleRow("consent_restriction", {**HIV, **RESTRICTED, **EVERYONE, "sealed": 1}),
        RuleRow("consent_sharing", {**BASE[1].values, "consent": "s2", "patient": "bob"}),
        RuleRow(
            "consent_grant",
            {"consent": "g", "patient": "ann", "person": "x", "organization": "clinic"}
            | {"domain": "radiology", **TERM},
        ),
        RuleRow(
            "consent_emergency",
            {"consent": "e", "patient": "bob", "person": "x", "organization": "clinic", **TERM},
        ),
        RuleRow(
            "consent_carer",
            {"consent": "c", "patient": "ann", "person": "x", **TERM}
            | {"can_view": 1, "can_manage": 0},
        ),
        RuleRow("consent_minor", {"consent": "ann", "patient": "ann", **TERM}),
        RuleRow("consent_research", {"consent": "r", "patient": "bob", "permit": 0, **TERM}),
    ],
    "what others added closes and does not open": [
        *BASE,
        RuleRow(
            "consent_restriction",
            {**HIV, **RESTRICTED, **EVERYONE, "label": None, "episode": "stay", "rule": "1"},
        ),
        RuleRow(
            "consent_exception", {**HIV, "label": None, "rule": "1", "episode": "ward", **CLINIC}
        ),
        RuleRow(
            "consent_restriction",
            {**HIV, **RESTRICTED, **EVERYONE, "label": None, "period_from": APRIL_2},
        ),
        RuleRow("consent_exception", {**HIV, **CLINIC}),
    ],
    "by a person, and of a period": [
        *BASE,
        RuleRow(
            "consent_restriction",
            {**HIV, **RESTRICTED, **EVERYONE, "label": None, "author_person": "x"},
        ),
        RuleRow(
            "consent_restriction", {**HIV, **RESTRICTED, **CLINIC, "label": None, "period_from": 0}
        ),
        RuleRow(
            "consent_membership",
            {"consent": "m", "practitioner": "x", "organization": "hospital", **TERM},
        ),
        RuleRow("consent_research", {"consent": "r", "patient": "bob", "permit": 0, **TERM}),
    ],
    "merged, each account with its own": [
        *BASE,
        RuleRow("consent_link", {"consent": "bob", "patient": "bob", "other": "cy"}),
        RuleRow("consent_link", {"consent": "ann", "patient": "ann", "other": "cy"}),
        RuleRow("consent_sharing", {**BASE[1].values, "consent": "s2", "patient": "bob"}),
        RuleRow(
            "consent_restriction",
            {**HIV, **RESTRICTED, **EVERYONE, "label": None, "patient": "cy"},
        ),
        RuleRow("consent_exception", {**HIV, "label": None, "domain": "laboratory", **CLINIC}),
    ],
}
SCOPES = parse_scopes("user/*.rs")
WHO = (
    Requester("clinician", "x", "clinic", "pharmacist", scopes=SCOPES),
    Requester("clinician", "y", "hospital", "doctor", scopes=SCOPES),
    Requester("carer", "x", scopes=SCOPES),
    Requester("patient", "p", patient="ann", scopes=parse_scopes("patient/*.rs")),
    Requester("steward", "s", scopes=SCOPES),
)


def view(spark: Any, name: str, columns: Iterable[Column], rows: list[tuple[Any, ...]]) -> None:
    """Make a view of literal rows: no job runs to read it."""
    columns = tuple(columns)
    cells = [", ".join(map(sql_literal, row)) for row in rows] or [
        ", ".join(["NULL"] * len(columns))
    ]
    names = ", ".join(column.name for column in columns)
    casts = ", ".join(f"CAST({c.name} AS {KINDS[c.type]}) AS {c.name}" for c in columns)
    table = f"VALUES {', '.join(f'({row})' for row in cells)} AS t({names})"
    where = "" if rows else " WHERE FALSE"
    spark.sql(f"SELECT {casts} FROM {table}{where}").createOrReplaceTempView(name)


def fill(spark: Any, rows: list[RuleRow], records: list[Record]) -> None:
    """Make every view a predicate reads; the key of a record is its place in the list."""
    numbered = list(enumerate(records))
    facts = [(pk, r.type, r.id, r.author, *r.column_values) for pk, r in numbered]
    view(spark, "record", RECORD, facts)
    patients = [(pk, patient) for pk, r in numbered for patient in r.patients]
    view(spark, "record_patient", (RECORD[0], PATIENT), patients)
    labels = [(pk, label, int(label in r.added_labels)) for pk, r in numbered for label in r.labels]
    view(spark, "record_label", (RECORD[0], *LABEL), labels)
    for table, columns in TABLES.items():
        values = [tuple(r.values[c.name] for c in columns) for r in rows if r.table == table]
        view(spark, table, columns, values)


def found(spark: Any, sql: str, key: str = "id") -> set[Any]:
    """Return the ids, or the keys, of the records for which a predicate holds."""
    return {row[0] for row in spark.sql(f"SELECT {key} FROM record r WHERE {sql}").collect()}


@pytest.mark.spark
@pytest.mark.parametrize("world", WORLDS)
def test_spark_and_the_reference_agree_on_every_record(spark: Any, world: str) -> None:
    rows = WORLDS[world]
    rules = Rules(rows)
    fill(spark, extend_to_merged_accounts(rows), RECORDS)

    for who in WHO:
        predicate = compile_predicate(who, "read", NOW, dialect="spark")
        expected = {r.id for r in RECORDS if decide(rules, who, "read", r, NOW).permit}
        assert found(spark, bind_parameters(predicate.sql, predicate.params)) == expected, who.role

    research = research_predicate(NOW, dialect="spark")
    expected = {r.id for r in RECORDS if decide_research(rules, r, NOW).permit}
    assert found(spark, bind_parameters(research.sql, research.params)) == expected
