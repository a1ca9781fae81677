"""The patient's home: each tile says what the gateway has, and no more than that."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.lib.portal_house import PortalHouse, portal
from tests.unit.portal.test_who_looked import event

__all__ = ["portal"]

# The log-in of the tests is at 2026-11-22T08:00:00Z.
LAST_LOOK = "20T08:00:00"


def tile(shown: str, path: str) -> str:
    """Return the text of the tile that leads to a page."""
    tiles = re.findall(r'<li class="ehr-tile.*?\n</li>', shown, re.S)
    found = next(text for text in tiles if f'<h2 class="ehr-tile__title"><a href="{path}"' in text)
    return " ".join(re.sub(r"<[^>]*>", " ", found).split())


def look_earlier(portal: PortalHouse) -> None:
    """Let the audit log know an access of the patient's own, before this visit."""
    own = event(LAST_LOOK, "p.pat-1")
    portal.fake.resources[("AuditEvent", "own")] = {**own, "outcomeDesc": "own"}


def test_a_log_in_leads_home_and_each_tile_is_one_link(portal: PortalHouse) -> None:
    browser = portal.log_in("patient")

    assert browser.get("/").headers["location"] == "/home"
    shown = browser.get("/home").text
    tiles = re.findall(r'<li class="ehr-tile.*?\n</li>', shown, re.S)
    assert len(tiles) == 7
    assert all(text.count("<a ") == 1 for text in tiles)


def test_what_is_new_is_told_since_the_last_access_in_the_audit_log(portal: PortalHouse) -> None:
    look_earlier(portal)
    for name, day in (("old", "2026-11-19"), ("new", "2026-11-21")):
        updated = {"lastUpdated": f"{day}T08:00:00Z"}
        portal.add_record("Condition", name, code={"text": f"Illness {name}"}, meta=updated)

    browser = portal.log_in("patient")

    said = tile(browser.get("/home").text, "/home/new")
    assert "1 entry new or changed since 20 Nov 2026" in said
    assert "Illness new" in said
    assert "Illness old" not in said
    assert "Illness new" in browser.get("/home/new").text


def test_of_a_first_visit_nothing_is_called_new(portal: PortalHouse) -> None:
    said = tile(portal.log_in("patient").get("/home").text, "/home/new")

    assert said == "New since last time No earlier visit of yours is on record."


OTHER_ORDERS: dict[str, dict[str, Any]] = {
    "dose": {"dosageInstruction": [{"text": "Two tablets at night"}]},
    "forbidden": {"doNotPerform": True},
    "on hold": {"status": "on-hold"},
    "plan": {"intent": "plan"},
}


@pytest.mark.parametrize("other", OTHER_ORDERS)
@pytest.mark.parametrize("page", ["/home", "/record", "/record/medicines"])
def test_two_orders_that_say_different_things_are_two_lines(
    portal: PortalHouse, other: str, page: str
) -> None:
    first: dict[str, Any] = {"status": "active", "intent": "order", "authoredOn": "2026-11-01",
             "medicationCodeableConcept": {"text": "Zebrafenac 5 mg"},
             "dosageInstruction": [{"text": "One tablet in the morning"}]}  # fmt: skip
    portal.add_record("MedicationRequest", "first", **first)
    portal.add_record("MedicationRequest", "second", **{**first, **OTHER_ORDERS[other]})

    shown = portal.log_in("patient").get(page).text

    said = tile(shown, "/record/medicines") if page == "/home" else shown
    assert said.count("Zebrafenac") == 2
    # The same order twice is one line of the home.
    portal.add_record("MedicationRequest", "again", **first)
    if page == "/home":
        assert tile(portal.browser.get(page).text, "/record/medicines").count("Zebrafenac") == 2


@pytest.mark.parametrize(
    ("ends", "is_taken"),
    [(["2026-11-21"], False), (["2026-11-22"], True), (["2026-11-21", ""], True),
     (["2026-10"], False), (["2026-11-20T09:00:00+08:00", "2026-11-21T09:00:00+08:00"], False)],
)  # fmt: skip
def test_a_course_that_is_over_is_not_taken_today(
    portal: PortalHouse, ends: list[str], is_taken: bool
) -> None:
    dosages = [{"timing": {"repeat": {"boundsPeriod": {"end": end}}}} if end else {"text": "daily"}
               for end in ends]  # fmt: skip
    portal.add_record(
        "MedicationRequest", "course", status="active", dosageInstruction=dosages,
        medicationCodeableConcept={"text": "Zebracillin"},
    )  # fmt: skip

    said = tile(portal.log_in("patient").get("/home").text, "/record/medicines")

    assert ("Zebracillin" in said) == is_taken


