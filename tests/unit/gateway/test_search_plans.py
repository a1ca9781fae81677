"""Where a search begins on SQLite: at the list or the index named here, and it scans no table."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from ehr_gateway.access import Access
from ehr_gateway.access_requests.quality_findings import count_open_findings
from ehr_gateway.database import Connection, Cursor
from ehr_gateway.search.page import search_on
from ehr_gateway.store.store import Store
from ehr_gateway.transaction.prepared_resource import prepare_draft
from ehr_gateway.transaction.transaction import open_transaction
from ehr_privacy.consent import Requester, parse_scopes
from tests.lib.store import NOW, doctor, platform

LOINC = "http://loinc.org"
# More than a walk passes before it gives up, and fewer than are taken from a list at once.
MANY, FEW = 560, 60
OWN = Access(
    Requester("patient", "p.p0", patient="p0", scopes=parse_scopes("patient/*.rs")), NOW, "request"
)


class Explained:
    """A connection that keeps the plan of what is run on it."""

    dialect = "sqlite"

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.plans: list[list[str]] = []

    def execute(self, sql: str, parameters: Any = ()) -> Cursor:
        """Run one statement, and keep its plan."""
        plan = self._connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)
        self.plans.append([row["detail"] for row in plan])
        return self._connection.execute(sql, parameters)


@pytest.fixture(scope="module")
def filled() -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        opened = Store(Path(folder, "ehr.db"))
        patients: list[dict[str, Any]] = [
            {"resourceType": "Patient", "id": f"p{number}", "name": [{"family": "Chan"}]}
            for number in range(2)
        ]
        observations: list[dict[str, Any]] = [
            {
                "resourceType": "Observation",
                "id": f"o{number}",
                "status": "final",
                "code": {"coding": [{"system": LOINC, "code": f"c{int(number < FEW)}"}]},
                "subject": {"reference": f"Patient/p{number % 2}"},
                "effectiveDateTime": f"20{number % 20:02d}-01-01",
            }
            for number in range(MANY)
        ]
        with open_transaction(opened, platform()) as writing:
            for body in patients + observations:
                writing.create(prepare_draft(body, body["id"], platform(), body["resourceType"]))
        yield opened
        opened.close()


def plans(
    store: Store,
    kind: str,
    query: str,
    access: Access | None = None,
    within: tuple[str, str] | None = None,
) -> list[list[str]]:
    """Return the plans of a search's statements."""
    pairs = [(name, value) for name, _, value in (one.partition("=") for one in query.split("&"))]
    with store.read_transaction() as connection:
        explained = Explained(connection)
        search_on(explained, store, access or platform(), kind, pairs, within=within)  # type: ignore[arg-type]
    return explained.plans


def page(found: list[list[str]]) -> list[str]:
    """Return the plan of the statement that finds the page: the last but the reading of bodies."""
    return [
        plan
        for plan in found
        if any(" r " in f"{line} " for line in plan)
        and not any("json_each" in line for line in plan)
    ][-1]


LISTS = {
    "patient=p1&code=c0": "idx_reference USING PRIMARY KEY (param=? AND target_id=? AND",
    "subject=Patient/p1&date=ge2005": "idx_reference USING PRIMARY KEY (param=?",
    "patient=p1&_sort=-date": "idx_reference USING PRIMARY KEY (param=?",
    f"code={LOINC}|c1": "idx_token USING PRIMARY KEY (param=? AND code=? AND system=?)",
    "code=c1&date=ge2005": "idx_token USING PRIMARY KEY (param=? AND code=?)",
    "identifier=a|b": "idx_token USING PRIMARY KEY (param=? AND code=? AND system=?)",
    "date=2005-01-01": "idx_date USING PRIMARY KEY (param=? AND low>? AND low<?)",
    "_lastUpdated=gt2030": "INDEX resource_recent (type=? AND last_updated>?)",
    "patient.name=lee": "idx_string USING PRIMARY KEY (param=? AND normal>? AND normal<?)",
    "patient.identifier=a|b": "idx_token USING PRIMARY KEY (param=?",
    "_has:Provenance:target:_id=1": "resource_current (type=? AND id=?)",
}  # fmt: skip


