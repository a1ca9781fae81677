"""A result as one value: flags in words, ranges, what follows from them, and in what order."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.record.interpretations import CRITICAL, INTERPRETATIONS, LEVELS, parse_flags
from ehr_portal.record.results import build_result, whole_result
from ehr_portal.record.trends import group_into_trends
from ehr_portal.record.usual_ranges import UsualRanges
from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]

FLAGS = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
LANGUAGES = [language.tag for language in JURISDICTION.languages]
NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)


def quantity(value: float, unit: str = "mmol/L") -> dict[str, Any]:
    """Return a Quantity."""
    return {"value": value, "unit": unit}


def result(
    value: float, low: float | None = None, high: float | None = None, flag: str = "", **more: Any
) -> dict[str, Any]:
    """Return an Observation with a number, a range and a flag."""
    limits = {"low": low, "high": high}
    known = {end: quantity(limit) for end, limit in limits.items() if limit is not None}
    return {
        "resourceType": "Observation",
        "id": more.pop("id", "o-1"),
        "status": "final",
        "subject": {"reference": "Patient/pat-1"},
        "code": {"coding": [{"system": "http://loinc.org", "code": more.pop("code", "2823-3")}]},
        "valueQuantity": quantity(value),
        "effectiveDateTime": more.pop("date", "2026-11-21T09:00:00+08:00"),
        **({"referenceRange": [known]} if known else {}),
        **({"interpretation": [{"coding": [{"system": FLAGS, "code": flag}]}]} if flag else {}),
        **more,
    }


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("code", sorted(INTERPRETATIONS))
def test_every_flag_has_a_word_a_symbol_and_a_level_in_three_languages(
    code: str, language: str
) -> None:
    (flag,) = parse_flags([{"coding": [{"system": FLAGS, "code": code}]}], language)

    assert flag.word.text and flag.symbol and flag.level in LEVELS
    assert (language == "en") == flag.word.text.isascii()


def test_critical_means_what_hl7_says_it_means() -> None:
    critical = {code for code, meaning in INTERPRETATIONS.items() if meaning.level == CRITICAL}

    assert critical == {"HH", "LL", "AA"}


@pytest.mark.parametrize(
    ("concept", "word"),
    [
        ({"coding": [{"system": "https://lab.example/flags", "code": "N", "display": "x"}]}, "x"),
        ({"text": "HH"}, "Critically high"),
        ({"text": "see comment"}, "see comment"),
        ({"coding": [{"system": f"{FLAGS}", "code": "made-up"}]}, "made-up"),
        ({"coding": [{"system": "http://hl7.org/fhir/v2/0078", "code": "LL"}]}, "Critically low"),
    ],
)
def test_a_flag_that_is_not_known_is_shown_as_written_and_never_as_normal(
    concept: dict[str, Any], word: str
) -> None:
    (flag,) = parse_flags([concept], "en")

    assert flag.word.text == word
    assert flag.level in ("attention", "critical")


@pytest.mark.parametrize(
    ("observation", "word"),
    [
        (result(5.2, 3.5, 5.1), "A little high"),
        (result(7.2, 3.5, 5.1), "High"),
        (result(3.4, 3.5, 5.1), "A little low"),
        (result(1.0, 3.5, 5.1), "Low"),
        (result(5.1, 3.5, 5.1), "In the expected range"),
        (result(250, None, 200), "High"),
        (result(210, None, 200), "A little high"),
        # No range, a range in another unit, two ranges, one of them for whom: nobody can say.
        (result(7.2), None),
        (result(7.2, referenceRange=[{"high": quantity(5.1, "mg/dL")}]), None),
        (result(7.2, referenceRange=[{"high": quantity(5.1)}, {"high": quantity(6)}]), None),
        (
            result(7.2, referenceRange=[{"high": quantity(5.1), "age": {"high": {"value": 1}}}]),
            None,
        ),
        (result(7.2, referenceRange=[{"text": "3.5 to 5.1"}]), None),
        # A comparator: below 5 may be anywhere below.
        (result(0, 3.5, 5.1, valueQuantity={**quantity(5), "comparator": "<"}), None),
        (result(0, 3.5, 5.1, valueQuantity={**quantity(3.5), "comparator": "<"}), "A little low"),
        (result(0, 3.5, 5.1, valueQuantity={**quantity(9), "comparator": ">"}), "High"),
    ],
)
def test_without_a_flag_the_range_says_what_can_be_said(
    observation: dict[str, Any], word: str | None
) -> None:
    value = build_result(observation, "en")

    assert [flag.word.text for flag in value.flags] == ([word] if word else [])
    assert value.is_worked_out == (word is not None)


def test_a_flag_of_the_laboratory_goes_before_what_we_work_out() -> None:
    value = build_result(result(5.2, 3.5, 5.1, "HH"), "en")

    assert [flag.word.text for flag in value.flags] == ["Critically high"]
    assert not value.is_worked_out


@pytest.mark.parametrize(("value", "flag"), [(7.2, "N"), (7.2, "L"), (4.0, "H"), (1.0, "HH")])
def test_a_flag_against_the_range_is_told(value: float, flag: str) -> None:
    assert "does not fit" in build_result(result(value, 3.5, 5.1, flag), "en").warning


def test_a_flag_of_a_component_is_a_flag_of_the_whole() -> None:
    parts = [
        {"code": {"text": "a"}, "valueQuantity": quantity(1, "mm[Hg]"),
         "interpretation": [{"coding": [{"code": code}]}]}
        for code in ("N", "HH")
    ]  # fmt: skip

    whole = whole_result({"code": {"text": "bp"}, "component": parts}, "en")

    assert [flag.code for flag in whole.flags] == ["HH"]


@pytest.mark.parametrize(
    ("code", "value", "unit", "word"),
    [
        ("2708-6", 81, "%", "Far below what is usual for adults"),
        ("2708-6", 93, "%", "Below what is usual for adults"),
        ("2708-6", 97, "%", "Usual for adults at rest"),
        ("8867-4", 140, "/min", "Far above what is usual for adults"),
        ("8867-4", 95, "{beats}/min", "Above what is usual for adults"),
        ("8310-5", 34.5, "Cel", "Far below what is usual for adults"),
        ("8310-5", 98.6, "[degF]", None),
        ("29463-7", 30, "kg", None),
    ],
)
def test_a_vital_sign_that_came_alone_is_held_against_what_is_usual(
    code: str, value: float, unit: str, word: str | None
) -> None:
    observation = result(value, code=code, valueQuantity=quantity(value, unit))

    shown = whole_result(observation, "en", UsualRanges("1950-01-01"))
    child = whole_result(observation, "en", UsualRanges("2015-01-01"))

    assert [flag.word.text for flag in shown.flags] == ([word] if word else [])
    assert child.flags == ()


@pytest.mark.parametrize(
    "more", [{"flag": "N"}, {"low": 80.0, "high": 100.0}, {"flag": "LL", "low": 90.0}]
)
def test_what_came_with_a_vital_sign_goes_before_what_is_usual(more: dict[str, Any]) -> None:
    observation = result(81, code="2708-6", valueQuantity=quantity(81, "%"), **more)

    shown = whole_result(observation, "en", UsualRanges("1950-01-01"))

    assert not any("usual for adults" in flag.word.text for flag in shown.flags)


def test_both_parts_of_a_blood_pressure_are_judged_by_their_own() -> None:
    parts = [
        {"code": {"coding": [{"code": code}]}, "valueQuantity": quantity(value, "mm[Hg]")}
        for code, value in (("8480-6", 85), ("8462-4", 50))
    ]
    pressure = {"code": {"coding": [{"code": "85354-9"}]}, "component": parts,
                "effectiveDateTime": "2026-11-20"}  # fmt: skip

    shown = whole_result(pressure, "en", UsualRanges("1950-01-01"))

    assert [flag.word.text for flag in shown.flags] == ["Far below what is usual for adults"]


@pytest.mark.parametrize(
    ("born", "is_told"),
    [("2010-11-21", True), ("2010-11-22", False), ("2010", False), ("2009", True)],
)
def test_an_adult_is_one_on_the_day_of_the_measurement(born: str, is_told: bool) -> None:
    observation = result(81, code="2708-6", valueQuantity=quantity(81, "%"), date="2026-11-21")

    assert bool(whole_result(observation, "en", UsualRanges(born)).flags) == is_told


@pytest.mark.parametrize("who", ["patient", "doctor"])
def test_a_low_saturation_looks_low_on_every_page(portal: PortalHouse, who: str) -> None:
    vital: dict[str, Any] = {"category": [{"coding": [{"code": "vital-signs"}]}]}
    observation = result(81, code="2708-6", valueQuantity=quantity(81, "%"), **vital)
    portal.fake.resources[("Observation", "o-1")] = observation
    browser = portal.log_in(who)
    base = "/record" if who == "patient" else "/patients/pat-1"

    for page in ("", "/measurements", "/item/Observation/o-1"):
        assert "Far below what is usual for adults" in browser.get(base + page).text, page


def test_critical_and_recent_stands_first_and_an_old_one_at_its_date() -> None:
    observations = [
        result(7.2, 3.5, 5.1, "HH", id="fresh", code="1", date="2026-11-20"),
        result(4.2, 3.5, 5.1, "N", id="today", code="2", date="2026-11-22"),
        result(5.9, 3.5, 5.1, "H", id="today-high", code="3", date="2026-11-22"),
        result(9.9, 3.5, 5.1, "HH", id="old", code="4", date="2024-01-01"),
    ]

    trends = group_into_trends(observations, "en", NOW)

    assert [trend.newest.id for trend in trends] == ["fresh", "today-high", "today", "old"]


def test_a_result_entered_by_mistake_is_never_the_newest_nor_drawn() -> None:
    wrong = result(99, id="wrong", date="2026-11-22", status="entered-in-error")

    (trend,) = group_into_trends([result(4.2, id="right", date="2026-11-20"), wrong], "en", NOW)

    assert trend.newest.id == "right"
    assert [point.value for point in trend.points] == [4.2, None]
    assert trend.points[1].status_text.text == "Entered by mistake"


def test_values_of_two_units_are_not_one_line() -> None:
    other = result(90, id="mg", date="2025-01-01", valueQuantity=quantity(90, "mg/dL"))

    (trend,) = group_into_trends([other, result(5.0, date="2026-01-01")], "en", NOW)

    assert [point.value for point in trend.points] == [None, 5.0]


@pytest.mark.parametrize("who", ["patient", "doctor"])
def test_a_critical_result_says_so_on_every_page(portal: PortalHouse, who: str) -> None:
    laboratory = {"category": [{"coding": [{"code": "laboratory"}]}]}
    observation = result(7.2, 3.5, 5.1, "HH", **laboratory)
    report = {
        "resourceType": "DiagnosticReport",
        "id": "r-1",
        "subject": {"reference": "Patient/pat-1"},
        "code": {"text": "Panel"},
        "result": [{"reference": "Observation/o-1"}],
    }
    for resource in (observation, report):
        portal.fake.resources[(resource["resourceType"], resource["id"])] = resource
    browser = portal.log_in(who)
    base = "/record" if who == "patient" else "/patients/pat-1"

    for page in ("", "/results", "/item/Observation/o-1", "/item/DiagnosticReport/r-1"):
        shown = browser.get(base + page).text
        assert "ehr-flag--critical" in shown, page
        assert "Critically high" in shown, page
        assert "Expected: 3.5–5.1" in shown, page


def test_advice_to_the_patient_is_for_the_patient(portal: PortalHouse) -> None:
    portal.fake.resources[("Observation", "o-1")] = result(7.2, 3.5, 5.1, "HH")

    for who, base in (("patient", "/record"), ("doctor", "/patients/pat-1")):
        shown = portal.log_in(who).get(f"{base}/item/Observation/o-1").text
        assert ("Contact your care team now" in shown) == (who == "patient")


def test_no_critical_result_of_now_is_cut_from_the_first_page(portal: PortalHouse) -> None:
    for number in range(15):
        laboratory = {"category": [{"coding": [{"code": "laboratory"}]}]}
        observation = result(7, 3.5, 5.1, "HH", id=f"o-{number}", code=str(number), **laboratory)
        portal.fake.resources[("Observation", f"o-{number}")] = observation

    assert portal.log_in("patient").get("/record").text.count("ehr-flag--critical") >= 15


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("who", "page"),
    [("patient", "/home"), ("patient", "/record"), ("patient", "/record/results"),
     ("patient", "/timeline"), ("doctor", "/patients/pat-1"), ("doctor", "/patients/pat-1/results"),
     ("doctor", "/patients/pat-1/timeline")],
)  # fmt: skip
def test_a_panel_says_which_of_its_values_stands_out(
    portal: PortalHouse, who: str, page: str, language: str
) -> None:
    parts = [
        {"code": {"text": name}, "valueQuantity": quantity(value, "mmol/L"),
         "interpretation": [{"coding": [{"code": code}]}]}
        for name, value, code in (("Zebrium", 110.5, "LL"), ("Quaggium", 4.25, "N"))
    ]  # fmt: skip
    portal.add_record(
        "Observation", "panel", status="final", effectiveDateTime="2026-11-22T10:00:00+08:00",
        category=[{"coding": [{"code": "laboratory"}]}], code={"text": "Panel"}, component=parts,
    )  # fmt: skip

    shown = portal.log_in(who, language).get(page).text.replace("\xa0", " ")

    assert "Zebrium 110.5 mmol/L" in shown
    assert "Quaggium 4.25" not in shown
