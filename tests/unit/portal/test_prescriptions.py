"""A prescription: a draft, a check that says what it does not know, a reason, a signature."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from ehr_fhir.jurisdiction import JURISDICTION
from tests.lib.portal_house import PortalHouse
from tests.lib.portal_house import house as doctors_house

__all__ = ["doctors_house"]

Resource = dict[str, Any]
FORM = "/patients/pat-1/write/prescription"
FIELDS = {"medicine": "Ibuprofen 400 mg tablet", "dose": "1", "unit": "tablet", "route": "PO",
          "frequency": "3d", "duration": "5", "duration-unit": "d", "entry": "t" * 24}  # fmt: skip


@pytest.fixture
def house(doctors_house: PortalHouse) -> PortalHouse:
    """Return the doctor's portal, its patient without other medicines and allergies."""
    house = doctors_house
    del house.fake.resources[("MedicationRequest", "med-1")]
    del house.fake.resources[("AllergyIntolerance", "al-1")]
    return house


def draft(house: PortalHouse, **fields: str) -> str:
    """Fill in the form and return the address of the check."""
    answer = house.send(FORM, FORM, **{**FIELDS, **fields})
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found
    return html.unescape(found[1])


def sign(house: PortalHouse, address: str, reason: str = "") -> Any:
    """Sign what the page shows now."""
    page = house.browser.get(address).text
    fields = {name: hidden(page, name) for name in ("version", "seen")}
    return house.send(address, address, reason=reason, **fields)


def order(house: PortalHouse) -> Resource:
    return next(r for (kind, _), r in house.fake.resources.items() if kind == "MedicationRequest")


def allergy_to(house: PortalHouse, name: str) -> None:
    house.fake.resources[("AllergyIntolerance", "al-9")] = {
        "resourceType": "AllergyIntolerance",
        "id": "al-9",
        "meta": {"versionId": "1"},
        "patient": {"reference": "Patient/pat-1"},
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "code": {"text": name},
    }


def test_a_draft_is_no_order_and_is_shown_in_words(house: PortalHouse) -> None:
    address = draft(house)

    assert order(house)["status"] == "draft"
    shown = house.browser.get(address).text.replace("\xa0", " ")
    assert "1 tablet each time, 3 times a day, by mouth, for 5 days" in shown
    assert "A draft: it does not hold yet." in shown
    assert "CHAN Ka Yan" in shown


def test_without_a_finding_it_is_signed_at_once_and_nothing_is_called_safe(
    house: PortalHouse,
) -> None:
    address = draft(house)
    shown = house.browser.get(address).text
    assert "Nothing was found against it. That does not say that there is nothing." in shown
    assert "0 other medicines" in shown

    answer = sign(house, address)

    assert answer.headers["location"].endswith(f"/item/MedicationRequest/{order(house)['id']}")
    assert order(house)["status"] == "active"
    assert order(house)["requester"]["reference"] == "Practitioner/dr-wong"
    assert "note" not in order(house)


def test_a_finding_asks_for_a_reason_that_is_kept(house: PortalHouse) -> None:
    allergy_to(house, "ibuprofen")
    address = draft(house)

    refused = sign(house, address, "no")
    assert refused.status_code == 422
    assert 'id="reason-error"' in refused.text
    assert order(house)["status"] == "draft"
    sign(house, address, "Tolerated since")

    assert order(house)["status"] == "active"
    note = order(house)["note"][0]
    assert "the same ingredient" in note["text"]
    assert note["text"].endswith("Reason: Tolerated since")
    assert note["authorReference"]["reference"] == "Practitioner/dr-wong"


def test_what_was_found_since_the_page_was_read_is_read_first(house: PortalHouse) -> None:
    address = draft(house)
    page = house.browser.get(address).text
    fields = {name: hidden(page, name) for name in ("version", "seen")}
    allergy_to(house, "ibuprofen")

    answer = house.send(address, address, reason="I saw nothing", **fields)

    assert answer.status_code == 422
    assert "The check says something else now" in answer.text
    assert order(house)["status"] == "draft"


def test_what_was_changed_meanwhile_is_not_signed(house: PortalHouse) -> None:
    address = draft(house)

    def change() -> None:
        order(house)["meta"] = {"versionId": "9"}

    house.fake.before_write = change

    assert sign(house, address).headers["location"] == address
    assert order(house)["status"] == "draft"


def test_the_check_says_what_it_does_not_know(house: PortalHouse) -> None:
    allergy_to(house, "Something local")
    house.fake.operations["Patient/pat-1/$withheld"] = {
        "parameter": [{"name": "domain", "valueCode": "medication"}]
    }
    address = draft(house, medicine="Unheardofin 5 mg")

    shown = house.browser.get(address).text

    for words in ("This medicine is not known to the check",
                  "Allergy not known to the check, or only in part:", "Something local",
                  "may be withheld from you"):  # fmt: skip
        assert words in shown


def test_what_the_token_does_not_cover_is_said(house: PortalHouse) -> None:
    address = draft(house)
    house.fake.failures["AllergyIntolerance"] = 403

    assert "Not all medicines and allergies could be read." in house.browser.get(address).text


def test_as_needed_has_a_limit(house: PortalHouse) -> None:
    answer = house.send(FORM, FORM, **{**FIELDS, "as-needed": "yes"})

    assert answer.status_code == 422
    assert 'id="most-error"' in answer.text
    limited = draft(house, **{"as-needed": "yes", "needed-for": "pain", "most": "3"})
    shown = house.browser.get(limited).text.replace("\xa0", " ")
    assert "when needed (pain)" in shown
    assert "no more than 3 tablets" in shown or "at most 3 tablets" in shown


