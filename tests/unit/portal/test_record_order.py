"""What stands first, what stands apart, and what an empty section says."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ehr_portal.i18n import LANGUAGES, localizer_for
from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]

SNOMED = "http://snomed.info/sct"
ABSENT = "http://hl7.org/fhir/uv/ips/CodeSystem/absent-unknown-uv-ips"


def concept(text: str, code: str = "", system: str = SNOMED) -> dict[str, Any]:
    """Return a CodeableConcept."""
    return {"text": text, **({"coding": [{"system": system, "code": code}]} if code else {})}


def state(code: str) -> dict[str, Any]:
    """Return a clinicalStatus."""
    return {"coding": [{"code": code}]}


def allergy(portal: PortalHouse, name: str, **more: Any) -> None:
    """Store an active allergy."""
    portal.add_record(
        "AllergyIntolerance", name, code=concept(name), clinicalStatus=state("active"), **more
    )


def section(shown: str, key: str) -> str:
    """Return one section of the record's first page."""
    return shown.partition(f'aria-labelledby="{key}"')[2].partition("</section>")[0]


def titles(text: str) -> list[str]:
    """Return the titles of rows, in order."""
    found = re.findall(r'<a href="[^"]*/item/[^"]*">(.*?)</a>', text)
    return [re.sub(r"<[^>]*>", "", title) for title in found]


def test_all_allergies_are_shown_drugs_and_severe_reactions_first(portal: PortalHouse) -> None:
    del portal.fake.resources[("AllergyIntolerance", "al-1")]
    for number in range(9):
        allergy(portal, f"Pollen {number}", criticality="low", category=["environment"])
    severe = [{"manifestation": [concept("Anaphylaxis")], "severity": "severe"}]
    allergy(portal, "Penicillin", category=["medication"])
    allergy(portal, "Peanut", criticality="low", category=["food"], reaction=severe)
    for who, base in (("patient", "/record"), ("doctor", "/patients/pat-1")):
        shown = section(portal.log_in(who).get(base).text, "allergies")

        assert titles(shown)[:2] == ["Peanut", "Penicillin"]
        assert len(titles(shown)) == 11
        assert "Severe reaction before" in shown
        assert "Anaphylaxis" in shown


@pytest.mark.parametrize("manifestation", [
    {"coding": [{"system": "http://snomed.info/sct", "code": "39579001"}]},
    {"text": "Anaphylactic shock"}, {"text": "過敏性休克"},
    {"coding": [{"display": "Anaphylaxis"}]},
])  # fmt: skip
@pytest.mark.parametrize("severity", ["", "mild"])
def test_anaphylaxis_stands_first_whether_or_not_anybody_called_it_severe(
    portal: PortalHouse, manifestation: dict[str, Any], severity: str
) -> None:
    reaction = {"manifestation": [manifestation], **({"severity": severity} if severity else {})}
    del portal.fake.resources[("AllergyIntolerance", "al-1")]
    allergy(portal, "Penicillin", category=["medication"])
    allergy(portal, "Latex", category=["environment"], reaction=[reaction])

    shown = section(portal.log_in("doctor").get("/patients/pat-1").text, "allergies")

    assert titles(shown) == ["Latex", "Penicillin"]
    assert "Anaphylaxis before" in shown


def test_risk_and_severity_are_told_as_two_things(portal: PortalHouse) -> None:
    mild = [{"manifestation": [concept("Rash")], "severity": "mild"}]
    allergy(portal, "Nuts", criticality="high", reaction=mild)

    shown = section(portal.log_in("patient").get("/record").text, "allergies")

    assert "High risk" in shown
    assert "Mild reaction before" in shown


@pytest.mark.parametrize("verification", ["refuted", "entered-in-error"])
def test_what_was_ruled_out_is_no_allergy_of_now(portal: PortalHouse, verification: str) -> None:
    allergy(portal, "Ruled out", verificationStatus=state(verification))

    shown = section(portal.log_in("patient").get("/record").text, "allergies")

    assert titles(shown.partition("Earlier")[2]) == ["Ruled out"]


