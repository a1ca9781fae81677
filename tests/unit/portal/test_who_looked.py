"""Who looked: events told as visits."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from ehr_gateway.operations.registry import OPERATIONS
from ehr_portal.i18n import localizer_for
from ehr_portal.oversight.access_history import OPERATION_TITLES, Visit, parse_visits
from ehr_portal.pages.who_looked import ACCESS_REASON
from tests.lib.portal_house import PortalHouse, portal
from tests.lib.visits_of_events import group_into_visits, visit_parameters

__all__ = ["portal"]


def event(at: str, login: str = "dr.b", *types: str, **changes: Any) -> dict[str, Any]:
    """Return an AuditEvent of the gateway's shape."""
    role = "patient" if login.startswith("p.") else "clinician"
    found: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": f"{at}-{login}-{'-'.join(types)}",
        "recorded": f"2026-11-{at}Z",
        "outcome": "0",
        "subtype": [{"code": "search-type"}],
        "purposeOfEvent": [{"coding": [{"code": "TREAT"}]}],
        "agent": [
            {
                "role": [{"coding": [{"code": role}]}],
                "who": {"identifier": {"value": login}, "display": login.title()},
                "altId": login,
                "requestor": True,
            },
            {"who": {"reference": "Organization/st-b"}, "requestor": False},
        ],
        "entity": [
            {"what": {"reference": "Patient/pat-1"}},
            *({"what": {"reference": f"{t}/1"}} for t in types),
            {"query": base64.b64encode(b"Condition?patient").decode()},
        ],
    }
    return {**found, **changes}


def visits_of(*events: dict[str, Any]) -> list[Visit]:
    """Return the visits that the portal makes of the gateway's answer."""
    return parse_visits(visit_parameters(group_into_visits(events, "pat-1"))).visits


def test_events_of_one_person_close_together_are_one_visit() -> None:
    told = visits_of(
        event("22T06:05:00", "dr.b", "Condition"), event("22T06:00:00", "dr.b", "Encounter")
    )

    assert [visit.looked_at for visit in told] == [("Visits", "Health problems")]
    assert told[0].end == "2026-11-22T06:05:00Z"


def test_another_time_another_person_or_another_purpose_is_another_visit() -> None:
    emergency = [{"coding": [{"code": "ETREAT"}]}]
    told = visits_of(
        event("22T09:00:00", "dr.b", "Condition"),
        event("22T06:01:00", "dr.a", "Condition"),
        event("22T06:00:30", "dr.b", "Condition", purposeOfEvent=emergency),
        event("22T06:00:00", "dr.b", "Condition"),
    )

    assert len(told) == 4


def test_two_people_at_once_are_two_visits_however_they_mix() -> None:
    events = [event(f"22T06:00:0{n}", "dr.a" if n % 2 else "dr.b", "Condition") for n in range(8)]

    assert [visit.login for visit in visits_of(*reversed(events))] == [
        "dr.a",
        "dr.b",
    ]


def test_what_came_in_a_bundle_is_not_told_as_a_look_alone(portal: PortalHouse) -> None:
    sent = event("22T06:00:00", "models", "RiskAssessment", subtype=[{"code": "batch"}])
    portal.fake.resources[("AuditEvent", "sent")] = sent

    shown = portal.log_in("patient").get("/who-looked").text

    assert "Looked at or changed: Risk scores" in shown


def test_looking_and_changing_in_one_visit_are_two_lists(portal: PortalHouse) -> None:
    for found in (
        event("22T06:10:00", "dr.b", "Observation", subtype=[{"code": "create"}]),
        event("22T06:05:00", "dr.b", "Condition"),
        event("22T06:00:00", "dr.b", "MedicationRequest"),
    ):
        portal.fake.resources[("AuditEvent", found["id"])] = found

    shown = portal.log_in("patient").get("/who-looked").text

    (visit,) = visits_of(
        *(found for (kind, _), found in portal.fake.resources.items() if kind == "AuditEvent")
    )
    assert "Changed: Results and measurements" in shown
    assert "Looked at: Medicines, Health problems" in shown
    assert visit.looked_at == ("Medicines", "Health problems")
    assert visit.changed == ("Results and measurements",)


def operation(name: str, *references: str) -> dict[str, Any]:
    """Return the event of one call of an operation about the patient."""
    query = base64.b64encode(f"Patient/${name}".encode()).decode()
    entities = [{"what": {"reference": reference}} for reference in ("Patient/pat-1", *references)]
    return event(
        "22T06:00:00", subtype=[{"code": "operation"}], entity=[*entities, {"query": query}]
    )


def test_an_emergency_is_told_with_the_reason_that_was_typed(portal: PortalHouse) -> None:
    declared = operation("declare-emergency", "Consent/em-1")
    portal.fake.resources[("AuditEvent", "e")] = declared
    portal.fake.resources[("Consent", "em-1")] = {
        "resourceType": "Consent",
        "id": "em-1",
        "extension": [{"url": ACCESS_REASON, "valueString": "<b>Unconscious</b> after a fall"}],
    }

    shown = portal.log_in("patient").get("/who-looked").text

    assert "Declared an emergency to see the record" in shown
    assert "Reason given:" in shown
    assert "&lt;b&gt;Unconscious&lt;/b&gt; after a fall" in shown
    assert '<strong class="nhsuk-tag nhsuk-tag--orange">Emergency</strong>' in shown
    assert "found nothing" not in shown


