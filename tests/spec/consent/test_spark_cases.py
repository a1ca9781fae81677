"""Every row of cases.md through Spark too: those of one requester at one instant in one query.

The patients and Consents of each case get names of their own, so that cases stand side by side.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from ehr_etl.spark.sql_text import bind_parameters
from ehr_privacy.consent import Record, RuleRow, compile_predicate, extend_to_merged_accounts
from tests.spec.consent.test_cases import (
    CASES,
    Case,
    MakeResource,
    now_ms,
    record,
    requester,
    rows_of,
)
from tests.spec.consent.test_spark import fill, found


def _groups() -> Iterable[list[tuple[int, Case]]]:
    groups: dict[tuple[object, ...], list[tuple[int, Case]]] = defaultdict(list)
    for number, case in enumerate(CASES):
        # One whose token names a patient keeps that name, and what is deemed is so for all.
        alone = requester(case.who).patient or any("deemed" in fact for fact in case.facts)
        groups[case.who, case.at, number if alone else -1].append((number, case))
    return groups.values()


def _named(row: RuleRow, number: int) -> RuleRow:
    names = {
        name: f"{value}.{number}"
        for name, value in row.values.items()
        if name in ("patient", "consent", "other")
    }
    return RuleRow(row.table, {**row.values, **names})


@pytest.mark.spark
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_spark_gives_the_answer_of_every_case(spark: Any, make_resource: MakeResource) -> None:
    wrong = []

    for group in _groups():
        who = requester(group[0][1].who)
        rows: list[RuleRow] = []
        records: list[Record] = []
        for number, case in group:
            given, what = rows_of(case, make_resource), record(case.record)
            if len(group) > 1:
                given = [_named(row, number) for row in given]
                names = frozenset(f"{one}.{number}" for one in what.patients)
                what = replace(what, patients=names)
            rows += given
            records.append(what)
        fill(spark, extend_to_merged_accounts(rows), records)
        predicate = compile_predicate(who, "read", now_ms(group[0][1].at), dialect="spark")
        seen = found(spark, bind_parameters(predicate.sql, predicate.params), "pk")
        for pk, (_, case) in enumerate(group):
            if (pk in seen) != case.answer.startswith("permit"):
                wrong.append(case.claim)

    assert wrong == []
