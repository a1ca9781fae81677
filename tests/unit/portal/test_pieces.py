"""The pure pieces: names, amounts, entries, trends, switches."""

from __future__ import annotations

import itertools
import random
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from ehr_portal.record import charts, display, results, trends
from ehr_portal.record.identity_card import parse_identity_number
from ehr_portal.record.plain_names import plain_name
from ehr_portal.record.providers import Provider
from ehr_portal.sharing.consents import CATEGORY
from ehr_portal.sharing.restrictions import active_restrictions
from ehr_portal.sharing.switches import sharing_switches, start_sharing, stop_sharing
from tests.lib.portal_house import cast

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
PUBLIC = Provider("ha-a", "Harbour", "", deemed=True, platform=False)
JOINING = {
    "resourceType": "Consent",
    "id": "joining",
    "status": "active",
    "category": [{"coding": [{"system": CATEGORY, "code": "joining"}]}],
    "provision": {"type": "permit"},
}
PRIVATE = Provider("st-b", "St B", "", deemed=False, platform=False)


def consent(name: str, **provision: Any) -> dict[str, Any]:
    """Return an active sharing Consent, or a restriction when its provision denies."""
    code = "restriction" if provision.get("type") == "deny" else "sharing"
    return {
        "resourceType": "Consent",
        "id": name,
        "status": "active",
        "category": [{"coding": [{"system": CATEGORY, "code": code}]}],
        "provision": {"type": "permit", **provision},
    }


def to(organization: str) -> list[dict[str, Any]]:
    """Return the actors of a provision for one organisation."""
    return [{"reference": {"reference": f"Organization/{organization}"}}]


@pytest.mark.parametrize(
    ("typed", "stored"),
    [("A1234563", "A123456(3)"), ("ab 987654 (a)", "AB987654(A)"), ("Ａ", None), ("Chan", None),
     ("A12345678", None), ("ａ１２３４５６（３）", "A123456(3)"),
     ("ＡＢ ９８７６５４ （Ａ）", "AB987654(A)")],
)  # fmt: skip
def test_a_card_number_is_read_however_it_is_typed(typed: str, stored: str | None) -> None:
    assert parse_identity_number(typed) == stored


@pytest.mark.parametrize(
    ("quantity", "shown"),
    [
        ({"value": 5.0, "unit": "mmol/L"}, "5\u00a0mmol/L"),
        ({"value": 0.333333, "unit": "{score}"}, "0.33"),
        ({"value": 100, "comparator": "<", "unit": "mg"}, "<100\u00a0mg"),
        ({"value": 36.6, "code": "Cel"}, "36.6\u00a0°C"),
        ({"value": 8.85, "unit": "10*3/uL"}, "8.85\u00a0×10³/µL"),
        ({"unit": "mg"}, ""),
    ],
)
def test_an_amount_is_short_and_has_its_unit(quantity: dict[str, Any], shown: str) -> None:
    assert display.quantity_text(quantity) == shown


def test_a_code_we_name_is_told_in_plain_words_and_others_as_written() -> None:
    known = {
        "coding": [{"system": "http://loinc.org", "code": "29463-7", "display": "Body Weight"}]
    }
    other = {"text": "Sprain of ankle (disorder)"}

    assert display.concept_text(known, "zh-Hans") == display.Text("体重", "zh-Hans")
    assert display.concept_text(other, "zh-Hans") == display.Text("Sprain of ankle", "en")


def test_the_same_code_of_another_system_is_not_our_word() -> None:
    assert plain_name("http://hl7.org/fhir/sid/cvx", "140", "en") == "Flu vaccine"
    assert plain_name("https://example.org/codes", "140", "en") is None


def test_a_blood_pressure_reads_upper_over_lower() -> None:
    observation = {
        "code": {"coding": [{"code": "85354-9"}]},
        "component": [
            {"code": {"coding": [{"code": "8462-4"}]}, "valueQuantity": {"value": 83}},
            {"code": {"coding": [{"code": "8480-6"}]}, "valueQuantity": {"value": 121}},
        ],
    }

    assert results.observation_value(observation, "en").text == "121/83\u00a0mmHg"


def test_results_of_one_test_are_one_trend_oldest_first() -> None:
    (trend,) = trends.group_into_trends(
        [r for r in cast() if r["resourceType"] == "Observation"], "en"
    )

    assert [point.value for point in trend.points] == [12.1, 13.0, 13.456]
    assert trend.newest.text.text == "13.46\u00a0g/dL"


@pytest.mark.parametrize("known", [{"lab-2025"}, {"lab-2024", "lab-2025"}])
def test_two_values_are_no_trend(known: set[str]) -> None:
    (trend,) = trends.group_into_trends([r for r in cast() if r["id"] in known], "en")

    assert charts.draw_sparkline(trend) == ""
    assert charts.draw_chart(trend, "x", ("a", "b")) == ""


