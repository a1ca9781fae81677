"""A read in a batch is a request of its own: the same answer, the same rows in the audit log."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.lib.gateway import House, must
from tests.spec.audit.test_asked_about_http import NAMED

# The audit log is at its own address alone, and no Bundle takes an address of another form.
ADDRESSES = [
    *(address for address in NAMED if not address.startswith("AuditEvent")),
    "Organization?_count=1",
    "Organization/none",
    "Nothing/x",
    "Observation?patient=pat-1&_count=1",
    "Patient/pat-1/$corrections",
    "$recent-patients",
    "$acting-for",
    "Patient/pat-1/$withheld?nonsense=1",
]
PEOPLE = ("doctor.a", "doctor.b", "p.pat-1", "steward")
_COLUMNS = "interaction, patient, reason, outcome, entities, domains, query, consent, purpose"


def rows_after(house: House, login: str, known: int) -> list[tuple[Any, ...]]:
    house.gateway.audit_batcher.flush()
    with house.gateway.store.read_transaction() as connection:
        found = connection.execute(
            f"SELECT {_COLUMNS} FROM audit WHERE login = ? ORDER BY seq", (login,)
        ).fetchall()
    return [tuple(row) for row in found[known:]]


@pytest.mark.parametrize("login", PEOPLE)
def test_a_read_in_a_batch_answers_and_is_on_record_as_if_sent_alone(
    furnished: House, login: str
) -> None:
    furnished.share("hospital-a")
    session = furnished.login(login)
    known = len(rows_after(furnished, login, 0))
    alone: list[httpx.Response] = []
    rows: list[tuple[Any, ...]] = []
    for address in ADDRESSES:
        alone.append(session.get(address))
        rows += rows_after(furnished, login, known + len(rows))
    known += len(rows)
    entries = [{"request": {"method": "GET", "url": address}} for address in ADDRESSES]

    batch = {"resourceType": "Bundle", "type": "batch", "entry": entries}
    together = must(session.post("", batch)).json()["entry"]

    for address, single, entry in zip(ADDRESSES, alone, together, strict=True):
        if address == "Nothing/x":
            # What is no address is refused before it is a request: as malformed, here.
            assert entry["response"]["status"].startswith("400")
            continue
        assert entry["response"]["status"][:3] == str(single.status_code), address
        if single.status_code == 200:
            assert entry["resource"] == single.json(), address
    # The entry that is no request at all is on record as of the batch, and alone as of no route.
    recorded = [row for row in rows_after(furnished, login, known) if row[0] != "batch"]
    assert recorded == [row for row in rows if row[0] != "rest"]