def test_circumstances_of_life_stand_apart_and_prediabetes_is_no_circumstance(
    portal: PortalHouse,
) -> None:
    for name, code in (("Full-time employment (finding)", "160903007"),
                       ("Prediabetes (finding)", "9999")):  # fmt: skip
        portal.add_record(
            "Condition", name[:4], code=concept(name, code), clinicalStatus=state("active")
        )

    shown = portal.log_in("patient").get("/record").text

    assert titles(section(shown, "social")) == ["Full-time employment"]
    assert "Prediabetes" in titles(section(shown, "problems"))
    assert "Full-time employment" not in titles(section(shown, "problems"))


def test_what_is_over_stands_after_what_holds_now_each_newest_first(portal: PortalHouse) -> None:
    del portal.fake.resources[("Condition", "con-1")]
    for name, code, status, onset, ended in (
        ("Old", "1", "active", "2001-01-01", ""),
        ("New", "2", "active", "2025-01-01", ""),
        ("Healed", "3", "resolved", "2024-01-01", ""),
        ("Ended", "4", "active", "2025-02-01", "2025-03-01"),
        ("Pregnancy of 2011", "72892002", "active", "2011-02-03", ""),
    ):
        more = {"abatementDateTime": ended} if ended else {}
        portal.add_record("Condition", name[:4], code=concept(name, code), onsetDateTime=onset,
            clinicalStatus=state(status), **more)  # fmt: skip

    for who, base in (("patient", "/record"), ("doctor", "/patients/pat-1")):
        shown = portal.log_in(who).get(f"{base}/problems").text
        now, _, earlier = shown.partition("Earlier")

        assert titles(now)[-2:] == ["New", "Old"]
        assert [title for title in titles(earlier)][:2] == ["Ended", "Healed"]

    # The clinician's screen has what holds now, and says how much is over.
    screen = section(portal.browser.get("/patients/pat-1").text, "problems")
    assert titles(screen) == ["New", "Old"]
    assert "All 2 · 3 earlier" in screen


def test_a_problem_or_allergy_of_which_no_state_is_known_is_not_put_away(
    portal: PortalHouse,
) -> None:
    portal.add_record("Condition", "c", code=concept("No state"))
    portal.add_record("AllergyIntolerance", "a", code=concept("Unknown state"))
    shown = portal.log_in("doctor").get("/patients/pat-1").text

    for key, title in (("problems", "No state"), ("allergies", "Unknown state")):
        assert title in titles(section(shown, key).partition("Earlier")[0])


def test_a_state_without_its_code_system_is_told_in_words(portal: PortalHouse) -> None:
    allergy(portal, "Nuts", verificationStatus=state("unconfirmed"))
    browser = portal.log_in("patient", "zh-Hans")

    shown = browser.get("/record/item/AllergyIntolerance/Nuts").text

    assert "未经证实" in shown and "生效中" in shown
    assert "未经证实" in section(browser.get("/record").text, "allergies")


def test_the_newest_finding_about_life_holds_now(portal: PortalHouse) -> None:
    for year in (2020, 2025):
        portal.add_record(
            "Observation",
            f"s-{year}",
            code=concept("Smoking", "72166-2", "http://loinc.org"),
            status="final",
            category=[{"coding": [{"code": "social-history"}]}],
            effectiveDateTime=f"{year}-01-01",
            valueCodeableConcept=concept(f"as of {year}"),
        )

    now, _, earlier = section(portal.log_in("patient").get("/record").text, "social").partition(
        "Earlier"
    )

    assert "as of 2025" in now and "as of 2020" in earlier


def test_two_orders_of_one_medicine_that_say_different_things_are_two_rows(
    portal: PortalHouse,
) -> None:
    for dose in (3, 5):
        portal.add_record("MedicationRequest", f"w-{dose}", status="active", intent="order",
            medicationCodeableConcept=concept("Warfarin"),
            dosageInstruction=[{"text": f"{dose} mg daily"}])  # fmt: skip

    shown = section(portal.log_in("patient").get("/record").text, "medicines")

    assert "3 mg daily" in shown and "5 mg daily" in shown


