"""Search in the record: in the reader's language and the record's; no word in an address or log."""

from __future__ import annotations

import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_fhir.search_parameters import parameters_of
from ehr_portal.record.record_search import (
    CODE_PARAMS,
    MAX_QUERY_WORDS,
    build_searches,
    parse_words,
)
from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]


def search(portal: PortalHouse, words: str, language: str = "en") -> str:
    """Log in, search, and return the page of results."""
    browser = portal.log_in("patient", language)
    address = portal.send("/search", "/search", words=words).headers["location"]
    assert re.fullmatch(r"/search\?words=[\w-]+", address)
    shown: str = browser.get(address).text
    return shown


def test_a_word_of_the_record_is_found_and_marked(portal: PortalHouse) -> None:
    shown = search(portal, "rare")

    assert "<mark>Rare</mark>" in shown
    assert 'id="found-problems"' in shown
    assert "Lisinopril" not in shown
    # What the record says stays text.
    assert "&lt;b&gt;" in shown


@pytest.mark.parametrize(("words", "language"), [("血紅素", "zh-Hant-HK"), ("血红", "zh-Hans")])
def test_a_word_of_the_readers_language_finds_what_the_record_has_as_a_code(
    portal: PortalHouse, words: str, language: str
) -> None:
    shown = search(portal, words, language)

    assert f"<mark>{words}</mark>" in shown
    assert shown.count("/record/item/Observation/lab-") == 3


def test_the_words_stand_in_no_address_and_no_log(
    portal: PortalHouse, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    shown = search(portal, "Geheimwort")

    assert "Nothing was found." in shown
    assert not any("eheimwort" in str(request.url).lower() for request in portal.fake.asked)
    assert "eheimwort" not in caplog.text.lower()
    assert not re.findall(r'(?:href|action|src)="[^"]*eheimwort', shown, re.IGNORECASE)


def test_words_of_another_session_find_nothing(portal: PortalHouse) -> None:
    portal.log_in("patient")
    address = portal.send("/search", "/search", words="rare").headers["location"]
    portal.browser = portal.new_browser()

    assert "<mark>" not in portal.log_in("patient").get(address).text


def test_without_a_word_nothing_is_asked(portal: PortalHouse) -> None:
    portal.log_in("patient")
    portal.fake.asked.clear()

    assert portal.send("/search", "/search", words=' "(),- ').headers["location"] == "/search"
    assert not [r for r in portal.fake.asked if r.method == "POST"]


def test_each_parameter_is_one_of_the_types_it_is_asked_of() -> None:
    for name, types in CODE_PARAMS.items():
        for resource_type in types:
            assert name.partition(".")[0] in parameters_of(resource_type)


@pytest.mark.parametrize(
    "typed", ["pain", "a b c d e f g h i j", "痛", "OR NOT AND", "it's co-pay"]
)
def test_a_query_stays_within_what_the_gateway_takes(typed: str) -> None:
    for wanted in build_searches(parse_words(typed)):
        content = wanted.params.get("_content", "")
        assert len(re.findall(r"\w+", content.replace(" OR ", " "))) <= MAX_QUERY_WORDS + 8
        assert "(" not in content
        assert content.count('"') % 2 == 0


@given(st.text(alphabet="_-'. a1血　Ｂ²/\\\"*()|%", max_size=30))
def test_every_word_has_a_letter_or_a_digit(typed: str) -> None:
    for word in parse_words(typed):
        assert word[0].isalnum() and word[-1].isalnum(), word
