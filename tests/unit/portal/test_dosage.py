"""How to take a medicine, in words worked out from the structure, in three languages."""

from __future__ import annotations

from typing import Any

import pytest

from ehr_fhir import definitions
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.record.dosage import dosage_in_words, dosage_lines
from ehr_portal.record.timing import known_events, timing_text
from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]

LANGUAGES = [language.tag for language in JURISDICTION.languages]


def amount(value: float, unit: str = "tablet") -> dict[str, Any]:
    """Return a Quantity."""
    return {"value": value, "unit": unit}


def dosage(dose: dict[str, Any] | None = None, code: str = "", **repeat: Any) -> dict[str, Any]:
    """Return a Dosage with one dose and a Timing."""
    timing: dict[str, Any] = {"repeat": repeat} if repeat else {}
    if code:
        timing["code"] = {"coding": [{"code": code}]}
    return {
        **({"timing": timing} if timing else {}),
        **({"doseAndRate": [{"doseQuantity": dose}]} if dose else {}),
    }


ORAL = {"route": {"text": "by mouth"}}
UNDER_THE_SKIN = {"route": {"text": "injected under the skin"}}
PAIN: dict[str, Any] = {"asNeededCodeableConcept": {"text": "Pain"}}
DAILY: dict[str, Any] = {"frequency": 1, "period": 1, "periodUnit": "d"}


@pytest.mark.parametrize(
    ("instruction", "english", "traditional", "simplified"),
    [
        (
            dosage({"value": 1}, **DAILY),
            "1 (unit not stated) each time, once a day",
            "每日一次，每次1（沒有註明單位）",
            "每日一次，每次1（未注明单位）",
        ),
        (
            dosage(amount(1), frequency=3, period=1, periodUnit="d", when=["PC"]) | ORAL,
            "1 tablet each time, 3 times a day, after a meal, by mouth",
            "口服，每日3次，每次1粒，飯後",
            "口服，每日3次，每次1片，饭后",
        ),
        (
            # Three times a day is not every eight hours, nor the other way round.
            dosage(amount(500, "mg"), frequency=1, period=8, periodUnit="h"),
            "500 mg each time, every 8 hours",
            "每8小時一次，每次500毫克",
            "每8小时一次，每次500毫克",
        ),
        (
            # The institution's own times, which nobody here knows.
            dosage(amount(125, "ug"), code="BID"),
            "125 micrograms each time, twice a day",
            "每日兩次，每次125微克",
            "每日两次，每次125微克",
        ),
        (
            dosage(amount(0.5), dayOfWeek=["fri", "mon"], timeOfDay=["08:00:00", "20:30:00"]),
            "half a tablet each time, on Monday, Friday, at 08:00, 20:30",
            "每次半粒，於星期一、星期五，於08:00、20:30",
            "每次半片，于星期一、星期五，于08:00、20:30",
        ),
        (
            dosage(amount(5000, "IU"), frequency=1, period=1, periodUnit="wk",
                   boundsPeriod={"start": "2026-03-01", "end": "2026-05-01"}) | UNDER_THE_SKIN,
            "5,000 units each time, once a week, injected under the skin, "
            "from 1 Mar 2026 to 1 May 2026",
            "皮下注射，每星期一次，每次5,000單位，由2026年3月1日至2026年5月1日",
            "皮下注射，每周一次，每次5,000单位，由2026年3月1日至2026年5月1日",
        ),
        (
            {
                **PAIN,
                "timing": {"repeat": {"frequency": 1, "frequencyMax": 2, "period": 4,
                                      "periodMax": 6, "periodUnit": "h",
                                      "boundsDuration": {"value": 7, "unit": "days"}}},
                "doseAndRate": [{"doseRange": {"low": amount(1), "high": amount(2)}}],
                "maxDosePerPeriod": {"numerator": amount(8), "denominator": amount(24, "h")},
            },
            "1 to 2 tablets each time, 1 to 2 times every 4 to 6 hours, when needed (Pain), "
            "for 7 days, at most 8 tablets in 24 hours",
            "每4至6小時1至2次，每次1至2粒，有需要時使用（疼痛），使用7日，最多每24小時8粒",
            "每4至6小时1至2次，每次1至2片，需要时使用（疼痛），使用7天，最多每24小时8片",
        ),
        (
            dosage(amount(1), when=["ACM"], offset=30),
            "1 tablet each time, 30 minutes before breakfast",
            "每次1粒，早餐前30分鐘",
            "每次1片，早餐前30分钟",
        ),
        (
            dosage(frequency=2, period=3, periodUnit="d", count=6),
            "twice every 3 days, 6 times in all",
            "每3日兩次，總共6次",
            "每3日两次，共6次",
        ),
        (
            {"asNeededBoolean": True, "doseAndRate": [{"doseQuantity": amount(0.125, "mg")}],
             "maxDosePerAdministration": amount(2, "puff"),
             "maxDosePerLifetime": amount(100, "puff")},
            "0.125 mg each time, when needed, at most 2 puffs at one time, "
            "at most 100 puffs in a lifetime",
            "每次0.125毫克，有需要時使用，每次最多吸2下，一生最多吸100下",
            "每次0.125毫克，需要时使用，每次最多吸2喷，一生最多吸100喷",
        ),
    ],
)  # fmt: skip
def test_a_structure_is_told_in_words(
    instruction: dict[str, Any], english: str, traditional: str, simplified: str
) -> None:
    told = [dosage_in_words(instruction, language).words.text for language in LANGUAGES]

    assert [text.replace("\u00a0", " ") for text in told] == [english, traditional, simplified]


