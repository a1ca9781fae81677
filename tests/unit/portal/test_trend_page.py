"""Results of one test over time: drawing, table, period; the address names no test."""

from __future__ import annotations

import re

import pytest

from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]


@pytest.mark.parametrize(("who", "base"), [("patient", "/record"), ("doctor", "/patients/pat-1")])
def test_every_value_is_drawn_and_in_the_table(portal: PortalHouse, who: str, base: str) -> None:
    browser = portal.log_in(who)
    section = browser.get(f"{base}/results").text
    assert f'href="{base}/trend/lab-2025"' in section

    shown = browser.get(f"{base}/trend/lab-2025").text

    assert 'role="img" aria-label="Haemoglobin from 1 Jun 2023 to 1 Jun 2025' in shown
    assert shown.count(f'href="{base}/item/Observation/lab-') == 4
    assert "718-7" not in re.sub(r"<svg.*?</svg>", "", shown)


def test_a_period_is_asked_of_the_gateway(portal: PortalHouse) -> None:
    browser = portal.log_in("patient")
    portal.fake.asked.clear()

    shown = browser.get("/record/trend/lab-2025?period=five-years").text

    (search,) = (r for r in portal.fake.asked if r.url.path == "/fhir/Observation")
    assert search.url.params["date"] == "ge2021-11-22T00:00:00+08:00"
    assert search.url.params["code"] == "http://loinc.org|718-7"
    assert '<span aria-current="page">Five years</span>' in shown


def test_two_values_are_told_and_not_drawn(portal: PortalHouse) -> None:
    del portal.fake.resources[("Observation", "lab-2023")]

    shown = portal.log_in("patient").get("/record/trend/lab-2025").text

    assert "ehr-chart" not in shown
    assert "Fewer than three values make no trend" in shown
    assert "13.46" in shown


def test_a_result_of_another_patient_is_as_good_as_absent(portal: PortalHouse) -> None:
    other = {**portal.fake.resources[("Observation", "lab-2025")], "id": "other"}
    portal.fake.resources[("Observation", "other")] = {
        **other,
        "subject": {"reference": "Patient/pat-2"},
    }

    for who, base in (("patient", "/record"), ("doctor", "/patients/pat-1")):
        answer = PortalHouse.log_in(portal, who).get(f"{base}/trend/other")
        assert answer.status_code == 404


def test_a_unit_that_differs_is_said_to_be_in_the_table_alone(portal: PortalHouse) -> None:
    other = {**portal.fake.resources[("Observation", "lab-2025")], "id": "lab-2022"}
    portal.fake.resources[("Observation", "lab-2022")] = {
        **other,
        "effectiveDateTime": "2022-01-01",
        "valueQuantity": {"value": 131, "unit": "g/L"},
    }

    shown = portal.log_in("patient").get("/record/trend/lab-2025").text

    assert "in another unit, is in the table and not in the drawing" in shown
    assert "131\u00a0g/L" in shown
