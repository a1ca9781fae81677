"""Cards of the platform: what selected orders mean for the record that the clinician may see."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ehr_cli.decision_support import (
    EarlyWarningService,
    MedicineCheckService,
    PlatformDecisionSupport,
)
from ehr_gateway.decision_support import Card, HookCall

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def order(name: str, identity: str, status: str = "active") -> dict[str, Any]:
    return {
        "resourceType": "MedicationRequest",
        "id": identity,
        "status": status,
        "intent": "order",
        "medicationCodeableConcept": {"text": name},
        "subject": {"reference": "Patient/pat-1"},
    }


def ask(
    drafts: list[Any], records: list[Any], language: str = "en", *, is_partial: bool = False
) -> list[Card]:
    support = PlatformDecisionSupport([MedicineCheckService()])
    call = HookCall(
        "medicine-check", "pat-1", "", records, drafts, is_partial, language, NOW
    )  # fmt: skip
    return list(support.make_cards(call))


WARFARIN = order("Warfarin 5 mg tablet", "one")


def test_a_draft_that_doubles_or_interacts_is_told_the_gravest_first() -> None:
    drafts = [
        order("Ibuprofen 400 mg tablet", "draft-1", "draft"),
        order("Warfarin 3 mg tablet", "draft-2", "draft"),
    ]
    cards = ask(drafts, [WARFARIN])

    assert [(card.indicator, card.summary.partition(":")[0]) for card in cards] == [
        ("warning", "warfarin + ibuprofen"),
        ("info", "The same ingredient more than once"),
    ]
    assert all(len(card.summary) < 140 and "3 orders" in card.detail for card in cards)


def test_what_is_ordered_already_is_no_news() -> None:
    records = [WARFARIN, order("Ibuprofen 400 mg tablet", "two")]

    assert ask([order("Amlodipine 5 mg tablet", "draft", "draft")], records) == []
    assert ask([], records) == []


def test_an_allergy_is_compared_with_the_draft() -> None:
    allergy = {
        "resourceType": "AllergyIntolerance",
        "id": "penicillin",
        "code": {"text": "Penicillin"},
        "patient": {"reference": "Patient/pat-1"},
    }
    (card,) = ask([order("Amoxicillin 500 mg capsule", "draft", "draft")], [allergy])

    assert card.indicator == "critical"


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", "not shown"), ("zh-Hant-HK", "未向你顯示"), ("zh-Hans", "未向你显示")],
)
def test_a_part_that_is_withheld_is_told_with_and_without_a_finding(
    language: str, words: str
) -> None:
    draft = order("Ibuprofen 400 mg tablet", "draft", "draft")
    for records in ([], [WARFARIN]):
        (card,) = ask([draft], records, language, is_partial=True)
        assert words in card.detail


def test_a_medicine_that_is_not_known_is_told() -> None:
    (card,) = ask([order("Xyzabc 5 mg", "draft", "draft")], [])

    assert (card.indicator, "not recognised" in card.summary) == ("info", True)


def stay(status: str = "in-progress", kind: str = "IMP") -> dict[str, Any]:
    return {"resourceType": "Encounter", "id": "stay", "status": status, "class": {"code": kind}}


def a_round(hour: int, pulse: tuple[str, float] = ("/min", 112)) -> list[dict[str, Any]]:
    """Return the seven signs of an hour of the day of NOW; with 112 beats 10 points."""
    values = {
        "9279-1": ("/min", 22), "59408-5": ("%", 93), "3151-8": ("L/min", 2),
        "8480-6": ("mm[Hg]", 105), "8867-4": pulse, "8310-5": ("[degF]", 101.3),
    }  # fmt: skip
    signs = [
        {
            "valueQuantity": {"value": value, "code": unit, "unit": unit},
            "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        }
        for code, (unit, value) in values.items()
    ]
    awake = {"coding": [{"system": "http://loinc.org", "code": "67775-7"}]}
    signs.append({"valueString": "Alert", "code": awake})
    return [
        {
            "resourceType": "Observation", "id": f"sign-{hour}-{number}", "status": "final",
            "effectiveDateTime": f"2026-01-04T{hour:02}:00:00Z", **sign,
        }
        for number, sign in enumerate(signs)
    ]  # fmt: skip


ADULT = {"resourceType": "Patient", "id": "pat-1", "birthDate": "1950-01-01"}


def warn(*records: Any, language: str = "en", is_partial: bool = False) -> list[Card]:
    support = PlatformDecisionSupport([EarlyWarningService()])
    flat = [one for part in records for one in (part if isinstance(part, list) else [part])]
    call = HookCall("early-warning", "pat-1", "", flat, [], is_partial, language, NOW)
    assert all(search.resource_type for search in support.list_searches("early-warning", NOW))
    return list(support.make_cards(call))


def test_the_early_warning_score_of_an_inpatient_stands_beside_those_before() -> None:
    (card,) = warn(ADULT, stay(), a_round(20), a_round(14, ("/min", 80)), a_round(8, ("/min", 95)))

    assert card.indicator == "critical"
    assert card.summary == "NEWS2 10. High risk: emergency assessment"
    assert "Pulse +2" in card.detail and "Temperature +1" in card.detail
    assert "Before: 8 (4 Jan 2026 22:00), 9 (4 Jan 2026 16:00)" in card.detail
    assert "does not replace it" in card.detail
    for language, word in (("zh-Hant-HK", "之前"), ("zh-Hans", "之前")):
        (card,) = warn(ADULT, stay(), a_round(20), a_round(14), language=language)
        assert word in card.detail and "Before" not in card.detail and "NEWS2 10" in card.summary


def test_an_incomplete_round_is_told_as_such() -> None:
    (card,) = warn(ADULT, stay(), a_round(20, ("kg", 112)), is_partial=True)

    assert card.summary.startswith("NEWS2 at least 8") and card.indicator == "critical"
    assert "Missing, or not to be used: Pulse" in card.detail
    assert "A part of this record is not shown to you" in card.detail


def test_without_a_round_of_a_day_the_card_says_so_and_of_who_is_at_home_there_is_none() -> None:
    old = [{**one, "effectiveDateTime": "2026-01-03T20:00:00Z"} for one in a_round(20)]

    for signs in ([], old):
        (card,) = warn(ADULT, stay(), signs)
        assert card.summary == "NEWS2: no vital signs in the last 24 hours"
        assert card.indicator == "info"
    assert warn(ADULT, a_round(20)) == []
    assert warn(ADULT, stay("finished"), a_round(20)) == []
    assert warn(ADULT, stay(kind="AMB"), a_round(20)) == []
    assert warn({**ADULT, "deceasedBoolean": True}, stay(), a_round(20)) == []
    (card,) = warn({**ADULT, "birthDate": "2015-01-01"}, stay(), a_round(20))
    assert card.summary == "NEWS2 is not for people under 16."