@pytest.mark.parametrize("unit", ["U", "IU", "[iU]", "ug", "mcg", "µg", "cc"])
def test_no_error_prone_unit_is_printed(unit: str) -> None:
    told = dosage_in_words(dosage(amount(5, unit)), "en").words.text

    assert told.split("\u00a0")[1].split()[0] in ("units", "micrograms", "mL")


@pytest.mark.parametrize(
    "part",
    [
        {"modifierExtension": [{"url": "https://example.org/not-when-fasting"}]},
        {"timing": {"repeat": {"when": ["unknown"]}}},
        {"timing": {"repeat": {"period": 1, "periodUnit": "fortnight"}}},
        {"timing": {"repeat": {"boundsDuration": {"value": 7, "unit": "d", "comparator": "<"}}}},
        {"doseAndRate": [{"doseQuantity": {"value": 1, "unit": "tablet", "comparator": "<"}}]},
    ],
)
def test_what_cannot_be_told_whole_is_not_told_in_part(part: dict[str, Any]) -> None:
    told = dosage_in_words({**dosage(amount(1), **DAILY), **part, "text": "As on the label"}, "en")

    assert told.words.text == ""
    assert told.text.text == "As on the label"
    assert "cannot be shown" in told.warning.text


def test_what_was_written_stands_beside_our_words() -> None:
    written = {
        **dosage(amount(1), **DAILY),
        "text": "one daily",
        "patientInstruction": "with water",
    }

    assert [line.text.replace("\u00a0", " ") for line in dosage_lines([written], "en")] == [
        "1 tablet each time, once a day", "As written: one daily", "with water",
    ]  # fmt: skip


def test_what_was_written_is_not_told_twice() -> None:
    instruction = {
        **dosage(amount(1), **DAILY),
        "additionalInstruction": [{"text": "With food"}],
        "text": "With food",
    }

    english, *others = (line.text for line in dosage_in_words(instruction, "en").lines("en"))

    assert english.count("With food") == 1
    assert others == []


