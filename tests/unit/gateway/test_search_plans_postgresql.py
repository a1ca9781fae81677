"""What PostgreSQL does for a search: it judges no more than a page, and plans nothing twice."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ehr_gateway.database import Connection, Cursor
from ehr_gateway.search.page import search_on
from ehr_gateway.store.store import Store
from ehr_gateway.transaction.prepared_resource import prepare_draft
from ehr_gateway.transaction.transaction import open_transaction
from tests.lib.postgresql import Cluster
from tests.lib.store import actor, consent, doctor, put

LOINC = "http://loinc.org"
MANY = 300
Node = Mapping[str, Any]


class Counted:
    """A connection that keeps what the database did for each statement."""

    dialect = "postgresql"

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.plans: list[Node] = []

    def execute(self, sql: str, parameters: Any = ()) -> Cursor:
        """Run one statement, and keep its plan with the rows that each step met."""
        explained = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}"
        self.plans.append(self._connection.execute(explained, parameters).fetchone()[0][0]["Plan"])
        return self._connection.execute(sql, parameters)


@pytest.fixture(scope="module", params=["as loaded", "analyzed"])
def filled(postgresql: Cluster, request: pytest.FixtureRequest) -> Iterator[Store]:
    """Fill a store with two patients who share, and records of theirs by another hospital."""
    with postgresql.database() as url, tempfile.TemporaryDirectory() as folder:
        opened = Store(url, Path(folder))
        put(opened, {"resourceType": "Organization", "id": "st-gabriel", "name": "St Gabriel"})
        author = doctor("ha-harbour")
        for patient in ("p0", "p1"):
            put(opened, {"resourceType": "Patient", "id": patient})
            put(opened, {**consent(patient, "joining"), "id": f"joining-{patient}"})
            sharing = consent(patient, "sharing", type="permit", actor=[actor("st-gabriel")])
            put(opened, {**sharing, "id": f"sharing-{patient}"})
        with open_transaction(opened, author) as writing:
            for patient in ("p0", "p1"):
                body = {"resourceType": "Encounter", "status": "finished", "class": {"code": "AMB"}}
                body["subject"] = {"reference": f"Patient/{patient}"}
                writing.create(prepare_draft(body, f"e-{patient}", author, "Encounter"))
            for number in range(MANY):
                body = {
                    "resourceType": "Observation",
                    "status": "final",
                    "code": {"coding": [{"system": LOINC, "code": f"c{number % 10}"}]},
                    "subject": {"reference": f"Patient/p{number % 2}"},
                    "encounter": {"reference": f"Encounter/e-p{number % 2}"},
                    "effectiveDateTime": f"20{number % 20:02d}-01-01",
                }
                writing.create(prepare_draft(body, f"o{number}", author, "Observation"))
        if request.param == "analyzed":
            with opened.write_transaction() as connection:
                connection.execute("ANALYZE")
        yield opened
        opened.close()


def searched(store: Store, connection: Any, query: str) -> list[str]:
    """Return the ids that a doctor of the hospital finds whom the patients share with."""
    pairs = [(name, value) for name, _, value in (one.partition("=") for one in query.split("&"))]
    page = search_on(connection, store, doctor("st-gabriel"), "Observation", pairs)
    return [version.id for version in page.matches]


def judged(plan: Node) -> int:
    """Return how often the consent predicate looked for the patients of a record."""
    own = plan["Actual Loops"] if plan.get("Alias") == "hp" else 0
    return int(own) + sum(judged(one) for one in plan.get("Plans", ()))


@pytest.mark.parametrize(
    "query",
    ["patient=p0", "patient=p0&_sort=-date", "patient=p0&_sort=-_lastUpdated", "_sort=date"],
)
def test_a_page_is_sorted_first_and_judged_until_it_is_full(filled: Store, query: str) -> None:
    with filled.read_transaction() as connection:
        counted = Counted(connection)
        found = searched(filled, counted, f"{query}&_count=5")

    assert len(found) == 5
    assert sum(map(judged, counted.plans)) == 6  # one more tells that there is a next page


@pytest.mark.parametrize(
    ("count", "times"),
    # The total of a first page that is the last is what it holds; else each match is counted, and
    # one more than the page tells that there is a next.
    [(50, 30), (20, 30 + 21)],
)
def test_only_what_matches_is_judged(filled: Store, count: int, times: int) -> None:
    with filled.read_transaction() as connection:
        counted = Counted(connection)
        query = f"patient=p0&code=c1,c4&_total=accurate&_count={count}"
        found = searched(filled, counted, query)

    assert len(found) == min(count, 30)
    assert sum(map(judged, counted.plans)) == times


def fetched(plan: Node) -> int:
    """Return how often a resource was looked up by its key."""
    own = plan["Actual Loops"] if plan.get("Relation Name") == "resource" else 0
    return int(own) + sum(map(fetched, plan.get("Plans", ())))


@pytest.mark.parametrize("query", ["code=c2", f"code={LOINC}|c2", "code=c2&date=2012"])
def test_of_a_patients_records_only_those_with_the_code_are_fetched(
    filled: Store, query: str
) -> None:
    with filled.read_transaction() as connection:
        counted = Counted(connection)
        found = searched(filled, counted, f"patient=p0&{query}&_count=50")

    assert len(found) in (15, 30)
    # Once to sort, once for the page: of 150 records.
    assert fetched(counted.plans[-1]) == 2 * len(found)


def test_a_page_reads_no_table_of_patients_whole(filled: Store) -> None:
    with filled.read_transaction() as connection:
        counted = Counted(connection)
        assert searched(filled, counted, "patient=p0&code=c2&_count=50")

    assert not [name for plan in counted.plans for name in read_whole(plan)]


def read_whole(plan: Node) -> list[str]:
    """Return the tables of records that are read from one end to the other."""
    name = plan.get("Relation Name", "") if plan["Node Type"] == "Seq Scan" else ""
    own = [name] if name == "record_patient" or name.startswith("idx_") else []
    return own + [name for below in plan.get("Plans", ()) for name in read_whole(below)]


def test_a_page_and_what_comes_with_it_are_planned_once_for_all_patients(filled: Store) -> None:
    more = "_include=Observation:encounter&_include=Observation:subject&_count=5"
    plans = []
    with filled.read_transaction() as connection:
        for patient in ("p0", "p1", "p0", "p1"):
            assert len(searched(filled, connection, f"patient={patient}&{more}")) == 5
            rows = connection.execute(
                "SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements"
                " WHERE statement LIKE 'WITH %'"
            )
            plans.append({row["statement"]: (row[1], row[2]) for row in rows})

    # Prepared at their second use.
    (_, second, third, fourth) = plans
    assert second.keys() == third.keys() == fourth.keys()
    changed = [name for name in fourth if fourth[name] != third[name]]
    assert len(changed) == 2  # the page and its includes
    assert all(fourth[name][1] == 0 for name in changed)
