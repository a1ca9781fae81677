"""The clinician's screen: what stands first, what is never cut, what it asks of the gateway."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ehr_portal.i18n import LANGUAGES
from ehr_portal.record.display import Text
from ehr_portal.record.trend_words import latest_change
from ehr_portal.record.trends import group_into_trends
from tests.lib.portal_house import NOW, PortalHouse, portal
from tests.unit.portal.test_news2 import a_round, decision

__all__ = ["portal"]

Resource = dict[str, Any]
CHART = "/patients/pat-1"
PATIENT = {"subject": {"reference": "Patient/pat-1"}}
INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"


def days_ago(days: float) -> str:
    """Return an instant before the portal's now."""
    return (datetime.fromtimestamp(NOW, UTC) - timedelta(days=days)).isoformat()


def put(house: PortalHouse, *resources: Resource) -> PortalHouse:
    """Put resources of the patient into the fake gateway."""
    for resource in resources:
        key = (resource["resourceType"], resource["id"])
        house.fake.resources[key] = {"meta": {"versionId": "1"}, **PATIENT, **resource}
    return house


def result(
    name: str, days: float, value: float = 5.0, flag: str = "", category: str = "laboratory"
) -> Resource:
    """Return one result."""
    coding = {"system": INTERPRETATION, "code": flag}
    return {
        "resourceType": "Observation",
        "id": f"{name}-{days}".replace(" ", "-").replace(".", "-"),
        "status": "final",
        "category": [{"coding": [{"code": category}]}],
        "code": {"text": name},
        "effectiveDateTime": days_ago(days),
        "valueQuantity": {"value": value, "unit": "mmol/L"},
        **({"interpretation": [{"coding": [coding]}]} if flag else {}),
    }


def order(name: str, number: int = 0, **elements: Any) -> Resource:
    """Return an active order."""
    return {
        "resourceType": "MedicationRequest",
        "id": f"order-{name}-{number}".lower(),
        "status": "active",
        "medicationCodeableConcept": {"text": name},
        "authoredOn": "2026-10-01",
        **elements,
    }


def block(page: str, key: str) -> str:
    """Return one block of the screen."""
    found = re.search(rf'<section [^>]*aria-labelledby="{key}".*?</section>', page, re.S)
    assert found, key
    return found[0]


