"""Chinese pages of the record: what a code says is Chinese, the record's own words stand beside."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser

from ehr_portal.record.sections import SECTIONS
from tests.lib.people import Person
from tests.lib.server import Platform

# Documents and plans have titles that somebody typed: they are shown as they were written.
TYPED_TITLES = frozenset({"documents", "plans"})
HAN = re.compile(r"[\u3400-\u9fff]")
# The titles of rows and of trends, each with whether a part of it is marked as English.
TITLES = """
() => [...document.querySelectorAll(".ehr-line__what > a, main h2")].map(title => [
  title.innerText.trim(), title.querySelector(":scope > [lang='en']:not(.ehr-meta)") !== null])
"""


@pytest.mark.parametrize("language", ["zh-Hant-HK", "zh-Hans"])
def test_every_title_of_the_record_is_in_the_readers_language(
    chromium: Browser, served: Platform, language: str
) -> None:
    patient = Person(chromium, served, language="zh-HK" if "Hant" in language else "zh-CN")
    try:
        patient.log_in_by_eid(served.patient.hkid)
        seen: dict[str, int] = {}
        for section in SECTIONS:
            patient.go(f"/record/{section.key}")
            titles = patient.page.evaluate(TITLES)
            english = [text for text, marked in titles if marked or not HAN.search(text)]
            assert section.key in TYPED_TITLES or english == [], section.key
            seen[section.key] = len(titles)

        assert patient.page.locator("html").get_attribute("lang") == language
        for key in ("problems", "medicines", "procedures", "results", "appointments"):
            assert seen[key] > 1, seen
        patient.go("/record/medicines")
        originals = patient.page.locator("main li .ehr-meta[lang='en']").all_inner_texts()
        assert any("Oral Tablet" in text for text in originals), originals[:5]
    finally:
        patient.leave()
