"""What a clinician writes: forms that keep what was typed, entries made once, by their author."""

from __future__ import annotations

import base64
import html
import json
import re
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from ehr_portal.i18n import LANGUAGES
from ehr_portal.record.dosage import dosage_in_words
from ehr_portal.record.new_entries import ENTRY_SYSTEM, EntryAuthor
from ehr_portal.record.new_prescriptions import (
    DOSE_UNITS,
    FREQUENCIES,
    ROUTES,
    build_prescription,
)
from tests.lib.portal_house import NOW, PortalHouse, house

__all__ = ["house"]

Resource = dict[str, Any]
WRITE = "/patients/pat-1/write"
NOTE = {"kind": "11506-3", "title": "Ward round", "text": "# Plan\n- rest"}
ALLERGY = {"substance": "ibuprofen", "category": "medication", "criticality": "high",
           "certainty": "confirmed", "severity": "", "reaction": "", "note": ""}  # fmt: skip
SIGNS = {"at": "2026-11-22T15:30", "respiration": "18", "saturation": "97", "oxygen": "0",
         "systolic": "120", "diastolic": "80", "pulse": "72", "temperature": "37.0",
         "consciousness": "A"}  # fmt: skip
PRESCRIPTION = {"medicine": "Ibuprofen 400 mg tablet", "dose": "1", "unit": "tablet",
                "route": "PO", "frequency": "3d", "duration": "5",
                "duration-unit": "d"}  # fmt: skip
FORMS = {"note": NOTE, "allergy": ALLERGY, "vital-signs": SIGNS, "prescription": PRESCRIPTION}
TOKEN = "t" * 24


def write(house: PortalHouse, form: str, **fields: str) -> Any:
    page = f"{WRITE}/{form}"
    return house.send(page, page, **{**FORMS[form], "entry": TOKEN, **fields})


def stored(house: PortalHouse, resource_type: str) -> list[Resource]:
    """Return what was written of a type, by this portal."""
    return [
        resource
        for (kind, _), resource in house.fake.resources.items()
        if kind == resource_type
        and any(name.get("system") == ENTRY_SYSTEM for name in resource.get("identifier", ()))
    ]


@pytest.mark.parametrize("form", FORMS)
def test_each_form_names_the_patient_and_is_for_clinicians(house: PortalHouse, form: str) -> None:
    shown = house.browser.get(f"{WRITE}/{form}").text

    assert "CHAN Ka Yan" in shown
    assert "14 Mar 1981" in shown
    assert PortalHouse().log_in("patient").get(f"{WRITE}/{form}").status_code == 403


@pytest.mark.parametrize("form", ["", *FORMS])
def test_nothing_is_written_about_somebody_who_is_closed(house: PortalHouse, form: str) -> None:
    del house.fake.resources[("Patient", "pat-1")]

    assert house.browser.get(f"{WRITE}/{form}".rstrip("/")).status_code == 404


@pytest.mark.parametrize("form", FORMS)
def test_a_fault_stands_at_its_field_and_what_was_typed_stays(
    house: PortalHouse, form: str
) -> None:
    values = FORMS[form]
    required = {
        "note": "title",
        "allergy": "substance",
        "vital-signs": "at",
        "prescription": "dose",
    }
    typed = {**values, required[form]: "", "note": "<b>typed</b>", "instruction": "<b>typed</b>",
             "text": "<b>typed</b>", "pulse": "<b>typed</b>"}  # fmt: skip

    answer = house.send(f"{WRITE}/{form}", f"{WRITE}/{form}", entry=TOKEN, **typed)

    assert answer.status_code == 422
    assert f'id="{required[form]}-error"' in answer.text
    assert f'href="#{required[form]}"' in answer.text
    assert "&lt;b&gt;typed&lt;/b&gt;" in answer.text
    assert f'name="entry" value="{TOKEN}"' in answer.text
    assert house.fake.written() == []


