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
    extend_to_merged_accounts,
    parse_scopes,
    rule_rows,
)
from ehr_privacy.consent.model import DateRange

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
    dates = facts.pop("added_dates", None)
    sets = {name: frozenset(value) for name, value in facts.items() if isinstance(value, list)}
    return replace(made, added_dates=dates and _range(dates), **facts | sets)


def _range(days: list[str]) -> DateRange:
    first, last = (date.fromisoformat(day) for day in days)
    return DateRange(first, last)


def now_ms(at: str) -> int:
    """Return an instant of Hong Kong in milliseconds."""
    return int(datetime.fromisoformat(f"{at}+08:00" if at else CAST["now"]).timestamp() * 1000)


def rows_of(case: Case, make_resource: MakeResource) -> list[RuleRow]:
    """Return the rule rows of a case's facts."""
    return [row for f in case.facts for row in rule_rows(make_resource(f, CAST["facts"][f]))]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.claim)
def test_the_reference_gives_the_answer_and_sql_agrees(
    case: Case, make_resource: MakeResource, sql_tables: Any
) -> None:
    who, what, now = requester(case.who), record(case.record), now_ms(case.at)
    rows = rows_of(case, make_resource)
    sql_tables.fill([what], extend_to_merged_accounts(rows))

    decision = decide(Rules(rows), who, "read", what, now)
    visible = sql_tables.visible(compile_predicate(who, "read", now))

    assert f"{'permit' if decision.permit else 'deny'} {decision.reason}" == case.answer
    assert visible == ({0} if decision.permit else set())


def test_every_name_of_the_cast_is_used() -> None:
    used = {name for case in CASES for name in (*case.facts, case.who, case.record)}
    research_only = {"opt-out", "opt-in", "hide-draft"}

    cast = {*CAST["people"], *CAST["records"], *CAST["facts"]}

    assert cast - used <= research_only
