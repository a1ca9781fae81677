"""The reads of a batch see one state of the store, and what the batch wrote before them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ehr_fhir.errors import EhrError, Unavailable
from ehr_gateway.database import DATABASE_ERRORS, Connection
from ehr_gateway.interactions.bundle.snapshot import Snapshot
from tests.lib.gateway import House, condition, must

OPERATION = "Patient/pat-1/$corrections"
READS = (
    "Patient/pat-1",
    "Observation?patient=pat-1&_sort=-date&_count=1&_total=accurate",
    OPERATION,
    "Condition?patient=pat-1",
    "Observation/none",
)


def batch(*requests: tuple[str, str, dict[str, Any] | None]) -> dict[str, Any]:
    """Return a batch of requests: method, url, resource."""
    entries = [
        {"request": {"method": method, "url": url}, **({"resource": body} if body else {})}
        for method, url, body in requests
    ]
    return {"resourceType": "Bundle", "type": "batch", "entry": entries}


def test_reads_share_one_transaction_whatever_stands_between_them(
    furnished: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, begun = furnished.gateway.store, []
    lend = store.read_transaction

    @contextmanager
    def lend_counted(*, single_statement: bool = False) -> Iterator[Connection]:
        begun.append(single_statement)
        with lend(single_statement=single_statement) as connection:
            yield connection

    monkeypatch.setattr(store, "read_transaction", lend_counted)
    session = furnished.login("p.pat-1")
    # The first request of a process looks up more.
    must(session.get(OPERATION))
    begun.clear()
    must(session.get(OPERATION))
    of_operation = begun.count(False)
    begun.clear()
    answer = must(session.post("", batch(*(("GET", url, None) for url in READS)))).json()

    statuses = [entry["response"]["status"][:3] for entry in answer["entry"]]
    assert statuses == ["200", "200", "200", "200", "404"]
    assert answer["entry"][1]["resource"]["total"] == 3
    assert begun.count(False) == 1 + of_operation


def test_a_read_after_a_write_sees_it(furnished: House) -> None:
    new = condition("con-9", "enc-1")
    search = "Condition?_id=con-1&_summary=count"

    answer = must(
        furnished.system("hospital-a").post(
            "",
            batch(
                ("GET", search, None),
                ("DELETE", "Condition/con-1", None),
                ("GET", search, None),
                ("POST", "Condition", {k: v for k, v in new.items() if k != "id"}),
                ("GET", "Condition?patient=pat-1&_summary=count", None),
            ),
        )
    ).json()

    entries = answer["entry"]
    assert [entries[n]["resource"]["total"] for n in (0, 2, 4)] == [1, 0, 1]


def test_a_fault_of_the_database_ends_the_snapshot_and_the_next_read_begins_another(
    furnished: House,
) -> None:
    store = furnished.gateway.store
    with Snapshot(store) as snapshot:
        with snapshot.lend() as first:
            assert first.execute("SELECT 1 AS one").fetchone()["one"] == 1
        with pytest.raises(Unavailable), snapshot.lend():
            raise Unavailable("The database does not answer.")
        with snapshot.lend() as next_one:
            assert next_one.execute("SELECT 2 AS two").fetchone()["two"] == 2
        with pytest.raises((EhrError, *DATABASE_ERRORS)), snapshot.lend() as broken:
            broken.execute("SELECT no_such_column FROM resource")
        with snapshot.lend() as after:
            assert after.execute("SELECT 3 AS three").fetchone()["three"] == 3
