"""What a caller of the predicate relies on besides its answer."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ehr_privacy.consent import Requester, Scope, compile_predicate, parse_scopes

NOW = 1_781_496_000_000
ROLES = (
    *("patient", "carer", "clinician", "researcher"),
    *("steward", "auditor", "administrator", "system"),
)


def requester(role: str) -> Requester:
    """Return somebody whose predicate folds nothing away."""
    scopes = parse_scopes("patient/Condition.rs patient/List.rs user/Observation.rs")
    return Requester(role, "x'1", "a:1", "pharmacist", "TREAT", "ann?", scopes)


@pytest.mark.parametrize("role", ROLES)
def test_the_predicate_leaves_room_for_thirty_levels_of_the_caller(
    sql_tables: Any, role: str
) -> None:
    predicate = compile_predicate(requester(role), "read", NOW)

    inner = f"SELECT r.pk FROM record r WHERE {'(' * 30}{predicate.sql}{')' * 30}"
    query = f"SELECT 1 FROM record r WHERE r.pk IN ({inner})"

    assert sql_tables.connection.execute(query, predicate.params).fetchall() is not None


@pytest.mark.parametrize("role", ROLES)
def test_every_value_is_a_parameter(role: str) -> None:
    predicate = compile_predicate(requester(role), "search", NOW, prefix="me")
    quoted = re.findall(r"'([^']*)'", predicate.sql)

    assert not [value for value in ("x'1", "a:1", "ann?", str(NOW)) if value in predicate.sql]
    assert all(re.fullmatch(r"[A-Za-z-]+|[*|]|", word) for word in quoted)
    assert all(name.startswith("me_") for name in predicate.params)


def test_no_scope_writes_into_the_text() -> None:
    scopes = (Scope("user", "Observation') OR ('a", frozenset("rs")),)
    predicate = compile_predicate(
        Requester("clinician", "x", "a", "doctor", scopes=scopes), "read", 5
    )

    assert "OR ('a" not in predicate.sql
    assert "Observation') OR ('a" in predicate.params.values()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("sql_tables", ["sqlite"], indirect=True)
def test_rule_tables_are_looked_up_by_key_never_scanned(sql_tables: Any, role: str) -> None:
    predicate = compile_predicate(requester(role), "read", NOW)

    query = f"EXPLAIN QUERY PLAN SELECT pk FROM record r WHERE r.pk = 1 AND {predicate.sql}"
    plan = [row[3] for row in sql_tables.connection.execute(query, predicate.params)]

    assert [line for line in plan if line.startswith("SCAN")] == []


def test_a_researcher_and_a_homeless_clinician_fold_to_almost_nothing() -> None:
    scopes = parse_scopes("user/*.rs")

    researcher = compile_predicate(Requester("researcher", "x", scopes=scopes), "read", NOW)
    homeless = compile_predicate(
        Requester("clinician", "x", profession="doctor", scopes=scopes), "read", NOW
    )

    assert "EXISTS" not in researcher.sql
    assert "EXISTS" not in homeless.sql