@pytest.mark.parametrize("change", ["signed", "another's", "from elsewhere"])
def test_only_a_draft_of_this_patient_made_here_is_signed(house: PortalHouse, change: str) -> None:
    address = draft(house)
    if change == "signed":
        order(house)["status"] = "active"
    elif change == "another's":
        order(house)["subject"] = {"reference": "Patient/pat-2"}
    else:
        order(house)["identifier"] = [{"system": f"{JURISDICTION.base}/other", "value": "x"}]

    assert house.browser.get(address).status_code == 404


def test_a_draft_is_thrown_away(house: PortalHouse) -> None:
    address = draft(house)

    house.send(address, f"{address}/discard", version="1")

    assert order(house)["status"] == "cancelled"
    assert house.browser.get(address).status_code == 404


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"dose": "2", "frequency": "4d", "most": "4"}, "most"),
        ({"dose": "2", "frequency": "6h", "most": "6"}, "most"),
        ({"dose": "500", "unit": "mg", "as-needed": "yes", "most": "400"}, "most"),
        ({"frequency": "once", "duration": "5"}, "duration"),
        ({"needed-for": "pain"}, "needed-for"),
        ({"instruction": "take it\r\n" * 100 + "NOT with milk"}, "instruction"),
        ({"reason": "x" * 501}, "reason"),
        ({"medicine": "x" * 501}, "medicine"),
        ({"as-needed": "yes", "most": "3", "needed-for": "x" * 501}, "needed-for"),
    ],
)
def test_what_contradicts_itself_or_is_too_long_is_said_and_never_dropped(
    house: PortalHouse, fields: dict[str, str], at: str
) -> None:
    answer = house.send(FORM, FORM, **{**FIELDS, **fields})

    assert answer.status_code == 422
    assert f'id="{at}-error"' in answer.text
    assert house.fake.written() == []


@pytest.mark.parametrize("fields", [
    {"dose": "2", "frequency": "4d", "most": "8"},
    {"dose": "2", "frequency": "1wk", "most": "2"},
    {"frequency": "once", "duration": ""},
    {"dose": "２", "duration": "１０", "most": "８"},
    # Of as long as the browser lets somebody type: it counts a line's end once and sends two.
    {"instruction": "a\r\n" * 250},
])  # fmt: skip
def test_what_fits_is_taken(house: PortalHouse, fields: dict[str, str]) -> None:
    draft(house, **fields)


def test_the_check_counts_only_allergies_that_hold(house: PortalHouse) -> None:
    for name, elements in (
        ("none", {"code": {"coding": [{"system": "http://snomed.info/sct", "code": "716186003"}]}}),
        ("refuted", {"code": {"text": "codeine"},
                     "verificationStatus": {"coding": [{"code": "refuted"}]}}),
        ("wrong", {"code": {"text": "codeine"},
                   "verificationStatus": {"coding": [{"code": "entered-in-error"}]}}),
    ):  # fmt: skip
        house.add_record("AllergyIntolerance", name, **elements)
    address = draft(house)
    assert "<li>0 allergies</li>" in house.browser.get(address).text

    allergy_to(house, "peanut")
    assert "<li>1 allergy</li>" in house.browser.get(address).text


def test_what_acts_where_it_is_put_is_told_as_checked_in_part(house: PortalHouse) -> None:
    house.add_record(
        "MedicationRequest", "gel", status="active",
        medicationCodeableConcept={"text": "Miconazole topical gel"},
    )  # fmt: skip
    shown = house.browser.get(draft(house, medicine="Warfarin 5 mg tablet")).text

    assert "checked against allergies and the very same medicine alone" in shown
    assert "Miconazole topical gel" in shown


def test_signing_twice_leads_to_what_is_signed(house: PortalHouse) -> None:
    address = draft(house)
    page = house.browser.get(address).text
    # The form's own token stands behind that of the log-out.
    page = page[page.index(f'action="{address}"') :]
    fields = {name: hidden(page, name) for name in ("csrf", "version", "seen")}

    places = [house.browser.post(address, data=fields).headers["location"] for _ in range(2)]

    assert places == [f"/patients/pat-1/item/MedicationRequest/{order(house)['id']}"] * 2
    assert len([r for r in house.fake.written() if r.get("status") == "active"]) == 1
    # What was thrown away, or is another's, is not taken for signed.
    for change in ({"status": "cancelled"}, {"subject": {"reference": "Patient/pat-2"}}):
        order(house).update(change)
        assert house.browser.post(address, data=fields).status_code == 404


def test_a_draft_that_was_left_is_found_where_one_prescribes_and_on_its_page(
    house: PortalHouse,
) -> None:
    address = draft(house)
    item = f"/patients/pat-1/item/MedicationRequest/{order(house)['id']}"

    for page in (FORM, item):
        assert f'href="{address}"' in house.browser.get(page).text
    sign(house, address)
    for page in (FORM, item):
        assert f'href="{address}"' not in house.browser.get(page).text


def test_lines_of_an_instruction_stay_apart(house: PortalHouse) -> None:
    address = draft(house, instruction="in the morning 1\r\n2 at night")

    assert "in the morning 1; 2 at night" in house.browser.get(address).text