@pytest.mark.parametrize("form", ["note", "allergy", "prescription"])
def test_a_form_that_is_sent_twice_makes_one_entry(house: PortalHouse, form: str) -> None:
    places = {write(house, form).headers["location"] for _ in range(2)}

    assert len(places) == 1
    kind = {"note": "DocumentReference", "allergy": "AllergyIntolerance"}
    assert len(stored(house, kind.get(form, "MedicationRequest"))) == 1


# Each form with one field that the way back in the browser lets somebody change.
CHANGES = [
    (form, field, value)
    for form, changed in {
        "note": {"text": "# Plan\n- no rest", "title": "Other", "kind": "11488-4"},
        "allergy": {"substance": "naproxen", "criticality": "low", "note": "since 2020",
                    "certainty": "unconfirmed"},
        "vital-signs": {"pulse": "172", "respiration": "", "at": "2026-11-22T15:40"},
        "prescription": {"dose": "2", "medicine": "Paracetamol 500 mg", "reason": "pain",
                         "duration": ""},
    }.items()
    for field, value in changed.items()
]  # fmt: skip
WRITTEN = {"note": "DocumentReference", "allergy": "AllergyIntolerance",
           "vital-signs": "Observation", "prescription": "MedicationRequest"}  # fmt: skip


def contents(house: PortalHouse, form: str) -> str:
    return json.dumps([{**one, "meta": None} for one in stored(house, WRITTEN[form])])


@pytest.mark.parametrize(("form", "field", "value"), CHANGES)
def test_what_is_changed_after_the_way_back_is_not_lost(
    house: PortalHouse, form: str, field: str, value: str
) -> None:
    write(house, form)
    before, number = contents(house, form), len(stored(house, WRITTEN[form]))

    answer = write(house, form, **{field: value})

    if form == "prescription":
        # A draft holds for nobody yet: it becomes what the form says now.
        [draft] = stored(house, "MedicationRequest")
        assert answer.status_code == 303
        assert draft["status"] == "draft"
        asked = build_prescription(
            "pat-1", EntryAuthor("dr-wong", "st-b", "Dr WONG"), {**PRESCRIPTION, field: value},
            TOKEN, datetime.fromtimestamp(NOW, UTC),
        )  # fmt: skip
        assert {name: draft[name] for name in asked if name != "meta"} == {
            name: asked[name] for name in asked if name != "meta"
        }
        return
    # Nothing is said to be saved that is not, and nothing that was saved is changed.
    assert answer.status_code == 422
    assert "You saved this form before" in answer.text
    assert contents(house, form) == before
    if value:
        assert html.escape(value) in answer.text
    token = re.search(r'name="entry" value="([^"]+)"', answer.text)
    assert token
    assert token[1] != TOKEN
    # Saved once more it is an entry of its own, whole.
    assert write(house, form, **{field: value, "entry": token[1]}).status_code == 303
    added = number - (form == "vital-signs" and not value)
    assert len(stored(house, WRITTEN[form])) == number + added


def test_what_was_signed_is_not_changed_by_the_way_back(house: PortalHouse) -> None:
    write(house, "prescription")
    [draft] = stored(house, "MedicationRequest")
    draft["status"] = "active"

    answer = write(house, "prescription", dose="2")

    assert answer.status_code == 422
    assert "You saved this form before" in answer.text
    [signed] = stored(house, "MedicationRequest")
    assert signed["dosageInstruction"][0]["doseAndRate"][0]["doseQuantity"]["value"] == 1


@pytest.mark.parametrize("field", ["category", "criticality", "certainty"])
def test_no_danger_of_an_allergy_is_chosen_beforehand(house: PortalHouse, field: str) -> None:
    shown = house.browser.get(f"{WRITE}/allergy").text
    assert re.search(rf'name="{field}" required>\s*<option value="" selected>', shown)

    answer = write(house, "allergy", **{field: ""})

    assert answer.status_code == 422
    assert f'id="{field}-error"' in answer.text


