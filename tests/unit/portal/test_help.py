"""Help: every page of the patient has a topic, in three languages, and no word is left out."""

from __future__ import annotations

import inspect
import re

import pytest
from fastapi.routing import APIRoute

from ehr_portal.i18n import LANGUAGES
from ehr_portal.pages import load_router
from ehr_portal.web.help_topics import find_help, help_topics
from ehr_portal.web.roles import CarerRequest, NoticeReaderRequest, PatientRequest
from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]

TRADITIONAL = set("紀錄與開關閉醫護閱藥環說讓點擊應該請選擇顯發現過驗結資訊網頁語")
OF_PATIENTS = {PatientRequest, CarerRequest, NoticeReaderRequest}


def patient_pages() -> list[str]:
    """Return the addresses of the pages of patients and carers, from the routes."""
    routes = [route for route in load_router().routes if isinstance(route, APIRoute)]
    return sorted(
        route.path
        for route in routes
        if "GET" in (route.methods or ())
        and not route.path.endswith("{index}")
        and any(
            parameter in OF_PATIENTS
            for parameter in inspect.get_annotations(route.endpoint, eval_str=True).values()
        )
    )


@pytest.mark.parametrize("page", patient_pages())
def test_every_page_of_the_patient_has_help(page: str) -> None:
    address = re.sub(r"\{\w+\}", "x", page)

    assert find_help(address, "en")


def test_every_text_is_there_in_three_languages() -> None:
    by_language = [help_topics(language.tag) for language in LANGUAGES]

    for topics in zip(*by_language, strict=True):
        texts = [
            [t.title, t.about, *(text for w in t.words for text in (w.word, w.means))]
            for t in topics
        ]
        assert len({len(found) for found in texts}) == 1
        assert all(text.strip() for found in texts for text in found)
        _, hant, hans = texts
        assert not [text for text in hant + hans if re.search("[A-Za-z]{2}", text)]
        assert not TRADITIONAL & set("".join(hans))


@pytest.mark.parametrize("language", ["en", "zh-Hant-HK", "zh-Hans"])
def test_a_page_ends_with_what_its_words_mean(portal: PortalHouse, language: str) -> None:
    shown = portal.log_in("patient", language).get("/record/results").text

    topic = find_help("/record/results", language)
    assert topic
    assert all(f"<dt>{word.word}</dt>" in shown for word in topic.words)


def test_help_is_there_without_a_log_in_and_leads_to_each_topic(portal: PortalHouse) -> None:
    index = portal.browser.get("/help").text

    for topic in help_topics("en"):
        assert f'href="/help/{topic.key}"' in index
        assert topic.words[0].word in portal.browser.get(f"/help/{topic.key}").text
    assert portal.browser.get("/help/nothing").status_code == 404


def test_a_clinicians_page_has_no_help_for_patients(portal: PortalHouse) -> None:
    assert 'id="help"' not in portal.log_in("doctor").get("/patients/pat-1").text
