"""`$waiting` counts what the lists of each role hold, and names nobody."""

from __future__ import annotations

import pytest

from ehr_etl.data_quality.measure_reports import build_measure_reports
from ehr_etl.data_quality.results import ExpectationResult, TableQuality
from tests.lib.gateway import House, Session, must
from tests.spec.access.test_suspensions_http import parameters, suspend


def counts(session: Session) -> dict[str, int]:
    """Return the numbers by their names."""
    answer = must(session.get("$waiting")).json()
    return {found["name"]: found["valueInteger"] for found in answer["parameter"]}


def test_an_emergency_waits_until_it_is_reviewed(furnished: House) -> None:
    doctor, steward = furnished.login("doctor.b"), furnished.login("steward")
    before = counts(steward)
    declared = {"reason": "Unconscious in the emergency room"}
    must(doctor.post("Patient/pat-1/$declare-emergency", parameters(declared)))

    during = counts(steward)

    assert before["reviews"] == before["emergency-reviews"] == 0
    assert during["reviews"] == during["emergency-reviews"] == 1
    access = must(steward.get("$access-reviews")).json()["parameter"][0]["part"][0]["valueString"]
    finding = {"access": access, "finding": "justified", "note": "Seen in the papers"}
    must(steward.post("$review-access", parameters(finding)))
    assert counts(steward)["reviews"] == 0


def test_suspensions_in_force_are_counted_for_each_role(furnished: House) -> None:
    suspend(furnished, "person", "doctor.a", until="2026-11-22T09:00:00Z")

    for login in ("steward", "auditor", "admin"):
        assert counts(furnished.login(login))["suspensions"] == 1
    furnished.clock.forward(seconds=3600)
    assert counts(furnished.login("auditor"))["suspensions"] == 0


def test_accounts_are_counted_for_the_administrator_alone(furnished: House) -> None:
    assert counts(furnished.login("admin"))["accounts"] >= 8
    assert "accounts" not in counts(furnished.login("steward"))


def table_quality(table: str, *passed: bool) -> TableQuality:
    """Return the results of a table's checks."""
    results = [
        ExpectationResult(f"check-{number}", success, 10, 0 if success else 3)
        for number, success in enumerate(passed)
    ]
    return TableQuality(table, 10, tuple(results))


def test_checks_of_tables_that_failed_are_counted_for_the_steward(furnished: House) -> None:
    """Of the newest report of each table, and not of the reports by provider again."""
    steward, system = furnished.login("steward"), furnished.system("ehr-commons")

    def report(*tables: TableQuality) -> None:
        at = "2026-11-22T08:00:00Z"
        providers = [table_quality("hospital-a", False)]
        for found in build_measure_reports(tables, at, providers=providers):
            must(system.put({**found, "reporter": {"display": "lake"}}))

    assert counts(steward)["failed-checks"] == 0
    report(table_quality("silver", False, True), table_quality("condition_flat", False, False))
    assert counts(steward)["failed-checks"] == 3
    report(table_quality("silver", True, True), table_quality("condition_flat", False, True))
    assert counts(steward)["failed-checks"] == 1
    # A report of somebody else's measure has no verdict of the lake.
    must(system.put({"resourceType": "MeasureReport", "id": "m", "status": "complete",
                     "type": "summary", "measure": "http://example.org/m",
                     "period": {"start": "2026"}, "group": [{"code": {"text": "x"}}]}))  # fmt: skip
    assert counts(steward)["failed-checks"] == 1
    for login in ("auditor", "admin"):
        assert "failed-checks" not in counts(furnished.login(login))


@pytest.mark.parametrize("login", ["doctor.a", "p.pat-1", "researcher"])
def test_nothing_waits_for_others(furnished: House, login: str) -> None:
    assert furnished.login(login).get("$waiting").status_code == 403
