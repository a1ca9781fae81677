"""What consent adds to a statement is looked up by index, on both databases."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ehr_gateway.access import Access
from tests.lib.gateway import START_MS, House

LOGINS = ("doctor.b", "pharmacist.b", "p.pat-1", "steward")
READ = "SELECT r.* FROM resource r WHERE r.type = :type AND r.id = :id AND r.current = 1"
SEARCH = (
    "SELECT r.pk FROM idx_token i JOIN resource r ON r.pk = i.pk"
    " WHERE i.param = :param AND i.code = :id AND r.current = 1 AND r.type = :type"
)
CONSENT_TABLES = r"(?:consent_\w+|record_\w+)"


def scanned(house: House, statement: str, params: dict[str, Any]) -> list[str]:
    """Return the consent tables that a statement's plan reads whole."""
    with house.gateway.store.write_transaction() as connection:
        if connection.dialect == "sqlite":
            rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", params).fetchall()
            plan = [row["detail"] for row in rows]
            return [line for line in plan if line.startswith("SCAN")]
        # Of tables of a few rows it would read the whole; told not to, it shows whether it has to.
        connection.execute("SET LOCAL enable_seqscan = off")
        connection.execute("SET LOCAL plan_cache_mode = auto")
        rows = connection.execute(f"EXPLAIN {statement}", params).fetchall()
        plan = [row["QUERY PLAN"] for row in rows]
        return [line for line in plan if re.search(rf"Seq Scan on {CONSENT_TABLES}", line)]


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("statement", [READ, SEARCH], ids=["read", "search"])
def test_no_consent_table_is_read_whole(furnished: House, login: str, statement: str) -> None:
    furnished.share()
    caller = furnished.gateway.verifier.authenticate(furnished.token(login), START_MS)
    visible = Access(caller.requester, START_MS, "plan").read_predicate
    params = {"type": "Observation", "id": "lab-1", "param": 1, **visible.params}
    known = {name: params[name] for name in re.findall(r":(\w+)", f"{statement} {visible.sql}")}

    assert scanned(furnished, f"{statement} AND ({visible.sql})", known) == []


def test_a_table_without_its_index_would_be_found(furnished: House) -> None:
    whole = "SELECT 1 FROM consent_joining j WHERE j.consent || j.patient = :id"

    assert scanned(furnished, whole, {"id": "x"}) != []