def test_a_day_is_over_when_it_is_over_here(portal: PortalHouse) -> None:
    """From midnight to eight in the morning it is still the day before in UTC."""
    portal.add_record(
        "MedicationRequest", "course", status="active",
        dosageInstruction=[{"timing": {"repeat": {"boundsPeriod": {"end": "2026-11-22"}}}}],
        medicationCodeableConcept={"text": "Zebracillin"},
    )  # fmt: skip
    portal.now += 10 * 3600  # 02:00 of the 23rd in Hong Kong
    browser = portal.log_in("patient")

    assert "Zebracillin" not in tile(browser.get("/home").text, "/record/medicines")
    form = {"domain": "laboratory", "until": "2026-11-22", "against": "everyone"}
    closed = portal.send("/sharing/close", "/sharing/close", **form, firmness="hidden")
    assert closed.status_code == 422
    assert 'id="until-error"' in closed.text or "still to come" in closed.text
    assert portal.fake.written() == []


def test_medicines_that_ended_are_not_taken_today(portal: PortalHouse) -> None:
    for name, status in (("a", "active"), ("b", "stopped"), ("c", "on-hold")):
        medicine = {"text": f"Medicine {name}"}
        portal.add_record(
            "MedicationRequest", name, status=status, medicationCodeableConcept=medicine
        )

    said = tile(portal.log_in("patient").get("/home").text, "/record/medicines")

    assert "Medicine a" in said
    assert "Medicine b" not in said
    assert "Medicine c On hold" in said


@pytest.mark.parametrize(("day", "place"), [("2026-11-21", 0), ("2026-11-01", 1)])
def test_a_critical_result_of_this_week_comes_first(
    portal: PortalHouse, day: str, place: int
) -> None:
    critical = [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/"
                             "v3-ObservationInterpretation", "code": "HH"}]}]  # fmt: skip
    portal.add_record(
        "Observation", "k", status="final", code={"text": "Potassium"},
        category=[{"coding": [{"code": "laboratory"}]}], effectiveDateTime=day,
        valueQuantity={"value": 7.2, "unit": "mmol/L"}, interpretation=critical,
        referenceRange=[{"low": {"value": 3.5}, "high": {"value": 5.1}}],
    )  # fmt: skip

    shown = portal.log_in("patient").get("/home").text

    said = tile(shown, "/record/results")
    for text in ("Potassium", "7.2\u00a0mmol/L".replace("\u00a0", " "), "HH", "3.5"):
        assert text in said.replace("\u00a0", " ")
    titles = re.findall(r'ehr-tile__title"><a href="([^"]*)', shown)
    assert (titles.index("/record/results") == 0) == (place == 0)


def test_who_looked_tells_of_others_however_often_the_patient_looked(portal: PortalHouse) -> None:
    browser = portal.log_in("patient")
    assert "Nobody has looked at your record yet." in tile(browser.get("/home").text, "/who-looked")

    for number in range(60):
        own = event(f"21T08:{number:02}:00", "p.pat-1")
        portal.fake.resources[("AuditEvent", f"own-{number}")] = own
    portal.fake.resources[("AuditEvent", "other")] = event("20T08:00:00", "dr.b", "Condition")
    assert "Dr.B" in tile(browser.get("/home").text, "/who-looked")


def test_a_request_that_waits_is_told_before_what_is_new(portal: PortalHouse) -> None:
    request = [{"name": "id", "valueString": "7"}, {"name": "open", "valueBoolean": True}]
    portal.fake.operations["Patient/pat-1/$access-requests"] = {
        "resourceType": "Parameters",
        "parameter": [{"name": "request", "part": request}],
    }

    shown = portal.log_in("patient").get("/home").text

    assert "1 request waits for your answer." in tile(shown, "/requests")
    titles = re.findall(r'ehr-tile__title"><a href="([^"]*)', shown)
    assert titles.index("/requests") == 0


def test_sharing_is_one_sentence(portal: PortalHouse) -> None:
    said = tile(portal.log_in("patient").get("/home").text, "/sharing")

    assert said == (
        "Sharing You share your record with 2 hospitals and clinics: "
        "Harbour Hospital, St B&#39;s Hospital"
    )


def test_a_tile_that_the_token_does_not_cover_is_not_shown(portal: PortalHouse) -> None:
    portal.fake.failures |= {"Observation": 403, "Appointment": 403}

    shown = portal.log_in("patient").get("/home")

    assert shown.status_code == 200
    assert "Latest results" not in shown.text
    assert "Next appointments" not in shown.text


def test_the_home_fetches_little(portal: PortalHouse) -> None:
    browser = portal.log_in("patient")
    portal.fake.asked.clear()

    browser.get("/home")

    searches = [request for request in portal.fake.asked if "_count" in request.url.params]
    assert len(portal.fake.asked) <= 13
    # Organisations and Consents are few; of the record no search asks for all.
    records = [r for r in searches if r.url.path not in ("/fhir/Organization", "/fhir/Consent")]
    assert all(int(request.url.params["_count"]) <= 100 for request in records)
