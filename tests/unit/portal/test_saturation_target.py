"""A target of the saturation of one's own is said on every page as on the chart."""

from __future__ import annotations

from typing import Any

import pytest

from ehr_portal.record.usual_ranges import UsualRanges
from tests.lib.portal_house import PortalHouse, portal
from tests.unit.portal.test_news2 import decision

__all__ = ["portal"]

Resource = dict[str, Any]
WITHIN = "own target of 88 to 92"


def saturation(value: float, day: str = "2026-11-20") -> Resource:
    return {
        "resourceType": "Observation",
        "id": f"spo2-{day}",
        "meta": {"versionId": "1"},
        "subject": {"reference": "Patient/pat-1"},
        "status": "final",
        "category": [{"coding": [{"code": "vital-signs"}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "59408-5"}]},
        "effectiveDateTime": f"{day}T09:00:00+08:00",
        "valueQuantity": {"value": value, "unit": "%", "code": "%"},
    }


def put(portal: PortalHouse, *resources: Resource) -> None:
    for resource in resources:
        portal.fake.resources[resource["resourceType"], resource["id"]] = resource


PAGES = [
    "record/measurements",
    "record/item/Observation/spo2-2026-11-20",
    "record/trend/spo2-2026-11-20",
]


@pytest.mark.parametrize("who", ["patient", "doctor"])
@pytest.mark.parametrize("page", PAGES)
def test_section_item_and_trend_hold_it_against_the_persons_own_target(
    portal: PortalHouse, who: str, page: str
) -> None:
    put(portal, saturation(90))
    browser = portal.log_in(who)
    path = f"/{page}" if who == "patient" else f"/{page}".replace("/record", "/patients/pat-1")
    assert "elow what is usual for adults" in browser.get(path).text.replace("Low", "low")

    about = {
        "subject": {"reference": "Patient/pat-1"},
        "id": "scale",
        "resourceType": "Observation",
    }
    put(portal, {**decision("2", "2026-11-19T09:00:00+08:00"), **about})

    shown = browser.get(path).text
    assert WITHIN in shown
    assert "usual for adults" not in shown


def flag_of(value: float, *decisions: tuple[float, bool]) -> tuple[str, str] | None:
    usual = UsualRanges("1950-01-01", decisions)
    flag = usual.flag(saturation(value), "2026-11-20T09:00:00+08:00", "en")
    return None if flag is None else (flag.level, flag.word.text)


@pytest.mark.parametrize(
    ("value", "level"),
    [(83, "strong"), (84, "attention"), (87, "attention"), (88, "expected"), (92, "expected")],
)
def test_below_the_target_is_said_by_how_far(value: float, level: str) -> None:
    found = flag_of(value, (1.0, True))

    assert found is not None
    assert found[0] == level
    assert "own target of 88 to 92" in found[1]


def test_above_the_target_nothing_is_said_since_it_depends_on_oxygen() -> None:
    assert flag_of(97, (1.0, True)) is None


def test_the_newest_decision_before_the_measurement_holds() -> None:
    later = 4_000_000_000.0
    usual = flag_of(90)

    assert usual is not None
    assert "usual for adults" in usual[1]
    assert flag_of(90, (1.0, True), (2.0, False)) == usual
    assert flag_of(90, (later, True)) == usual
    assert flag_of(90, (1.0, True), (later, False)) != usual


def test_no_page_without_a_saturation_asks_for_the_decision(portal: PortalHouse) -> None:
    browser = portal.log_in("patient")
    portal.fake.asked.clear()

    browser.get("/record/results")

    assert not [one for one in portal.fake.asked if "spo2-scale" in str(one.url)]