def text_of(markup: str) -> str:
    """Return what a reader reads."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", markup))


def test_the_banner_the_allergies_and_what_is_critical_stand_before_all_else(
    portal: PortalHouse,
) -> None:
    flag = {"resourceType": "Flag", "id": "f", "status": "active", "code": {"text": "Falls"}}
    put(portal, result("Potassium", 0.1, 7.2, "HH"), flag, order("Amoxicillin 500 mg"))
    portal.fake.resources[("AllergyIntolerance", "al-1")]["code"] = {"text": "Penicillin"}

    main = portal.log_in("doctor").get(CHART).text.partition("<main")[2]

    places = [
        main.index(text)
        for text in ("CHAN Ka Yan", "Falls", 'id="allergies"', 'id="urgent"', 'id="measurements"')
    ]
    assert places == sorted(places)
    urgent = text_of(block(main, "urgent"))
    assert "Potassium" in urgent and "Critically high" in urgent
    assert "Allergy to Penicillin" in urgent
    order_row = text_of(block(main, "medicines"))
    assert "Allergy" in order_row and "Amoxicillin 500 mg" in order_row and "Check" in order_row


def test_a_critical_result_of_this_week_is_never_cut_and_an_old_one_never_first(
    portal: PortalHouse,
) -> None:
    put(portal, *(result(f"Test {number}", 0.2) for number in range(40)))
    put(portal, result("Troponin", 6.5, 900, "HH"), result("Sodium", 30, 110, "LL"))

    page = portal.log_in("doctor").get(CHART).text
    results = text_of(block(page, "results"))

    assert results.index("Troponin") < results.index("Test 1")
    assert "Sodium" not in results
    assert "Sodium" not in text_of(block(page, "urgent"))


def test_more_results_of_the_week_than_one_page_are_all_read_for_a_critical_one(
    portal: PortalHouse,
) -> None:
    # The fake gateway does not sort: what it has first is the newest.
    for year in (2023, 2024, 2025):
        del portal.fake.resources[("Observation", f"lab-{year}")]
    many = [result(f"Test {number % 20}", number / 100) for number in range(300)]
    put(portal, *many, result("Troponin", 6.5, 900, "HH"))

    page = portal.log_in("doctor").get(CHART).text

    assert "Troponin" in text_of(block(page, "urgent"))


@pytest.mark.parametrize("number", [1, 9, 10, 30])
def test_each_block_says_how_many_there_are(portal: PortalHouse, number: int) -> None:
    put(portal, *(order(f"Medicine {n}", n) for n in range(number - 1)))

    medicines = block(portal.log_in("doctor").get(CHART).text, "medicines")

    rows = len(re.findall(r"<li[^>]*>\s*<div class=\"ehr-board__what", medicines))
    assert rows == min(number, 9)
    said = f"All {number}" if number <= 9 else f"9 of {number}"
    assert said in text_of(medicines)
    assert f'href="{CHART}/medicines"' in medicines


def test_what_was_checked_and_what_was_not_recognised_is_told(portal: PortalHouse) -> None:
    put(portal, order("Warfarin 5 mg"), order("Ibuprofen 400 mg"), order("Obscurin 1 mg"))

    medicines = text_of(block(portal.log_in("doctor").get(CHART).text, "medicines"))

    assert "warfarin + ibuprofen: Bleeding" in medicines
    assert "1 medicine not recognised" in medicines
    assert "so not checked by ingredient: Obscurin 1 mg" in medicines
    assert "nothing found does not mean safe" in medicines


def news2_block(house: PortalHouse, language: str = "en") -> str:
    """Return the words of the block with the score."""
    page = house.log_in("doctor", language).get(CHART).text
    return text_of(block(page, "measurements"))


def put_round(house: PortalHouse, *, leave_out: str = "", hours: float = 2) -> PortalHouse:
    """Put the round of example B of NEWS2 into the record."""
    category = [{"coding": [{"code": "vital-signs"}]}]
    for observation in a_round(days_ago(hours / 24)):
        if not leave_out or leave_out not in observation["id"]:
            put(house, {**observation, "id": observation["id"][:7], "category": category})
    return house


@pytest.mark.parametrize("language", [language.tag for language in LANGUAGES])
def test_the_score_has_its_parts_its_time_and_its_risk_in_words(language: str) -> None:
    house = put_round(PortalHouse())

    shown = news2_block(house, language)

    assert "NEWS2 10" in shown
    words = {"en": "High risk: emergency assessment", "zh-Hant-HK": "高風險", "zh-Hans": "高风险"}
    assert words[language] in shown
    assert shown.count("+2") == 4 and shown.count("+1") == 2 and shown.count("+0") == 1
    assert "14:00" in shown


def test_a_missing_sign_is_named_and_no_total_is_given(portal: PortalHouse) -> None:
    shown = news2_block(put_round(portal, leave_out="3151-8"))

    assert "NEWS2 at least 8" in shown
    assert "Not worked out, 6 of 7 measured. Missing: Air or oxygen" in shown


def test_a_round_of_yesterday_is_no_score_of_now(portal: PortalHouse) -> None:
    shown = news2_block(put_round(portal, hours=25))

    assert "no round of the last 24 hours" in shown
    assert "NEWS2 10" not in shown


def test_a_saturation_with_a_target_is_not_held_against_what_is_usual(portal: PortalHouse) -> None:
    # The saturation of 93 % and the blood pressure.
    assert news2_block(put_round(portal)).count("Low for adults") == 2
    put(portal, {**decision("2", days_ago(1)), "id": "scale"})

    shown = news2_block(portal)

    assert "scale 2" in shown
    assert shown.count("Low for adults") == 1


def test_a_child_has_no_score(portal: PortalHouse) -> None:
    portal.fake.resources[("Patient", "pat-1")]["birthDate"] = "2020-01-01"

    assert "NEWS2 does not apply: under 16 years" in news2_block(put_round(portal))


def test_the_screen_asks_for_no_more_than_it_shows(portal: PortalHouse) -> None:
    put(portal, *(result(f"Test {n % 30}", 10 + n, category=c) for n in range(2000) for c in
                  ("laboratory", "vital-signs")))  # fmt: skip
    browser = portal.log_in("doctor")
    # What codes are called is read once for many pages.
    browser.get(CHART)
    portal.fake.asked.clear()

    browser.get(CHART)

    asked = [request for request in portal.fake.asked if request.url.path.startswith("/fhir/")]
    # One for each block and what it is judged by; none is followed to a second page.
    assert len(asked) <= 19
    assert len({str(request.url) for request in asked}) == len(asked)
    for request in asked:
        if "Observation" in request.url.path:
            assert int(request.url.params["_count"]) <= 60
    types = {request.url.path.removeprefix("/fhir/").partition("/")[0] for request in asked}
    assert types == {
        "AllergyIntolerance", "Condition", "DiagnosticReport", "DocumentReference", "Encounter",
        # The organisations are known since the page before.
        "Flag", "MedicationRequest", "MedicationStatement", "Observation", "Patient",
        "RiskAssessment",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "word"),
    [((5.0, 7.0), "Rising"), ((7.0, 5.0), "Falling"), ((5.0, 5.2), "Steady"), ((5.0,), None)],
)
def test_a_change_has_a_word(values: tuple[float, ...], word: str | None) -> None:
    points = [result("Test", 10 - place, value) for place, value in enumerate(values)]

    change = latest_change(group_into_trends(points, "en")[0])

    assert (change.word if change else None) == word
    if change:
        assert change.previous.text == Text(f"{values[0]:g}\u00a0mmol/L", "en")


def test_a_change_between_two_units_has_no_direction() -> None:
    old, new = result("Test", 2, 90), result("Test", 1, 5)
    old["valueQuantity"]["unit"] = "mg/dL"

    change = latest_change(group_into_trends([old, new], "en")[0])

    assert change and change.word == ""


def test_a_result_that_does_not_count_is_no_earlier_value() -> None:
    results = [result("Test", 3, 5), result("Test", 2, 50), result("Test", 1, 7)]
    results[1]["status"] = "entered-in-error"

    change = latest_change(group_into_trends(results, "en")[0])

    assert change and change.previous.text.text.startswith("5")
