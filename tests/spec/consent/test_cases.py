"""Every row of cases.md, through the reference and through SQLite."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from ehr_privacy.consent import (
    Record,
    Requester,
    RuleRow,
    Rules,
    compile_predicate,
    decide,
    parse_scopes,
    rule_rows,
)

HERE = Path(__file__).parent
CAST = tomllib.loads((HERE / "cast.toml").read_text(encoding="utf-8"))
MakeResource = Callable[[str, dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """One row of cases.md."""

    claim: str
    facts: tuple[str, ...]
    who: str
    record: str
    at: str
    answer: str


def read_cases() -> list[Case]:
    """Read the table, without its headings."""
    cases = []
    for line in (HERE / "cases.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 6 and cells[5] not in ("", "answer", "---"):
            claim, facts, who, record, at, answer = cells
            cases.append(Case(claim, tuple(facts.split()), who, record, at, answer))
    return cases


CASES = read_cases()


def requester(name: str) -> Requester:
    """Return a person of the cast."""
    person = dict(CAST["people"][name])
    return Requester(**{**person, "scopes": parse_scopes(person["scopes"])})


def record(name: str) -> Record:
    """Return a record of the cast."""
    facts = dict(CAST["records"][name])
    day = facts.pop("clinical_date", None)
    made = Record(
        type=facts.pop("type"),
        id=name,
        patients=frozenset(facts.pop("patients", ["ann"])),
        labels=frozenset(facts.pop("labels", [])),
        author=facts.pop("author", "st-gabriel") or None,
        clinical_date=date.fromisoformat(day) if day else None,
    )
    return replace(made, **facts)


def now_ms(at: str) -> int:
    """Return an instant of Hong Kong in milliseconds."""
    return int(datetime.fromisoformat(f"{at}+08:00" if at else CAST["now"]).timestamp() * 1000)


def rows_of(case: Case, make_resource: MakeResource) -> list[RuleRow]:
    """Return the rule rows of a case's facts."""
    return [row for f in case.facts for row in rule_rows(make_resource(f, CAST["facts"][f]))]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.claim)
def test_the_reference_gives_the_answer_and_sqlite_agrees(
    case: Case, make_resource: MakeResource, sqlite_tables: Any
) -> None:
    who, what, now = requester(case.who), record(case.record), now_ms(case.at)
    rows = rows_of(case, make_resource)
    sqlite_tables.fill([what], rows)

    decision = decide(Rules(rows), who, "read", what, now)
    visible = sqlite_tables.visible(compile_predicate(who, "read", now))

    assert f"{'permit' if decision.permit else 'deny'} {decision.reason}" == case.answer
    assert visible == ({0} if decision.permit else set())


@pytest.mark.spark
def test_spark_agrees_on_every_case(make_resource: MakeResource, spark: Any) -> None:
    from ehr_privacy.consent import TABLES  # the views are made from the one registry

    kinds = {"TEXT": "string", "INTEGER": "bigint"}
    names = sorted(CAST["records"])
    records = [record(name) for name in names]
    known = "pk bigint, type string, id string, domain string, author string, episode string"
    views = {
        "record": (
            [
                (
                    *(pk, r.type, r.id, r.domain, r.author, r.episode),
                    *(r.clinical_ms, int(r.directory)),
                )
                for pk, r in enumerate(records)
            ],
            f"{known}, clinical_date bigint, directory int",
        ),
        "record_patient": (
            [(pk, name) for pk, r in enumerate(records) for name in r.patients],
            "pk bigint, patient string",
        ),
        "record_label": (
            [(pk, name) for pk, r in enumerate(records) for name in r.labels],
            "pk bigint, label string",
        ),
    }
    for name, (data, schema) in views.items():
        spark.createDataFrame(data, schema).createOrReplaceTempView(name)
    # A run for each set of facts would take minutes: a spread of the table is enough for Spark,
    # whose predicate has the same shape as the one SQLite runs in full.
    for case in CASES[::12]:
        who, now = requester(case.who), now_ms(case.at)
        rows = rows_of(case, make_resource)
        for table, columns in TABLES.items():
            data = [
                tuple(row.values.get(c.name) for c in columns) for row in rows if row.table == table
            ]
            schema = ", ".join(f"{c.name} {kinds[c.type]}" for c in columns)
            spark.createDataFrame(data, schema).createOrReplaceTempView(table)
        predicate = compile_predicate(who, "read", now, dialect="spark")

        found = spark.sql(f"SELECT pk FROM record r WHERE {predicate.sql}", args=predicate.params)

        expected = {
            pk
            for pk, one in enumerate(records)
            if decide(Rules(rows), who, "read", one, now).permit
        }
        assert {row.pk for row in found.collect()} == expected, case.claim


def test_every_name_of_the_cast_is_used() -> None:
    used = {name for case in CASES for name in (*case.facts, case.who, case.record)}
    research_only = {"opt-out", "opt-in", "hide-draft"}

    cast = {*CAST["people"], *CAST["records"], *CAST["facts"]}

    assert cast - used <= research_only
