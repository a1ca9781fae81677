"""$breach-report leaves out nobody whose record was copied, and no oversight of a person."""

from __future__ import annotations

import pytest

from tests.lib.gateway import House, Session, must


def reached(session: Session, query: str) -> dict[str, int]:
    """Return the number of accesses by patient."""
    answer = must(session.get(f"$breach-report?{query}&from=2026-01-01")).json()
    found = {}
    for one in answer["parameter"]:
        if one["name"] == "patient":
            values = {part["name"]: part for part in one["part"]}
            patient = values["patient"]["valueReference"]["reference"].removeprefix("Patient/")
            found[patient] = values["accesses"]["valueInteger"]
    return found


@pytest.mark.parametrize("most", [200, 1])
def test_whose_changes_the_feed_copied_is_in_it_however_many_a_page_has(
    furnished: House, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("ehr_gateway.audit_log.asked_about.MAX_COUNTED_ROWS", most)
    lake = must(
        furnished.client.post(
            "/oauth/token",
            data={"grant_type": "client_credentials", "scope": "ehr/feed.read"},
            auth=("lake", "correct horse"),
        )
    ).json()["access_token"]
    must(Session(furnished.client, lake).get("/feed"))

    assert set(reached(furnished.login("steward"), "kind=client&subject=lake")) == {
        "pat-1",
        "pat-2",
    }


@pytest.mark.parametrize(
    "address",
    ["Patient/pat-1/$access-history", "AuditEvent?patient=pat-1", "Patient/pat-1/$carers"],
)
def test_who_was_looked_up_in_the_log_was_reached(furnished: House, address: str) -> None:
    must(furnished.login("steward").get(address))

    assert reached(furnished.login("auditor"), "kind=person&subject=steward") == {"pat-1": 1}


def test_who_was_only_asked_about_was_not_reached(furnished: House) -> None:
    must(furnished.login("doctor.b").get("Patient/pat-1/$withheld"))
    must(furnished.login("doctor.b").get("Observation?patient=pat-1"))
    must(furnished.login("steward").get("Condition?patient=pat-1&_summary=count"))

    assert reached(furnished.login("auditor"), "kind=person&subject=doctor.b") == {}