def test_every_operation_about_a_person_has_words() -> None:
    about_nobody = {
        *("checkpoint", "consistency-proof", "inclusion-proof"),  # proofs of the log
        "reindex",
        "record-lineage",  # refreshes of the lake
        "meta",
        "import",  # files of everybody's
        *("sqlquery-run", "viewdefinition-export", "viewdefinition-run"),  # de-identified rows
        *("apply-research", "decide-research", "research-catalogue", "research-projects"),
        *("record-training", "research-people"),
        *("decide-release", "release-evidence", "release-file", "request-release"),
        *("research-count", "research-dummy", "research-private", "research-releases"),
        *("research-run", "research-runs"),
        "research-trace",
        "models",
        "model-file",
        "decide-model",
        "scoring-models",
        *("closure", "expand", "lookup", "subsumes", "translate", "validate-code"),
        *("apps", "connected-apps", "decide-app", "disconnect-app"),
        *("get-ws-binding-token", "status"),  # of subscriptions
    }

    untold = {operation.declaration.name for operation in OPERATIONS} - OPERATION_TITLES.keys()

    assert untold <= about_nobody
    told = [visits_of(operation(name)) for name in OPERATION_TITLES]
    assert [visits[0].operations for visits in told] == [(name,) for name in OPERATION_TITLES]


def test_what_the_page_has_no_words_for_is_told_as_nothing_else(portal: PortalHouse) -> None:
    portal.fake.resources[("AuditEvent", "e")] = operation("added-later")

    shown = portal.log_in("patient").get("/who-looked").text

    assert "Dr.B" in shown
    assert "found nothing" not in shown
    assert "Looked at:" not in shown


def test_a_search_for_conditions_is_not_told_as_a_look_at_the_personal_details() -> None:
    (searched,) = visits_of(event("22T06:00:00", "dr.b", "Condition"))
    patient = base64.b64encode(b"Patient?identifier").decode()
    found = event("22T06:00:00", entity=[
        {"what": {"reference": "Patient/pat-1"}}, {"query": patient},
    ])  # fmt: skip
    read = event("22T06:00:00", entity=[{"what": {"reference": "Patient/pat-1"}}])

    assert searched.looked_at == ("Health problems",)
    assert [visit.looked_at for visit in visits_of(found)] == [("Personal details",)]
    assert [visit.looked_at for visit in visits_of(read)] == [("Personal details",)]


def test_the_page_tells_who_where_when_and_why(portal: PortalHouse) -> None:
    for found in (
        event("21T18:30:00", "dr.b", "MedicationRequest"),
        event("20T00:00:00", "p.pat-1"),
    ):
        portal.fake.resources[("AuditEvent", found["id"])] = found
    browser = portal.log_in("patient")

    shown = browser.get("/who-looked").text

    assert "Dr.B" in shown
    assert "St B&#39;s Hospital" in shown
    assert "Looked at: Medicines" in shown
    assert "To treat you" in shown
    # Half past six in the evening of the 21st in Greenwich.
    assert "22 Nov 2026 02:30" in shown
    assert "<strong>You</strong>" not in shown
    assert "<strong>You</strong>" in browser.get("/who-looked?mine=1").text


def test_a_refused_and_an_emergency_access_are_marked(portal: PortalHouse) -> None:
    emergency = [{"coding": [{"code": "ETREAT"}]}]
    for found in (
        event("21T18:30:00", "dr.b", outcome="4"),
        event("20T18:30:00", "dr.a", "Condition", purposeOfEvent=emergency),
    ):
        portal.fake.resources[("AuditEvent", found["id"])] = found

    shown = portal.log_in("patient").get("/who-looked").text

    assert "Refused" in shown
    assert "Asked, and saw nothing." in shown
    assert "Emergency" in shown


def test_older_visits_are_a_page_away_and_the_address_holds_only_a_handle(
    portal: PortalHouse,
) -> None:
    for n in range(700):
        found = event(
            f"{21 - n // 50:02}T{23 - (n % 50) // 3:02}:{n % 3}0:00", f"dr.{n}", "Condition"
        )
        portal.fake.resources[("AuditEvent", found["id"])] = found
    browser = portal.log_in("patient")

    first = browser.get("/who-looked").text
    link = first[first.index("/who-looked?older=") :].split('"')[0]
    second = browser.get(link).text

    assert "Dr.0<" in first
    assert "Dr.0<" not in second
    assert "pat-1" not in link
    assert "Newest" in second


def test_a_record_nobody_looked_at_says_so(portal: PortalHouse) -> None:
    shown = portal.log_in("patient").get("/who-looked").text

    assert "Nobody has looked at your record yet." in shown


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("named", "Searched for you, and was shown no record of yours."),
        ("counted", "Saw a number that counts you, and no record of yours."),
        ("feed", "Took a copy of what changed."),
    ],
)
@pytest.mark.parametrize("language", ["en", "zh-Hant-HK", "zh-Hans"])
def test_the_page_tells_who_asked_without_being_shown_a_record(
    portal: PortalHouse, reason: str, told: str, language: str
) -> None:
    asked = b"feed?after=0" if reason == "feed" else b"Patient?identifier&_summary"
    portal.fake.resources[("AuditEvent", reason)] = event(
        "21T18:30:00",
        "dr.b",
        outcomeDesc=reason,
        entity=[
            {"what": {"reference": "Patient/pat-1"}},
            {"query": base64.b64encode(asked).decode()},
        ],
    )
    localizer = localizer_for(language)

    shown = portal.log_in("patient", language).get("/who-looked").text

    assert localizer.translate(told) in shown
    assert localizer.translate("Personal details") not in shown
