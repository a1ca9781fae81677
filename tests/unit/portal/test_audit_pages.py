"""The audit log's pages: for the steward and the auditor, and the patient's by what he asks for."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import pytest

from tests.lib.portal_house import PEOPLE, PortalHouse, portal
from tests.unit.portal.test_who_looked import event, visits_of

__all__ = ["portal"]

HISTORY = "Patient/pat-1/$access-history"

DOMAIN = {"type": "data-domain"}


def seen(at: str, login: str = "dr.b", **changes: Any) -> dict[str, Any]:
    """Return an event that tells domains and a reason."""
    found = event(at, login, "Observation", outcomeDesc="shared", **changes)
    found["agent"][0]["name"] = login.title()
    found["entity"][0]["role"] = {"code": "1"}
    found["entity"][0]["detail"] = [
        {**DOMAIN, "valueString": name} for name in ("laboratory", "observation")
    ]
    return found


def flag(name: str, status: str = "requested", **changes: Any) -> dict[str, Any]:
    """Return an item of the worklist."""
    return {
        "resourceType": "Task",
        "id": name,
        "status": status,
        "code": {"coding": [{"code": "own-family-name"}]},
        "executionPeriod": {"start": "2026-11-21T01:00:00Z", "end": "2026-11-21T02:00:00Z"},
        "focus": {"identifier": {"value": "dr.b"}, "display": "Dr B"},
        "owner": {"reference": "Organization/st-b"},
        "for": {"reference": "Patient/pat-1"},
        "input": [{"valueInteger": 3}],
        **changes,
    }


def worklist(portal: PortalHouse, *items: dict[str, Any]) -> None:
    bundle = {"resourceType": "Bundle", "entry": [
        {"resource": item, "search": {"mode": "match"}} for item in items
    ]}  # fmt: skip
    portal.fake.resources[("AuditEvent", "$worklist")] = bundle


def asked(portal: PortalHouse, path: str = "AuditEvent") -> list[tuple[str, str]]:
    """Return the parameters of the last question about the log."""
    (*_, last) = [one for one in portal.fake.asked if one.url.path == f"/fhir/{path}"]
    return parse_qsl(last.url.query.decode())


def test_a_visit_tells_the_domains_and_the_reason_the_log_has() -> None:
    (visit,) = visits_of(seen("21T18:30:00"))

    assert visit.looked_at == ("Laboratory results", "Observations and lifestyle")
    assert visit.reasons == ("shared",)


def test_the_patient_asks_for_some_visits(portal: PortalHouse) -> None:
    portal.fake.resources[("AuditEvent", "x")] = seen("21T18:30:00")
    browser = portal.log_in("patient")

    page = "/who-looked?organization=st-b&domain=laboratory&from=2026-11-01&to=2026-11-21"
    shown = browser.get(f"{page}&person=dr.b").text

    assert asked(portal, HISTORY) == [
        ("login", "dr.b"),
        ("organization", "st-b"),
        ("domain", "laboratory"),
        ("date", "ge2026-11-01T00:00:00+08:00"),
        ("date", "lt2026-11-22T00:00:00+08:00"),
    ]
    assert "You share your record with it" in shown
    assert 'value="2026-11-01"' in shown
    assert "Show all visits" in shown


def test_what_is_no_day_and_no_domain_asks_for_nothing(portal: PortalHouse) -> None:
    browser = portal.log_in("patient")

    assert browser.get("/who-looked?domain=x&from=soon&to=2026-99-99").status_code == 200

    assert asked(portal, HISTORY) == []


def test_the_steward_searches_the_log(portal: PortalHouse) -> None:
    portal.fake.resources[("AuditEvent", "x")] = seen("21T18:30:00")
    browser = portal.log_in("steward")

    shown = browser.get("/audit?patient=pat-1&person=dr.b&reason=shared&to=2026-11-21").text

    assert asked(portal) == [
        ("_count", "50"),
        ("patient", "pat-1"),
        ("altid", "dr.b"),
        ("reason", "shared"),
        ("date", "lt2026-11-22T00:00:00+08:00"),
    ]
    for text in ("Dr.B", "St B&#39;s Hospital", "Laboratory results", "Shared", "pat-1"):
        assert text in shown


def test_the_worklist_shows_the_rule_and_never_the_patients_name(portal: PortalHouse) -> None:
    worklist(portal, flag("f-1"))

    shown = portal.log_in("steward").get("/unusual").text

    for text in ("Same family name as the patient", "Dr B", "3 accesses", "pat-1", "Settle it"):
        assert text in shown
    assert "CHAN" not in shown
    assert "陳" not in shown


def test_the_steward_settles_an_item_with_a_note(portal: PortalHouse) -> None:
    worklist(portal, flag("f-1"))
    portal.log_in("steward")

    answer = portal.send("/unusual", "/unusual/settle", item="f-1", verdict="in-order", note="ok")

    assert answer.headers["location"] == "/unusual"
    (written,) = portal.fake.written()
    assert {one["name"]: one["valueString"] for one in written["parameter"]} == {
        "item": "f-1", "verdict": "in-order", "note": "ok",
    }  # fmt: skip


def test_what_was_settled_shows_its_note_and_no_form(portal: PortalHouse) -> None:
    note = {"authorString": "steward.ng", "time": "2026-11-21T03:00:00Z", "text": "A referral."}
    done = {"businessStatus": {"coding": [{"code": "in-order"}]}, "note": [note]}
    worklist(portal, flag("f-1", "completed", **done))

    shown = portal.log_in("steward").get("/unusual?settled=1").text

    assert "A referral." in shown
    assert "In order" in shown
    assert "<textarea" not in shown


def test_an_auditor_reads_and_settles_nothing(
    portal: PortalHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        PEOPLE, "auditor", {"role": "auditor", "organization": "ehr-commons", "display": "TSE"}
    )
    worklist(portal, flag("f-1"))
    browser = portal.log_in("auditor")

    shown = browser.get("/unusual").text
    assert "Same family name" in shown
    assert "<textarea" not in shown
    assert browser.post("/unusual/settle", data={"item": "f-1"}).status_code == 403


@pytest.mark.parametrize("who", ["patient", "doctor", "researcher"])
@pytest.mark.parametrize("page", ["/audit", "/unusual"])
def test_the_log_is_closed_to_everyone_else(portal: PortalHouse, who: str, page: str) -> None:
    assert portal.log_in(who).get(page).status_code == 403


@pytest.mark.parametrize("language", ["zh-Hant-HK", "zh-Hans"])
def test_the_pages_speak_chinese(portal: PortalHouse, language: str) -> None:
    worklist(portal, flag("f-1"))

    shown = portal.log_in("steward", language).get("/unusual").text

    assert "Settle" not in shown
    assert "Unusual" not in shown