@pytest.mark.parametrize("query", LISTS)
def test_a_search_begins_at_the_shortest_list(filled: Store, query: str) -> None:
    plan = page(plans(filled, "Observation", query))

    begin, end = plan.index("MATERIALIZE driver"), plan.index("SCAN driver")
    assert LISTS[query] in "\n".join(plan[begin:end])
    assert "SEARCH r USING INTEGER PRIMARY KEY (rowid=?)" in plan[end + 1]


@pytest.mark.parametrize("query", ["code=c0", "code:not=c0", "code:missing=true"])
def test_what_an_index_tells_is_asked_before_a_record_is_fetched(filled: Store, query: str) -> None:
    plan = page(plans(filled, "Observation", f"subject=Patient/p1&{query}"))

    begin, end = plan.index("MATERIALIZE driver"), plan.index("SCAN driver")
    asked = "idx_token_resource (pk=? AND param=?"
    assert asked in "\n".join(plan[begin:end])
    assert asked not in "\n".join(plan[end:])


WALKS = {
    "_count=20": "resource_current (type=?",
    "code=c0": "resource_current (type=?",
    "code:not=c1": "resource_current (type=?",
    "date=ge2001": "resource_current (type=?",
    "_lastUpdated=gt2020": "resource_current (type=?",
    "patient.name=chan": "resource_current (type=?",
    "code=c0&_sort=-_lastUpdated": "resource_recent (type=?)",
    "_lastUpdated=gt2020&_sort=_lastUpdated": "resource_recent (type=? AND last_updated>?)",
}


@pytest.mark.parametrize("query", WALKS)
def test_what_is_frequent_is_met_on_a_walk_in_the_order_asked_for(
    filled: Store, query: str
) -> None:
    plan = page(plans(filled, "Observation", f"{query}&_count=2"))

    assert WALKS[query] in plan[0]
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan


@pytest.mark.parametrize("query", [*LISTS, *WALKS, "code=c0&_total=accurate", "_sort=date"])
def test_no_statement_of_a_search_scans_a_table(filled: Store, query: str) -> None:
    scanned = {
        line
        for plan in plans(filled, "Observation", query)
        for line in plan
        if line.startswith("SCAN") and any(name in line for name in ("idx_", "resource", " r"))
    }

    assert not scanned


@pytest.mark.parametrize("query", LISTS)
def test_a_test_looks_up_one_resource(filled: Store, query: str) -> None:
    plan = page(plans(filled, "Observation", f"_id=o1&{query}"))

    probes = [line for line in plan if line.startswith("SEARCH idx_")]
    assert all("(pk=? AND param=?" in line for line in probes)


def test_patients_search_begins_at_their_own_record(filled: Store) -> None:
    own = page(plans(filled, "Observation", "_count=5", OWN))
    directory = page(plans(filled, "Organization", "_count=5", OWN))

    assert any("record_patient_patient (patient=?)" in line for line in own)
    assert "MATERIALIZE driver" in own
    assert "MATERIALIZE driver" not in directory


def test_a_walk_that_meets_nothing_soon_gives_way_to_a_list(filled: Store) -> None:
    stranger = plans(filled, "Observation", "code=c0", doctor("st-gabriel"))

    walks = [plan for plan in stranger if "resource_current (type=? AND id<?)" in plan[0]]
    assert len(walks) == 2  # a short one first, then a longer
    assert "MATERIALIZE driver" in page(stranger)
    allowed = page(plans(filled, "Observation", "code=c0"))
    assert "MATERIALIZE driver" not in allowed


def test_a_compartment_begins_at_the_record(filled: Store) -> None:
    plan = page(plans(filled, "Observation", "code:not=c1", within=("Patient", "p1")))

    assert any("record_patient_patient (patient=?)" in line for line in plan)


def test_findings_are_counted_from_the_findings_and_not_from_the_records(filled: Store) -> None:
    steward = Requester("steward", "s", organization="", scopes=parse_scopes("user/*.rs"))
    with filled.read_transaction() as connection:
        explained = Explained(connection)

        count_open_findings(cast(Connection, explained), steward)

    assert " f" in explained.plans[0][0], explained.plans[0]
