"""A record with a fault: the steward sees what shows it, and decides, by keyboard alone too."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from ehr_cli.commands.lake_access import fetch_program_token
from ehr_etl.data_quality.gateway_client import post_to_gateway
from tests.lib.barriers import inspect_page
from tests.lib.people import Person, Size
from tests.lib.server import Platform

pytestmark = pytest.mark.browser

LANGUAGES: dict[Size, str] = {"desktop": "en", "phone": "zh-Hant-HK", "zoomed": "zh-Hans"}


def tell(served: Platform) -> str:
    """Tell the gateway, as the lake does, of a fault of the story's patient; return the record."""
    record = f"Patient/{served.patient.id}"
    finding = (
        f'[{{"type": "Patient", "id": "{served.patient.id}", "version": 1, "severity": "error",'
        ' "rules": ["no-duplicate-person", "birth-date-plausible"],'
        ' "elements": ["birthDate", "deceasedDateTime", "maritalStatus"]}]'
    )
    parameters = [
        {"name": "findings", "valueString": finding},
        {"name": "all", "valueBoolean": True},
    ]
    body = {"resourceType": "Parameters", "parameter": parameters}
    with httpx.Client(base_url=served.address) as client:
        token = fetch_program_token(client, served.data, "lake")
        post_to_gateway(client, token, "/fhir/$report-findings", body)
    return record


@pytest.mark.parametrize("size", ["desktop", "phone", "zoomed"])
def test_a_steward_looks_at_a_fault_and_sends_it_back(
    chromium: Browser, served: Platform, tmp_path: Path, size: Size
) -> None:
    record = tell(served)
    steward = Person(chromium, served, size=size, language=LANGUAGES[size])
    steward.log_in_by_password("steward.ng")
    steward.go(f"/language/{LANGUAGES[size]}?back=/findings")

    inspect_page(steward, tmp_path, f"{size}-findings")
    link = steward.page.locator(f"a[href='/findings/{record}']")
    expect(link).to_have_count(1)
    link.focus()
    steward.press("Enter")
    expect(steward.page.locator("#elements + p + dl")).to_be_visible()
    inspect_page(steward, tmp_path, f"{size}-finding")
    # Not the chart: no name, no identity card.
    assert served.patient.hkid not in steward.page.content()
    steward.page.locator("#decision-send-back").focus()
    steward.page.keyboard.press("Space")
    steward.page.locator("#reason").focus()
    steward.page.keyboard.type("Please look at the date of birth in the papers")
    steward.page.locator("main form button").focus()
    steward.press("Enter")
    assert steward.page.url.endswith("/findings")
    inspect_page(steward, tmp_path, f"{size}-decided")
    assert steward.outside() == []
    steward.leave()