@pytest.mark.parametrize("intent", ["proposal", "plan", "option"])
@pytest.mark.parametrize("resource_type", ["MedicationRequest", "ServiceRequest", "CarePlan"])
def test_what_is_no_order_does_not_look_like_one(
    portal: PortalHouse, resource_type: str, intent: str
) -> None:
    name = "medicationCodeableConcept" if resource_type == "MedicationRequest" else "code"
    named = {"title": "X"} if resource_type == "CarePlan" else {name: concept("X")}
    portal.add_record(resource_type, "x", status="active", intent=intent, **named)
    key = {"MedicationRequest": "medicines", "ServiceRequest": "referrals", "CarePlan": "plans"}

    shown = portal.log_in("doctor").get(f"/patients/pat-1/{key[resource_type]}").text

    # A care plan is a plan by its nature.
    words = {
        "proposal": "Proposal",
        "plan": "Plan, not an order",
        "option": "One of several options",
    }
    is_flagged = "ehr-flag--attention" in shown and words[intent] in shown
    assert is_flagged == (resource_type != "CarePlan" or intent != "plan")


EMPTY = ("allergies", "problems", "medicines", "immunisations", "results", "visits", "documents")


@pytest.mark.parametrize("language", [language.tag for language in LANGUAGES])
def test_none_recorded_none_known_withheld_and_not_to_be_told_are_four_texts(language: str) -> None:
    translate = localizer_for(language).translate
    seen = {
        "none recorded": empty_section(PortalHouse(), language),
        "none known": empty_section(none_known(PortalHouse()), language),
        "withheld": empty_section(withheld(PortalHouse(), domain="allergy"), language),
        "perhaps withheld": empty_section(withheld(PortalHouse(), domain=None), language),
        "not to be told": empty_section(forbidden(PortalHouse()), language),
    }

    assert len(set(seen.values())) == len(seen)
    assert translate("No allergies are recorded.") in seen["none recorded"]
    for other in set(seen) - {"none recorded"}:
        assert translate("No allergies are recorded.") not in seen[other], other
    assert titles(seen["none known"]) == []
    assert "zq-none" in seen["none known"]


def test_only_a_statement_makes_none_known_and_a_contradiction_is_told(portal: PortalHouse) -> None:
    none_known(portal)

    shown = section(portal.log_in("doctor").get("/patients/pat-1").text, "allergies")

    # Latex is recorded as well.
    assert "One entry says that there are none, and another one names some." in shown
    assert "zq-none" in shown


@pytest.mark.parametrize("key", EMPTY)
def test_a_clinicians_empty_section_says_what_was_searched(portal: PortalHouse, key: str) -> None:
    keep = {("Patient", "pat-1")}
    portal.fake.resources = {
        k: r for k, r in portal.fake.resources.items() if k in keep or k[0] == "Organization"
    }
    page = portal.log_in("doctor").get("/patients/pat-1").text
    shown = [portal.browser.get(f"/patients/pat-1/{key}").text]
    if f'aria-labelledby="{key}"' in page:
        shown.append(section(page, key))

    for text in shown:
        assert "Only what is shared with you was searched." in text
    assert f"/patients/pat-1/{key}" in page


def test_more_than_was_fetched_is_told(portal: PortalHouse) -> None:
    for number in range(2600):
        portal.add_record(
            "Procedure", f"p-{number}", code=concept(f"P {number}"), status="completed"
        )

    shown = section(portal.log_in("patient").get("/record").text, "procedures")

    assert "See all 2600" in shown


def none_known(house: PortalHouse) -> PortalHouse:
    """Return the portal with a statement that there are no allergies."""
    house.add_record("AllergyIntolerance", "none", clinicalStatus=state("active"),
        code=concept("zq-none", "no-known-allergies", ABSENT))  # fmt: skip
    return house


def withheld(house: PortalHouse, domain: str | None) -> PortalHouse:
    """Return the portal with something withheld, of a domain or of one that may not be named."""
    part = {"name": "domain", "valueString": domain}
    hidden = {"name": "hidden", "valueBoolean": True}
    parameters = {"resourceType": "Parameters", "parameter": [part if domain else hidden]}
    house.fake.operations["Patient/pat-1/$withheld"] = parameters
    return house


def forbidden(house: PortalHouse) -> PortalHouse:
    """Return the portal where the reader's token does not cover allergies."""
    house.fake.failures["AllergyIntolerance"] = 403
    return house


def empty_section(house: PortalHouse, language: str) -> str:
    """Return the section of allergies without the one that the cast has."""
    del house.fake.resources[("AllergyIntolerance", "al-1")]
    return section(house.log_in("doctor", language).get("/patients/pat-1").text, "allergies")
