"""The pages of steward, auditor and administrator: what waits, containment, evidence."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.lib.portal_house import PortalHouse, portal
from tests.unit.portal.test_who_looked import event

__all__ = ["portal"]


def answer(portal: PortalHouse, operation: str, *parameters: dict[str, Any]) -> None:
    """Let an operation of the gateway answer with parameters."""
    body = {"resourceType": "Parameters", "parameter": list(parameters)}
    portal.fake.operations[operation] = body


def count(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "valueInteger": number}


def suspension(**changes: Any) -> dict[str, Any]:
    """Return one suspension of `$suspensions`."""
    values: dict[str, Any] = {
        "id": "s-1", "kind": "person", "subject": "doctor.a", "in-force": True,
        "reason": "<b>Stolen</b> password", "since": "2026-11-22T07:00:00Z", "by": "NG Wing Sum",
        **changes,
    }  # fmt: skip
    parts = [
        {"name": name, ("valueBoolean" if isinstance(value, bool) else "valueString"): value}
        for name, value in values.items()
    ]
    return {"name": "suspension", "part": parts}


def sent_to(portal: PortalHouse, operation: str) -> dict[str, Any]:
    """Return the values of the last call of an operation by POST."""
    (*_, last) = [r for r in portal.fake.asked if r.url.path == f"/fhir/{operation}"]
    parts = json.loads(last.content)["parameter"]
    return {part["name"]: part["valueString"] for part in parts}


@pytest.mark.parametrize("who", ["steward", "auditor", "administrator"])
def test_a_log_in_leads_to_what_waits(portal: PortalHouse, who: str) -> None:
    answer(portal, "$waiting", count("unusual", 3), count("suspensions", 0), count("accounts", 12))
    browser = portal.log_in(who)

    assert browser.get("/").headers["location"] == "/overview"
    shown = browser.get("/overview").text
    assert ("3 wait" in shown) == (who != "administrator")
    assert ('href="/oauth/accounts"' in shown) == (who == "administrator")
    assert "Nobody is suspended." in shown


def test_faults_that_wait_are_counted_on_the_stewards_home(portal: PortalHouse) -> None:
    answer(portal, "$waiting", count("findings", 4), count("reviews", 0))

    shown = portal.log_in("steward").get("/overview").text

    tile = shown[shown.index('ehr-tile__title"><a href="/findings"') :]
    assert "4" in tile[: tile.index("ehr-tile__title", 20)]
    assert shown.index('<a href="/findings"') < shown.index('ehr-tile__title"><a href="/reviews"')


@pytest.mark.parametrize(
    ("failed", "words"), [(2, "2 checks failed"), (1, "1 check failed"), (0, "All passed")]
)
def test_failed_checks_of_the_data_are_counted_on_the_stewards_home(
    portal: PortalHouse, failed: int, words: str
) -> None:
    answer(portal, "$waiting", count("failed-checks", failed), count("reviews", 0))

    shown = portal.log_in("steward").get("/overview").text

    tile = shown[shown.index('ehr-tile__title"><a href="/quality"') :]
    assert words in tile[: tile.index("</li>")]
    # What failed is to be seen to, so it stands before what is in order.
    is_first = shown.index('<a href="/quality"') < shown.index(
        'ehr-tile__title"><a href="/reviews"'
    )
    assert is_first or not failed


def test_what_waits_stands_first(portal: PortalHouse) -> None:
    answer(portal, "$waiting", count("reviews", 0), count("undelivered", 2))

    shown = portal.log_in("steward").get("/overview").text

    assert shown.index('ehr-tile__title"><a href="/deliveries"') < shown.index(
        'ehr-tile__title"><a href="/reviews"'
    )


@pytest.mark.parametrize("who", ["patient", "carer", "doctor", "researcher"])
@pytest.mark.parametrize("path", ["/overview", "/monitor"])
def test_the_pages_are_for_nobody_else(portal: PortalHouse, who: str, path: str) -> None:
    assert portal.log_in(who).get(path).status_code == 403


def test_a_suspension_is_told_as_text_with_its_reason(portal: PortalHouse) -> None:
    answer(portal, "$suspensions", suspension(), suspension(**{
        "id": "s-2", "in-force": False, "lifted": "2026-11-22T08:00:00Z", "lifted-by": "steward",
        "lift-reason": "All in order",
    }))  # fmt: skip

    shown = portal.log_in("auditor").get("/monitor").text

    assert "&lt;b&gt;Stolen&lt;/b&gt; password" in shown
    assert "Until it is lifted" in shown
    assert "All in order" in shown
    # An auditor sees and reports; to stop somebody is not theirs.
    assert "/monitor/suspend" not in shown
    assert "/monitor/report" in shown


def test_suspending_needs_the_tick_and_sends_what_was_typed(portal: PortalHouse) -> None:
    portal.log_in("steward")
    fields = {"kind": "person", "subject": "doctor.a", "reason": "Stolen password", "hours": "24"}

    without = portal.send("/monitor", "/monitor/suspend", **fields)
    assert without.status_code == 422
    assert "Tick the box" in without.text
    assert "Stolen password" in without.text

    answer(portal, "$suspend")
    done = portal.send("/monitor", "/monitor/suspend", **fields, sure="1")

    assert done.headers["location"] == "/monitor"
    sent = sent_to(portal, "$suspend")
    assert sent["subject"] == "doctor.a"
    assert sent["until"].startswith("2026-11-23T08:00:00")


def test_all_emergency_access_names_nobody(portal: PortalHouse) -> None:
    answer(portal, "$suspend")
    portal.log_in("administrator")
    fields = {"kind": "emergency", "subject": "typed before", "reason": "A wave of false ones"}

    portal.send("/monitor", "/monitor/suspend", **fields, sure="1")

    assert "subject" not in sent_to(portal, "$suspend")


def test_a_suspension_is_lifted_with_a_reason(portal: PortalHouse) -> None:
    answer(portal, "$suspensions", suspension())
    answer(portal, "$lift-suspension")
    portal.log_in("steward")

    done = portal.send("/monitor", "/monitor/lift", suspension="s-1", reason="Password changed")

    assert done.headers["location"] == "/monitor"
    assert sent_to(portal, "$lift-suspension")["reason"] == "Password changed"


def test_the_breach_report_is_made_by_post_and_names_numbers_alone(portal: PortalHouse) -> None:
    period = {"start": "2026-11-21T02:00:00Z", "end": "2026-11-21T03:00:00Z"}
    answer(
        portal, "$breach-report", {"name": "kind", "valueCode": "person"},
        {"name": "subject", "valueString": "doctor.a"},
        {"name": "period", "valuePeriod": period}, count("accesses", 7),
        {"name": "patient", "part": [
            {"name": "patient", "valueReference": {"reference": "Patient/pat-1"}},
            {"name": "period", "valuePeriod": period}, count("accesses", 7), count("changes", 1),
            {"name": "domain", "valueCode": "laboratory"},
        ]},
    )  # fmt: skip
    portal.log_in("auditor")
    fields = {"kind": "person", "subject": "doctor.a", "from": "2026-11-01", "to": "2026-11-21"}

    shown = portal.send("/monitor", "/monitor/report", **fields)

    assert shown.status_code == 200
    for text in ("pat-1", "Laboratory results", "doctor.a", "To be written", "21 Nov 2026 10:00"):
        assert text in shown.text
    (*_, asked) = [r for r in portal.fake.asked if r.url.path == "/fhir/$breach-report"]
    assert asked.url.params["from"] == "2026-11-01T00:00:00+08:00"
    assert asked.url.params["until"] == "2026-11-22T00:00:00+08:00"


def test_a_report_without_a_day_says_what_is_missing(portal: PortalHouse) -> None:
    portal.log_in("auditor")

    shown = portal.send("/monitor", "/monitor/report", kind="person", subject="doctor.a")

    assert shown.status_code == 422
    assert "Choose who is meant, and the first day." in shown.text


@pytest.mark.parametrize("typed", ["ZQ123456(7)", "zq1234567", "ZQ 123456 7"])
def test_a_card_number_in_the_audit_search_stands_in_no_address(
    portal: PortalHouse, typed: str
) -> None:
    browser = portal.log_in("steward")

    there = portal.send("/audit", "/audit", patient=typed, person="dr.b").headers["location"]
    shown = browser.get(there)

    assert "123456" not in there
    assert "person=dr.b" in there
    (*_, asked) = [r for r in portal.fake.asked if r.url.path == "/fhir/AuditEvent/_search"]
    assert "123456" not in str(asked.url)
    assert "patient.identifier=ZQ123456%287%29" in asked.content.decode()
    assert 'value="ZQ123456(7)"' in shown.text


def test_a_number_of_the_platform_stays_a_filter_of_the_address(portal: PortalHouse) -> None:
    portal.log_in("auditor")

    there = portal.send("/audit", "/audit", patient="pat-1", **{"from": "2026-11-01"})

    assert there.headers["location"] == "/audit?from=2026-11-01&patient=pat-1"


def test_a_review_shows_its_evidence(portal: PortalHouse) -> None:
    def access(name: str, **values: str) -> dict[str, Any]:
        common = {
            "id": name, "kind": "emergency", "patient": "pat-1", "person": "dr.b",
            "display": "Dr.B", "organization": "st-b", "asked": "2026-11-21T06:00:00Z",
            "until": "2026-11-22T06:00:00Z", "reason": "Unconscious",
        }  # fmt: skip
        parts = [{"name": k, "valueString": v} for k, v in (common | values).items()]
        return {"name": "access", "part": parts}

    answer(portal, "$access-reviews", access("e-1"), access("e-2", reason="<i>Fell</i>"))
    seen = event("21T06:10:00", "dr.b", "Condition")
    portal.fake.resources[("AuditEvent", "x")] = seen

    shown = portal.log_in("steward").get("/reviews/e-1").text

    assert "Looked at: Health problems" in shown
    assert "&lt;i&gt;Fell&lt;/i&gt;" in shown
    (*_, asked) = [r for r in portal.fake.asked if r.url.path.endswith("$access-history")]
    assert asked.url.params["organization"] == "st-b"
    assert asked.url.params.get_list("date") == [
        "ge2026-11-21T06:00:00Z", "le2026-11-22T06:00:00Z",
    ]  # fmt: skip


def breach_report(portal: PortalHouse) -> None:
    answer(
        portal, "$breach-report", {"name": "kind", "valueCode": "person"},
        {"name": "subject", "valueString": "doctor.a"},
        {"name": "period", "valuePeriod": {"start": "2026-11-01T00:00:00Z",
                                           "end": "2026-11-22T08:00:00Z"}},
        *({"name": "patient", "part": [
            {"name": "patient", "valueReference": {"reference": f"Patient/pat-{number}"}},
            {"name": "period", "valuePeriod": {"start": "2026-11-02T00:00:00Z",
                                               "end": "2026-11-03T00:00:00Z"}}]}
          for number in range(3)),
    )  # fmt: skip


def test_all_of_a_report_are_told_in_one_act_and_the_steward_how_many(portal: PortalHouse) -> None:
    breach_report(portal)
    answer(portal, "$notify-breach", count("told", 2), count("told-before", 1))
    portal.log_in("steward")
    fields = {"kind": "person", "subject": "doctor.a", "from": "2026-11-01", "to": "2026-11-22"}
    shown = portal.send("/monitor", "/monitor/report", **fields).text
    assert "Tell 3 people now" in shown
    form = re.search(r'action="/monitor/notify".*?</form>', shown, re.S)
    assert form
    hidden = dict(re.findall(r'name="([\w-]+)" value="([^"]*)"', form[0]))
    browser, asked = portal.browser, len(portal.fake.asked)

    unsure = browser.post("/monitor/notify", data={**hidden, "sure": ""})
    assert unsure.headers["location"] == "/monitor"
    assert "tick the box" in browser.get("/monitor").text
    assert not [r for r in portal.fake.asked[asked:] if r.url.path == "/fhir/$notify-breach"]

    browser.post("/monitor/notify", data={**hidden, "sure": "1"})
    [sent] = [r for r in portal.fake.asked if r.url.path == "/fhir/$notify-breach"]
    values = {part["name"]: part.get("valueString", part.get("valueInteger"))
              for part in json.loads(sent.content)["parameter"]}  # fmt: skip
    assert values == {
        "kind": "person", "subject": "doctor.a", "from": "2026-11-01T00:00:00Z",
        "until": "2026-11-22T08:00:00Z", "patients": 3,
    }  # fmt: skip
    assert "Told now: 2. Told before: 1." in browser.get("/monitor").text


def test_an_auditor_reads_the_report_and_tells_nobody(portal: PortalHouse) -> None:
    breach_report(portal)
    portal.log_in("auditor")
    fields = {"kind": "person", "subject": "doctor.a", "from": "2026-11-01", "to": "2026-11-22"}

    shown = portal.send("/monitor", "/monitor/report", **fields).text

    assert "/monitor/notify" not in shown
    assert portal.browser.post("/monitor/notify", data={}).status_code == 403