def test_steps_follow_their_numbers_and_instructions_without_one_are_no_steps() -> None:
    steps = [{"sequence": 2, "text": "then half"}, {"sequence": 1, "text": "first one"}]

    assert [line.text for line in dosage_lines(steps, "en")] == [
        "Step 1: first one", "Step 2: then half",
    ]  # fmt: skip
    assert [line.text for line in dosage_lines([{"text": "a"}, {"text": "b"}], "en")] == ["a", "b"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_event_of_r4_has_words(language: str) -> None:
    codes = definitions.required_codes("Timing.repeat", "when")

    assert set(codes or ()) == set(known_events())
    for code in codes or ():
        told = timing_text({"repeat": {"when": [code]}}, language).text
        assert told and code != told


# One value of every element of Dosage and of Timing.repeat, beside what it needs.
ELEMENTS: dict[str, dict[str, dict[str, Any]]] = {
    "Dosage": {
        "sequence": {"sequence": 3}, "text": {"text": "x"},
        "additionalInstruction": {"additionalInstruction": [{"text": "x"}]},
        "patientInstruction": {"patientInstruction": "x"},
        "timing": dosage(**DAILY), "asNeeded[x]": {"asNeededBoolean": True},
        "site": {"site": {"text": "x"}}, "route": {"route": {"text": "x"}},
        "method": {"method": {"text": "x"}}, "doseAndRate": dosage(amount(3)),
        "maxDosePerPeriod": {"maxDosePerPeriod": {"numerator": amount(9), "denominator":
                                                  amount(1, "d")}},
        "maxDosePerAdministration": {"maxDosePerAdministration": amount(9)},
        "maxDosePerLifetime": {"maxDosePerLifetime": amount(9)},
    },
    "Timing.repeat": {
        "bounds[x]": dosage(boundsRange={"low": amount(3, "d"), "high": amount(5, "d")}),
        "count": dosage(count=3), "countMax": dosage(count=3, countMax=5),
        "duration": dosage(duration=3, durationUnit="h"),
        "durationMax": dosage(duration=3, durationMax=5, durationUnit="h"),
        "durationUnit": dosage(duration=3, durationUnit="min"),
        "frequency": dosage(frequency=3), "frequencyMax": dosage(frequency=3, frequencyMax=5),
        "period": dosage(period=3, periodUnit="d"),
        "periodMax": dosage(period=3, periodMax=5, periodUnit="d"),
        "periodUnit": dosage(period=3, periodUnit="wk"),
        "dayOfWeek": dosage(dayOfWeek=["mon"]), "timeOfDay": dosage(timeOfDay=["10:00:00"]),
        "when": dosage(when=["HS"]), "offset": dosage(when=["ACM"], offset=20),
    },
}  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("owner", sorted(ELEMENTS))
def test_every_element_of_an_instruction_changes_what_is_told(owner: str, language: str) -> None:
    general = {"id", "extension", "modifierExtension"}
    assert set(definitions.elements()[owner]) - general == set(ELEMENTS[owner])
    told = {}
    for name, instruction in ELEMENTS[owner].items():
        others = [{"sequence": 9, "text": "y"}] if name == "sequence" else []
        lines = dosage_lines(
            [{**instruction, **({"text": "x"} if others else {})}, *others], language
        )
        told[name] = "|".join(line.text for line in lines)

    assert all(told.values()), told
    # None says the same as one of the same kind with an element less.
    for more, less in (
        ("countMax", "count"), ("durationMax", "duration"), ("frequencyMax", "frequency"),
        ("periodMax", "period"), ("durationUnit", "duration"), ("periodUnit", "period"),
    ):  # fmt: skip
        if owner == "Timing.repeat":
            assert told[more] != told[less]


def test_warfarin_is_told_in_the_list_and_on_its_page(portal: PortalHouse) -> None:
    portal.fake.resources[("MedicationRequest", "w-1")] = {
        "resourceType": "MedicationRequest",
        "id": "w-1",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/pat-1"},
        "medicationCodeableConcept": {"text": "Warfarin"},
        "requester": {"reference": "Practitioner/p-1", "display": "Dr WONG"},
        "reasonCode": [{"text": "Atrial fibrillation"}],
        "dosageInstruction": [dosage(amount(1), **DAILY)],
    }
    browser = portal.log_in("patient")

    for page in ("/record", "/record/medicines", "/record/item/MedicationRequest/w-1"):
        shown = browser.get(page).text.replace("\u00a0", " ")
        for text in ("1 tablet each time, once a day", "Atrial fibrillation", "Dr WONG"):
            assert text in shown, (page, text)


def test_an_order_not_to_give_something_never_looks_like_an_order(portal: PortalHouse) -> None:
    portal.fake.resources[("MedicationRequest", "w-1")] = {
        "resourceType": "MedicationRequest",
        "id": "w-1",
        "status": "active",
        "intent": "order",
        "doNotPerform": True,
        "subject": {"reference": "Patient/pat-1"},
        "medicationCodeableConcept": {"text": "Aspirin"},
    }
    browser = portal.log_in("patient")

    for page in ("/record", "/record/medicines", "/record/item/MedicationRequest/w-1"):
        assert "Must not be given or done" in browser.get(page).text, page
