"""No statement of a read by id or of a write walks a table that grows with the store (SQLite)."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import orjson
import pytest

from ehr_gateway.database.sqlite import SqliteConnection
from tests.lib.gateway import House, condition, consent, encounter, must, observation, restriction

JSON_PATCH = {"Content-Type": "application/json-patch+json"}
# Their rows are counted in tens, whatever the number of patients.
SMALL_TABLES = frozenset({"setting", "audit_head", "search_parameter", "parameter"})
# It stops at the first row.
NEWEST_ROW = re.compile(r"SELECT [\w, ]+ FROM \w+ ORDER BY pk DESC LIMIT 1")
Request = Callable[[House], Any]


def bundle(*resources: dict[str, Any]) -> dict[str, Any]:
    """Return a transaction that creates resources, each named by the others as `urn:uuid:`."""
    entries = [
        {
            "fullUrl": f"urn:uuid:{resource['id']}",
            "resource": resource,
            "request": {"method": "POST", "url": resource["resourceType"]},
        }
        for resource in resources
    ]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def report(*results: str) -> dict[str, Any]:
    """Return a report that names an Encounter and results."""
    return {
        "resourceType": "DiagnosticReport",
        "id": "rep-1",
        "status": "final",
        "code": {"text": "panel"},
        "subject": {"reference": "Patient/pat-1"},
        "encounter": {"reference": "Encounter/enc-1"},
        "result": [{"reference": name} for name in results],
    }


def hospital(house: House) -> Any:
    return house.system("hospital-a")


REQUESTS: dict[str, Request] = {
    "read": lambda house: hospital(house).get("Observation/lab-1"),
    "read by another": lambda house: house.login("doctor.b").get("Patient/pat-1"),
    "version": lambda house: hospital(house).get("Observation/lab-1/_history/1"),
    "create, two references": lambda house: hospital(house).post(
        "Condition", condition("new", "enc-1")
    ),
    "create, four references": lambda house: hospital(house).post(
        "DiagnosticReport", report("Observation/lab-1", "Observation/lab-2")
    ),
    "update, other references": lambda house: hospital(house).put(
        {**condition("con-1", "enc-1"), "evidence": [
            {"detail": [{"reference": f"Observation/lab-{number}"} for number in (1, 2)]}
        ]}
    ),
    "update of what others name": lambda house: hospital(house).put(
        {**encounter("enc-1"), "partOf": {"reference": "Encounter/enc-1"}}
    ),
    "patch": lambda house: hospital(house).request(
        "PATCH",
        "Observation/lab-1",
        content=orjson.dumps([{"op": "replace", "path": "/status", "value": "amended"}]),
        headers=JSON_PATCH,
    ),
    "delete": lambda house: hospital(house).delete("Observation/lab-2"),
    "create if none exists": lambda house: house.system("ehr-commons").post(
        "Organization",
        {"resourceType": "Organization", "name": "New"},
        headers={"If-None-Exist": "identifier=urn:x|1"},
    ),
    "transaction": lambda house: hospital(house).post(
        "",
        bundle(
            encounter("e"),
            {**condition("c", "e"), "encounter": {"reference": "urn:uuid:e"}},
            observation("o", "laboratory", encounter="enc-1"),
        ),
    ),
    "restriction": lambda house: house.login("p.pat-1").store(
        restriction("only-this", record="Observation/lab-1")
    ),
    "sharing ended": lambda house: house.login("p.pat-1").store(
        consent("sharing-hospital-b", "sharing", status="inactive")
    ),
}  # fmt: skip


@pytest.fixture
def database() -> str:
    """PostgreSQL plans by what a table holds, which here is next to nothing."""
    return "sqlite"


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Lend the list of every statement that runs on connections opened from here on."""
    run: list[str] = []

    class Traced(SqliteConnection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.set_trace_callback(run.append)

    monkeypatch.setattr("ehr_gateway.database.sqlite.SqliteConnection", Traced)
    yield run


@pytest.mark.parametrize("name", REQUESTS)
def test_no_table_is_walked(statements: list[str], furnished: House, name: str) -> None:
    furnished.share()
    statements.clear()

    answer = REQUESTS[name](furnished)

    assert answer is None or must(answer)
    assert "SELECT" in map(first_word, statements)
    with closing(sqlite3.connect(furnished.settings.database)) as connection:
        assert walks(connection, statements) == []


def test_a_walk_is_found(furnished: House) -> None:
    two_keys = "(VALUES ('Patient', 'pat-1'), ('Patient', 'pat-2'))"
    statement = f"SELECT r.pk FROM resource r WHERE r.current = 1 AND (r.type, r.id) IN {two_keys}"

    with closing(sqlite3.connect(furnished.settings.database)) as connection:
        assert [walked for walked, _ in walks(connection, [statement])] == ["resource"]


def walks(connection: sqlite3.Connection, statements: list[str]) -> list[tuple[str, str]]:
    """Return each table that grows and is walked, with the statement that does."""
    tables = {
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    }
    found = []
    for statement in dict.fromkeys(statements):
        is_planned = first_word(statement) in ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
        if not is_planned or NEWEST_ROW.fullmatch(statement):
            continue
        for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {statement}"):
            if scan := re.match(r"SCAN (\w+)", step):
                table = table_of(scan[1], statement)
                if table in tables - SMALL_TABLES:
                    found.append((table, statement))
    return found


def table_of(alias: str, statement: str) -> str:
    """Return the table that a statement gives an alias."""
    named = re.search(rf"\b(?:FROM|JOIN)\s+(\w+)\s+(?:AS\s+)?{alias}\b", statement)
    return named[1] if named else alias


def first_word(statement: str) -> str:
    return statement.lstrip("( ").partition(" ")[0].upper()
