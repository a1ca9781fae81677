"""Medicines against each other and against allergies: what is found, and what is not known."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_portal.i18n import LANGUAGES
from ehr_portal.record.interpretations import ATTENTION, CRITICAL, STRONG
from ehr_portal.record.medicine_names import load_rules, recognise
from ehr_portal.record.medicine_rules import MedicineFinding, check_medicines
from ehr_portal.record.medicine_texts import finding_sentence

Resource = dict[str, Any]
RULES = load_rules()
ALL_NAMES = [
    (name, ingredient)
    for ingredient, (_, synonyms, *chinese) in RULES["ingredients"].items()
    for name in (ingredient, *synonyms, *chinese)
]


def order(name: str = "", status: str = "active", **elements: Any) -> Resource:
    """Return a MedicationRequest of a medicine."""
    concept = {"medicationCodeableConcept": {"text": name}} if name else {}
    return {"resourceType": "MedicationRequest", "status": status, **concept, **elements}


def allergy(name: str, **elements: Any) -> Resource:
    """Return an AllergyIntolerance to a substance."""
    return {"resourceType": "AllergyIntolerance", "code": {"text": name}, **elements}


def found(orders: list[Resource], allergies: list[Resource] | None = None) -> list[tuple[str, str]]:
    """Return rule and level of each finding."""
    return [(f.rule, f.level) for f in check_medicines(orders, allergies or []).findings]


def _member(group: str) -> str:
    """Return an ingredient that a rule means by a name."""
    ingredients = RULES["ingredients"]
    return (
        group if group in ingredients else next(k for k, v in ingredients.items() if group in v[0])
    )


@pytest.mark.parametrize("row", RULES["interaction"], ids=lambda row: row["id"])
def test_every_rule_of_the_data_is_found_for_every_pair_in_both_orders(row: Resource) -> None:
    ingredients = RULES["ingredients"]
    sides = [
        [name for name, (classes, *_) in ingredients.items() if {name, *classes} & set(row[side])]
        for side in ("a", "b")
    ]
    for first in sides[0]:
        for second in sides[1]:
            if first != second:
                pair = [order(f"{first} 10 MG Oral Tablet"), order(f"{second} 5 mg")]
                for orders in (pair, pair[::-1]):
                    rules = [rule for rule, _ in found(orders)]
                    assert row["id"] in rules, (first, second)
    assert row["source"] and len(row["text"]) == len(LANGUAGES) and all(row["text"])


def test_every_name_that_a_rule_uses_exists_and_every_text_is_in_three_languages() -> None:
    known = set(RULES["ingredients"]) | {c for row in RULES["ingredients"].values() for c in row[0]}
    for row in (*RULES["interaction"], *RULES["cross-reaction"]):
        assert set(row["a"]) | set(row["b"]) <= known, row["id"]
    for name, row in RULES["classes"].items():
        assert name in known and len(row["text"]) == len(LANGUAGES)
    assert all(len(row) == 4 for row in RULES["ingredients"].values())


def test_every_known_name_is_recognised_in_a_longer_text() -> None:
    for name, ingredient in ALL_NAMES:
        for text in (name, f"{name.upper()} 5 MG Oral Tablet", f"24 HR {name} [Brand]"):
            assert ingredient in recognise(text).ingredients, text
            assert not recognise(text).is_partial


SEPARATORS = ("/", " / ", "+", " + ", ",", ", ", "; ", " & ", " and ", " with ", " plus ", "、",
              "，", "；", "及", " 和 ", "與", "与", "／", "＋")  # fmt: skip


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("unknown", ["Obscurin", "obscurin 5 mg", "某某藥", "複方某藥"])
def test_a_part_that_is_not_known_is_told_however_it_is_joined(
    separator: str, unknown: str
) -> None:
    for name, ingredient in ALL_NAMES[::7]:
        for text in (f"{name}{separator}{unknown}", f"{name} 500 mg{separator}{unknown} tablets",
                     f"{unknown}{separator}{name} 5 mg/mL"):  # fmt: skip
            found_in = recognise(text)
            assert found_in.is_partial, text
            assert ingredient in found_in.ingredients, text


@pytest.mark.parametrize("text", [
    "{} 500 mg/125 mg tablets", "{} 875/125 mg", "{}, tablet, film coated", "{} 100 units/mL, pen",
    "{}; oral", "24 HR {} 0.5 MG/ML, with food", "Allergy to {}", "{} 過敏", "{} 5 mg, twice daily",
])  # fmt: skip
def test_forms_and_amounts_beside_a_name_are_no_part_of_their_own(text: str) -> None:
    for name, _ in ALL_NAMES:
        assert not recognise(text.format(name)).is_partial, text.format(name)


@pytest.mark.parametrize(("to", "medicine", "is_same"), [
    ("某某", "某某 5 毫克", True), ("某某藥", "某某藥 500 mg", True), ("某某藥", "某某藥片", True),
    ("對某某藥過敏", "某某藥 500 mg", True), ("某某药过敏", "某某药片", True),
    ("甲", "甲乙丙", False), ("XYZ", "xyz", True), ("xyz", "Xyz 5 mg", False),
    ("Obscurin", "obscurin 5 mg", True),
    ("Obscurin allergy", "Obscurin", True), ("obscur", "obscurin 5 mg", False), ("", "", False),
])  # fmt: skip
def test_a_name_that_is_not_known_is_compared_in_chinese_too(
    to: str, medicine: str, is_same: bool
) -> None:
    rules = [rule for rule, _ in found([order(medicine)], [allergy(to)])]

    assert rules == (["same-code"] if is_same else [])


def test_a_part_of_an_allergy_that_is_not_known_is_told() -> None:
    for code, substances in (
        ("Aspirin, obscurin", []),
        ("aspirin", ["obscurin"]),
        ("obscurin", ["aspirin"]),
    ):
        reactions = [{"substance": {"text": substance}} for substance in substances]
        known = allergy(code, category=["medication"], reaction=reactions)
        check = check_medicines([order("aspirin 100 mg")], [known])
        assert [finding.kind for finding in check.findings] == ["allergy"], code
        assert check.unrecognised_allergies == (known,), code


@given(st.text(alphabet="bcdfghjklmnpqrstvwxz0123456789", min_size=1, max_size=20))
def test_a_name_within_another_word_is_not_recognised(letters: str) -> None:
    assert not recognise(f"warfarin{letters}").ingredients
    assert recognise(f"warfarin {letters}").ingredients >= {"warfarin"}


@given(st.permutations(["warfarin", "ibuprofen", "diazepam", "oxycodone", "obscurin"]))
def test_the_order_of_orders_changes_no_finding(names: list[str]) -> None:
    check = check_medicines([order(name) for name in names], [])
    rules = sorted(finding.rule for finding in check.findings)
    assert rules == ["anticoagulant-nsaid", "opioid-benzodiazepine"]
    assert [o["medicationCodeableConcept"]["text"] for o in check.unrecognised] == ["obscurin"]


def test_what_is_over_stopped_or_forbidden_interacts_with_nothing() -> None:
    now = datetime(2026, 11, 28, tzinfo=UTC)
    ended = {"timing": {"repeat": {"boundsPeriod": {"end": "2026-11-27"}}}}
    for other in (
        order("ibuprofen", status="stopped"),
        order("ibuprofen", status="completed"),
        order("ibuprofen", status="entered-in-error"),
        order("ibuprofen", doNotPerform=True),
        order("ibuprofen", dosageInstruction=[ended]),
    ):
        assert not check_medicines([order("warfarin"), other], [], now=now).findings
    until_today = {"timing": {"repeat": {"boundsPeriod": {"end": "2026-11-28"}}}}
    still = order("ibuprofen", dosageInstruction=[until_today])
    assert check_medicines([order("warfarin"), still], [], now=now).findings


def test_a_combination_is_checked_by_all_its_ingredients_and_what_is_unknown_in_it_is_told() -> (
    None
):
    tylenol, vicodin = order("Tylenol 500 mg"), order("Acetaminophen 300 MG / Hydrocodone 5 MG")
    assert found([tylenol, vicodin]) == [("same-ingredient", STRONG)]
    check = check_medicines([order("Warfarin 5 MG / Obscurin 1 MG"), order("aspirin")], [])
    assert [finding.rule for finding in check.findings] == ["anticoagulant-nsaid"]
    assert len(check.unrecognised) == 1


def test_the_ingredients_of_a_referred_or_contained_medication_count() -> None:
    ingredients = [
        {"itemCodeableConcept": {"text": "warfarin"}},
        {"itemCodeableConcept": {"text": "unheard-of"}},
    ]
    medication = {"resourceType": "Medication", "id": "m", "ingredient": ingredients}
    for reference, included, contained in (
        ("Medication/m", {"Medication/m": medication}, []),
        ("#m", {}, [medication]),
    ):
        referring = order(medicationReference={"reference": reference}, contained=contained)
        check = check_medicines([referring, order("ibuprofen")], [], included)
        assert [finding.rule for finding in check.findings] == ["anticoagulant-nsaid"]
        assert check.unrecognised == (referring,)


def test_duplicates_are_told_apart_by_what_they_may_mean() -> None:
    small, large = order("Metoprolol 50 mg"), order("Metoprolol 100 mg")
    assert found([small, large]) == [("same-ingredient", ATTENTION)]
    assert found([small, order("Metoprolol 50 mg")]) == [("same-code", STRONG)]
    as_needed = order("Metoprolol 50 mg", dosageInstruction=[{"asNeededBoolean": True}])
    assert found([small, as_needed]) == [("same-code", ATTENTION)]
    assert found([order("simvastatin"), order("rosuvastatin")]) == [("same-class", ATTENTION)]
    renewal = order("Metoprolol 50 mg", priorPrescription={"reference": "MedicationRequest/1"})
    assert not found([{**small, "id": "1"}, renewal])
    cream = order("Hydrocortisone 1% topical cream")
    assert not found([cream, order("Prednisolone 5 mg")])
    # The long-acting and the mealtime insulin are given together on purpose.
    assert not found([order("insulin glargine"), order("insulin aspart 100 units")])
    atc = [{"system": "http://www.whocc.no/atc", "code": code} for code in ("X01AB01", "X01AB02")]
    coded = [order(medicationCodeableConcept={"coding": [coding]}) for coding in atc]
    assert found(coded) == [("same-class", ATTENTION)]


def test_an_unknown_medicine_twice_is_still_the_same_medicine() -> None:
    unknown = {"coding": [{"system": "urn:local", "code": "77"}]}
    orders = [order(medicationCodeableConcept=unknown), order(medicationCodeableConcept=unknown)]
    assert found(orders) == [("same-code", STRONG)]
    assert len(check_medicines(orders, []).unrecognised) == 2


@pytest.mark.parametrize(
    ("written", "taken", "expected"),
    [
        ("Penicillin", "Amoxicillin 250 MG Oral Capsule", ("same-class", CRITICAL)),
        ("Allergy to penicillins", "Augmentin 1 g", ("same-class", CRITICAL)),
        ("Amoxicillin", "Amoxicillin 250 MG / Clavulanate 125 MG", ("same-ingredient", CRITICAL)),
        ("Amoxicillin", "Flucloxacillin 500 mg", ("same-class", STRONG)),
        ("Amoxicillin", "Cefuroxime 250 mg", ("penicillin-cephalosporin", ATTENTION)),
        ("Cefaclor", "Amoxicillin 500 mg", ("penicillin-cephalosporin", ATTENTION)),
        ("Sulfonamide antibiotics", "Septrin 960 mg", ("same-class", CRITICAL)),
        ("Aspirin", "Ibuprofen 200 mg", ("same-class", STRONG)),
        ("盤尼西林", "阿莫西林 250 毫克", ("same-class", CRITICAL)),
        ("Obscurin", "Obscurin 20 MG Oral Tablet", ("same-code", CRITICAL)),
        ("Heparin", "Warfarin 5 mg", None),
        ("Prawn", "Amoxicillin 250 mg", None),
    ],
)
def test_an_allergy_is_matched_by_ingredient_class_and_name(
    written: str, taken: str, expected: tuple[str, str] | None
) -> None:
    assert found([order(taken)], [allergy(written)]) == ([expected] if expected else [])


def test_an_allergy_is_weighed_by_its_state() -> None:
    amoxicillin = [order("amoxicillin")]
    resolved = {"clinicalStatus": {"coding": [{"code": "resolved"}]}}
    refuted = {"verificationStatus": {"coding": [{"code": "refuted"}]}}
    assert found(amoxicillin, [allergy("amoxicillin", **resolved)])[0][1] == ATTENTION
    assert found(amoxicillin, [allergy("amoxicillin", type="intolerance")])[0][1] == STRONG
    assert not found(amoxicillin, [allergy("amoxicillin", **refuted)])


def test_an_allergy_named_only_by_its_reaction_or_code_is_matched() -> None:
    reaction = {
        "resourceType": "AllergyIntolerance",
        "reaction": [{"substance": {"text": "aspirin"}}],
    }
    assert found([order("aspirin 81 mg")], [reaction]) == [("same-ingredient", CRITICAL)]
    code = {"coding": [{"system": "urn:local", "code": "9"}]}
    coded = {"resourceType": "AllergyIntolerance", "code": code}
    assert found([order(medicationCodeableConcept=code)], [coded]) == [("same-code", CRITICAL)]


def test_an_allergy_that_no_medicine_can_be_compared_with_is_named() -> None:
    allergies = [
        allergy("Contrast of brand Q", category=["medication"]),
        allergy("Something odd"),
        allergy("Peanut", category=["food"]),
        allergy("Penicillin", category=["medication"]),
    ]
    check = check_medicines([order("warfarin")], allergies)
    names = [unknown["code"]["text"] for unknown in check.unrecognised_allergies]
    assert names == ["Contrast of brand Q", "Something odd"]


@pytest.mark.parametrize("language", [language.tag for language in LANGUAGES])
def test_every_finding_has_its_words(language: str) -> None:
    names = [
        _member(group) for row in RULES["interaction"] for group in (row["a"][0], row["b"][-1])
    ]
    orders = [order(f"{name} 1 mg") for name in dict.fromkeys(names)]
    allergies = [allergy("Penicillin"), allergy("Cefaclor"), allergy("warfarin")]
    findings: list[MedicineFinding] = list(
        check_medicines([*orders, orders[0] | {}], allergies).findings
    )
    assert len(findings) > 40
    for finding in findings:
        sentence = finding_sentence(finding, language).text
        assert sentence and "%" not in sentence, finding
        assert all(one is not other for one, other in combinations(finding.orders, 2))
    if language == "en":
        warfarin = check_medicines([order("warfarin"), order("ibuprofen")], []).findings[0]
        assert finding_sentence(warfarin, language).text == "warfarin + ibuprofen: Bleeding"
