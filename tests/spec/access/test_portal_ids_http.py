"""Every route of the portal with ids of another person's record, over a real gateway.

Whoever may see nothing of a patient gets the answer of ids that nobody has, on every page and from
every form, and nothing is written.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.gateway import House
from tests.lib.portal_reader import READERS, Reader
from tests.lib.portal_routes import routes

_WITH_IDS = [(method, path) for method, path in routes() if "{" in path and "{tag}" not in path]
SECRETS = ("Ka Ming", "asthma", "13.5", "ZA123456", "Feb 1980")
REAL = {
    "patient": "pat-1", "resource_type": "Observation", "resource_id": "lab-1",
    "observation_id": "lab-1", "organization": "hospital-a",
}  # fmt: skip
ABSENT = {
    "patient": "pat-0", "resource_type": "Observation", "resource_id": "lab-0",
    "observation_id": "lab-0", "organization": "hospital-a",
}  # fmt: skip


def versions(house: House) -> list[Any]:
    """Return how many versions there are of each resource of the first patient."""
    with house.gateway.store.read_transaction() as connection:
        rows = connection.execute(
            "SELECT r.type, r.id, count(*) FROM resource r JOIN record_patient p ON p.pk = r.pk"
            " WHERE p.patient = 'pat-1' GROUP BY r.type, r.id"
        )
        return sorted(tuple(row) for row in rows)


def test_the_owner_sees_by_the_same_call_what_the_others_must_not(furnished: House) -> None:
    shown = Reader(furnished, "p.pat-1").call(
        "GET", "/record/item/{resource_type}/{resource_id}", REAL
    )

    assert shown[0] == 200
    assert "13.5" in shown[1]


@pytest.mark.parametrize("login", sorted(set(READERS) - {"p.pat-1"}))
def test_ids_of_a_record_one_may_not_see_answer_as_ids_that_nobody_has(
    furnished: House, login: str
) -> None:
    reader = Reader(furnished, login)
    before = versions(furnished)
    for method, path in _WITH_IDS:
        if "emergency" in path or "events" in path or (method == "POST" and "/ask" in path):
            # An emergency is declared for whoever it is, and a request asked of a known patient
            # says so: both are steps of access with tests of their own.
            continue
        real = reader.call(method, path, REAL)
        absent = reader.call(method, path, ABSENT)
        assert real == absent, (method, path)
        assert not any(secret in real[1] for secret in SECRETS), (method, path)
    assert versions(furnished) == before