@pytest.mark.parametrize("field", ["substance", "reaction", "note"])
def test_a_text_that_is_too_long_is_never_cut(house: PortalHouse, field: str) -> None:
    answer = write(house, "allergy", **{field: "x" * 501})

    assert answer.status_code == 422
    assert f'id="{field}-error"' in answer.text
    assert "x" * 501 in answer.text
    assert house.fake.written() == []
    # As long as the browser lets somebody type: it counts a line's end once and sends two.
    assert write(house, "allergy", note="a\r\n" * 250).status_code == 303


def test_a_note_is_a_document_by_its_author(house: PortalHouse) -> None:
    write(house, "note")

    [note] = stored(house, "DocumentReference")
    assert base64.b64decode(note["content"][0]["attachment"]["data"]).decode() == NOTE["text"]
    assert [author["reference"] for author in note["author"]] == [
        "Practitioner/dr-wong",
        "Organization/st-b",
    ]
    [body] = [w for w in house.fake.written() if w["resourceType"] == "DocumentReference"]
    assert body["meta"]["source"].endswith("/organization/st-b")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("status", [400, 403, 422])
def test_what_the_gateway_refuses_keeps_the_form(
    house: PortalHouse, form: str, status: int
) -> None:
    for kind in ("Bundle", "DocumentReference", "AllergyIntolerance", "MedicationRequest"):
        house.fake.refusals[kind] = status

    answer = write(house, form)

    assert answer.status_code == 422
    assert "nothing was saved" in answer.text


def test_vital_signs_are_one_transaction_and_each_has_its_own_identifier(
    house: PortalHouse,
) -> None:
    house.browser.get(f"{WRITE}/vital-signs")

    write(house, "vital-signs")

    [bundle] = [json.loads(r.content) for r in house.fake.asked if r.url.path == "/fhir"]
    assert bundle["type"] == "transaction"
    resources = [entry["resource"] for entry in bundle["entry"]]
    codes = [resource["code"]["coding"][0]["code"] for resource in resources]
    assert codes == ["9279-1", "59408-5", "3151-8", "8867-4", "8310-5", "85354-9", "67775-7"]
    assert all(e["request"]["ifNoneExist"].endswith(f"{TOKEN}-{code}")
               for e, code in zip(bundle["entry"], codes, strict=True))  # fmt: skip
    assert {r["effectiveDateTime"] for r in resources} == {"2026-11-22T15:30:00+08:00"}
    assert resources[0]["performer"][0]["reference"] == "Practitioner/dr-wong"


@pytest.mark.parametrize(
    ("field", "value", "at"),
    [("saturation", "970", "saturation"), ("pulse", "-5", "pulse"), ("pulse", "1e2", "pulse"),
     ("systolic", "70", "systolic"), ("systolic", "", "systolic"),
     ("temperature", "nan", "temperature"),
     ("at", "2026-11-23T09:00", "at"), ("at", "yesterday", "at"), ("at", "2025-01-01T00:00", "at")],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused_at_its_field(
    house: PortalHouse, field: str, value: str, at: str
) -> None:
    answer = write(house, "vital-signs", **{field: value})

    assert answer.status_code == 422
    assert f'id="{at}-error"' in answer.text
    assert house.fake.written() == []


@pytest.mark.parametrize("language", [language.tag for language in LANGUAGES])
def test_every_dosage_of_the_form_is_told_whole_in_words(language: str) -> None:
    author, now = EntryAuthor("dr-a", "st-b", "Dr A"), datetime.fromtimestamp(NOW, UTC)
    for unit, route, frequency in product(DOSE_UNITS, ROUTES, FREQUENCIES):
        for extra in ({}, {"as-needed": "yes", "needed-for": "pain", "most": "4"}):
            form = {**PRESCRIPTION, "unit": unit, "route": route, "frequency": frequency, **extra}
            draft = build_prescription("pat-1", author, form, TOKEN, now)
            told = dosage_in_words(draft["dosageInstruction"][0], language)
            assert told.words.text, form
            assert not told.warning.text, form
