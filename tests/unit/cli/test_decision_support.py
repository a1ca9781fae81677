"""Cards of the platform: what selected orders mean for the record that the clinician may see."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ehr_cli.decision_support import MedicineCheckService, PlatformDecisionSupport
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