def test_results_that_never_change_are_a_level_line() -> None:
    same = [
        {"id": str(n), "resourceType": "Observation", "code": {"text": "x"},
         "effectiveDateTime": day, "valueQuantity": {"value": 7}}
        for n, day in enumerate(("2024", "2025-02", "2026-01-01", "2026-01-01T10:00:00+08:00"))
    ]  # fmt: skip

    drawn = charts.draw_sparkline(trends.group_into_trends(same, "en")[0])

    assert {place.split(",")[1] for place in drawn.split('points="')[1].split('"')[0].split()} == {
        "20.0"
    }


@pytest.mark.parametrize("seed", range(50))
def test_an_axis_has_rounded_values_around_what_is_drawn(seed: int) -> None:
    chance = random.Random(seed)
    low = chance.uniform(-1, 1) * 10 ** chance.randrange(-3, 6)
    high = low + chance.random() * 10 ** chance.randrange(-3, 6) + 0.001

    ticks = charts.axis_ticks(low, high)

    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 7
    steps = {round(after - before, 9) for before, after in itertools.pairwise(ticks)}
    assert len(steps) == 1
    assert f"{steps.pop():e}"[:3].rstrip("0.") in ("1", "2", "2.5", "5")


def test_no_label_of_a_chart_comes_near_a_point() -> None:
    values = (3.1, 7.2, 5.0, 3.62)
    results_ = [
        {"id": str(n), "resourceType": "Observation", "code": {"text": "x"},
         "effectiveDateTime": f"2026-01-0{n + 1}", "valueQuantity": {"value": v, "unit": "mmol/L"},
         "referenceRange": [{"high": {"value": 5.1}}]}
        for n, v in enumerate(values)
    ]  # fmt: skip
    (trend,) = trends.group_into_trends(results_, "en")

    drawn = charts.draw_chart(trend, "x", ("1 Jan", "4 Jan"))

    points = re.findall(r'<circle class="[\w-]+" cx="([\d.]+)" cy="([\d.]+)"', drawn)
    texts = re.findall(r'<text class="ehr-plot-text" x="(\d+)" y="([\d.]+)"', drawn)
    assert len(points) == 4
    assert min(float(x) for x, _ in points) > 54
    # Left of the points, above or below them.
    assert all(int(x) <= 54 or float(y) < 20 or float(y) > 180 for x, y in texts)
    assert ">mmol/L<" in drawn
    # A range of one limit goes on to the edge.
    assert re.search(r'class="ehr-plot-range" x="64" y="[\d.]+" width="360" height="[1-9]', drawn)


def test_a_label_in_a_drawing_cannot_become_markup() -> None:
    (trend,) = trends.group_into_trends(
        [r for r in cast() if r["resourceType"] == "Observation"], "en"
    )

    assert "<b>" not in charts.draw_chart(trend, '"><b>', ("a", "b"))


@pytest.mark.parametrize(
    ("consents", "public", "private"),
    [
        ([], True, False),
        ([consent("1", actor=to("st-b"))], True, True),
        ([consent("1", actor=to("st-b"), period={"end": "2026-11-22T07:59:59Z"})], True, False),
        ([consent("1", actor=to("st-b"), period={"start": "2026-11-23"})], True, False),
        ([{**consent("1", actor=to("st-b")), "status": "inactive"}], True, False),
        ([consent("1")], True, True),
        ([consent("1"), consent("2", type="deny", actor=to("st-b"))], True, False),
        ([consent("1", type="deny", actor=to("ha-a"))], False, False),
        ([consent("1", type="deny", actor=to("ha-a"), **{"class": [{"code": "x"}]})], True, False),
    ],
)
def test_a_switch_shows_whether_the_organisation_sees_the_record(
    consents: list[dict[str, Any]], public: bool, private: bool
) -> None:
    joined = [*consents, JOINING]
    shown = {s.provider.id: s.is_on for s in sharing_switches([PUBLIC, PRIVATE], joined, NOW)}

    assert not any(s.is_on for s in sharing_switches([PUBLIC, PRIVATE], consents, NOW))
    assert shown == {"ha-a": public, "st-b": private}


def test_off_closes_an_organisation_that_everyone_includes() -> None:
    everyone = [consent("1"), JOINING]

    (written,) = stop_sharing(PRIVATE, everyone, "pat-1", NOW)

    assert written["provision"]["type"] == "deny"
    on = [*everyone, {**written, "id": "2"}]
    assert not sharing_switches([PRIVATE], on, NOW)[0].is_on
    (lifted,) = start_sharing(PRIVATE, on, "pat-1", NOW)
    assert lifted["status"] == "inactive"


def test_off_ends_every_consent_for_the_organisation() -> None:
    two = [consent("1", actor=to("st-b")), consent("2", actor=to("st-b"))]

    written = stop_sharing(PRIVATE, two, "pat-1", NOW)

    assert [(c["id"], c["status"]) for c in written] == [("1", "inactive"), ("2", "inactive")]


def test_a_rule_with_more_conditions_is_shown_but_not_described_as_something_else() -> None:
    rule = consent("1", type="deny", code=[{"text": "x"}], **{"class": [{"code": "x"}]})

    (shown,) = active_restrictions([rule])

    assert not shown.is_plain
