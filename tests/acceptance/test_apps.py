"""Apps in the house: approved by a steward, started from a record, taken back by the person."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from ehr_cli.sample import synthea_source
from ehr_cli.sample.overlay import sample_resources
from tests.lib.barriers import barriers
from tests.lib.gateway import consent
from tests.lib.people import Person
from tests.lib.server import LEFT_OUT, Platform, platform

pytestmark = pytest.mark.browser

# A girl of the sample, four years old, with 17 heights and weights and 15 head circumferences.
CHILD = "652c84f4-e6e8-c035-bc51-79c54e4f1cbd"
HOSPITAL = {
    "role": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType",
                         "code": "IRCP"}]},
    "reference": {"reference": "Organization/st-gabriel"},
}  # fmt: skip
CENTILES = """async () => {
  const { centileOf } = await import("/smart-apps/growth-chart/growth.js");
  const answer = await fetch("/smart-apps/growth-chart/cdc-2000.json");
  const { tables } = await answer.json();
  const of = (measure, sex, age, value) => centileOf(measure, tables[sex], { age, value });
  return [
    of("weight", "male", 0, 2.355450986), of("weight", "male", 0, 4.446488308),
    of("height", "female", 0, 49.28639612), of("head", "male", 48, 50),
  ];
}"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Serve the platform with the child's record, shared with one hospital."""
    child = (
        resource
        for resource in sample_resources()
        if synthea_source.patient_of(resource) == CHILD and resource["resourceType"] not in LEFT_OUT
    )
    provision = {"type": "permit", "actor": [HOSPITAL]}
    choices = (
        consent("joining-girl", "joining", patient=CHILD),
        consent("sharing-girl", "sharing", patient=CHILD, provision=provision),
    )
    folder = tmp_path_factory.mktemp("apps")
    with platform(folder, patients=1, more=chain(child, choices)) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def approved(chromium: Browser, served: Platform) -> None:
    """Approve the app for clinicians and patients, as a steward does."""
    steward = Person(chromium, served)
    steward.log_in_by_password("steward.ng")
    steward.go("/apps/review")
    page = steward.page
    expect(page.locator("main")).to_contain_text("Waits for a decision")
    page.get_by_text("Decide").first.click()
    page.get_by_label("Clinicians, from an open record").check()
    page.get_by_label("Patients, for their own record").check()
    page.get_by_label("Reason").fill("Shows what the record has; reads two types.")
    assert (steward.sideways(), barriers(steward)) == (0, [])
    steward.click(page.get_by_role("button", name="Approve", exact=True))
    expect(page.locator("main")).to_contain_text("Approved")
    steward.leave()


def _allow(person: Person) -> None:
    """Allow the app what it asks for, and wait for its page."""
    person.page.get_by_role("button", name="Allow", exact=True).click()
    person.page.wait_for_url("**/smart-apps/growth-chart/index.html")


def test_a_clinician_starts_the_growth_chart_from_a_childs_record(
    chromium: Browser, served: Platform, tmp_path: Path
) -> None:
    doctor = Person(chromium, served, keeps_policy=True)
    page = doctor.page
    doctor.log_in_by_password("dr.wong")
    doctor.go(f"/patients/{CHILD}")
    work = page.get_by_role("navigation", name="Work on this record")
    doctor.click(work.get_by_role("link", name="Apps"))
    doctor.click(page.get_by_role("button", name="Start"))
    asked = "Read: test results and measurements (vital signs, height and weight)"
    expect(page.locator("main")).to_contain_text(asked)
    _allow(doctor)

    rows = page.locator("#values tbody tr")
    expect(rows).to_have_count(17)
    expect(page.locator("#banner")).to_contain_text("female, born 2021-10-21")
    expect(page.locator("svg circle.child")).to_have_count(17)
    # The address keeps no code that somebody could take up again.
    assert "?" not in page.url
    page.get_by_role("button", name="Head circumference").click()
    expect(rows).to_have_count(15)
    # CDC's own printed 3rd, 97th and 50th centile; and no table for a head of four years.
    low, high, middle, none = page.evaluate(CENTILES)
    assert [round(value, 3) for value in (low, high, middle)] == [3, 97, 50]
    assert none is None
    assert doctor.sideways() == 0
    doctor.picture(tmp_path, "growth")
    assert doctor.outside() == []

    doctor.go("/apps")
    doctor.click(page.get_by_role("button", name="Take away access"))
    expect(page.locator("main")).to_contain_text("No app has your permission now.")
    doctor.leave()


def test_a_patient_opens_an_app_and_its_pages_have_no_barriers(
    chromium: Browser, served: Platform
) -> None:
    patient = Person(chromium, served, size="phone", language="zh-HK")
    page = patient.page
    patient.log_in_by_eid(served.patient.hkid)
    patient.go("/apps")
    expect(page.get_by_role("link", name="開啟應用程式")).to_be_visible()
    assert (patient.sideways(), barriers(patient)) == (0, [])

    page.get_by_role("link", name="開啟應用程式").click()
    page.locator("button[value=allow]").click()
    page.wait_for_url("**/smart-apps/growth-chart/index.html")

    expect(page.locator("#measures button")).to_have_count(4)
    expect(page.locator("h1")).to_have_text("生長曲線圖")
    # A grown-up is compared with no child.
    expect(page.locator("#message")).to_contain_text("參考資料至 20 歲為止")
    expect(page.locator("svg polyline.centile")).to_have_count(0)
    assert (patient.sideways(), barriers(patient)) == (0, [])
    patient.leave()
