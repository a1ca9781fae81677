"""Three languages: who gets which, nothing untranslated, nothing left in English."""

from __future__ import annotations

import re

import pytest
from babel.messages.catalog import Message

from ehr_portal.i18n import choose_language, localizer_for
from tests.lib.portal_house import PortalHouse, navigation_pages
from tests.lib.texts import CATALOGUES, extract_messages, read_catalogue
from tests.unit.portal.test_who_looked import event

# One word for one thing: what is not to stand beside the word that the pages use.
OTHER_WORDS = {
    "zh_Hant_HK": ("您", "患者", "分享", "共享", "共用", "什麼"),
    "zh_Hans_CN": (
        "您",
        "患者",
        "分享",
        "互通",
        "共用",
        "登出",
        "甚么",
        "间医院",
        "照护者",
        "转诊",
    ),
}
# Names that are the same in every language.
OWN_NAMES = {"eHR", "Commons", "English", "HbA", "eGFR", "ALT", "AST", "Alt", "dL", "ZQ"}
# Formats of files.
OWN_NAMES |= {"FHIR", "JSON", "NDJSON", "PDF", "ZIP"}
PAGES = {
    "patient": ["/record", "/record/results", "/record/problems", "/record/item/Condition/con-1",
                "/sharing", "/who-looked", "/who-looked?mine=1", "/no-such-page"],
    "doctor": ["/patients", "/patients/pat-1", "/patients/nobody", "/record"],
    "steward": ["/quality", "/audit", "/unusual"],
    "researcher": ["/projects", "/projects/catalogue", "/projects/new"],
}  # fmt: skip
# Pages that are named above with more of the cast's data, and those of the bar.
SHOWN = sorted(
    {*((who, path) for who, paths in PAGES.items() for path in paths), *navigation_pages()}
)


def messages() -> set[str]:
    """Return every text that the templates and modules mark for translation."""
    return {message if isinstance(message, str) else message[0] for message in extract_messages()}


def catalogue(name: str) -> dict[str, Message]:
    """Return the messages of a catalogue by their English text."""
    read = read_catalogue(name)
    return {m.id if isinstance(m.id, str) else m.id[0]: m for m in read if m.id}


@pytest.mark.parametrize("name", CATALOGUES)
def test_every_text_is_translated_and_no_translation_is_left_over(name: str) -> None:
    translated = catalogue(name)

    assert set(translated) == messages()
    assert [text for text, m in translated.items() if not all(_strings(m))] == []
    assert [text for text, m in translated.items() if m.fuzzy] == []


@pytest.mark.parametrize("name", CATALOGUES)
def test_a_translation_keeps_the_places_of_its_values(name: str) -> None:
    for text, message in catalogue(name).items():
        for string in _strings(message):
            assert _places(string) == _places(text), text


def test_the_simplified_texts_hold_no_traditional_characters() -> None:
    traditional = set("紀錄與開關閉醫護閱藥環說讓點擊應該請選擇顯發現過驗結資訊網頁語")

    for message in catalogue("zh_Hans_CN").values():
        assert not traditional & set("".join(_strings(message)))


@pytest.mark.parametrize("name", CATALOGUES)
def test_a_thing_has_one_word_in_each_language(name: str) -> None:
    texts = ["".join(_strings(message)) for message in catalogue(name).values()]

    assert [(word, text) for text in texts for word in OTHER_WORDS[name] if word in text] == []


@pytest.mark.parametrize("language", ["zh-Hant-HK", "zh-Hans"])
@pytest.mark.parametrize(("who", "page"), SHOWN)
def test_no_english_is_left_in_a_chinese_page(who: str, page: str, language: str) -> None:
    house = PortalHouse()
    for found in (
        event("21T18:30:00", "dr.b", "MedicationRequest"),
        event("20T18:30:00", "p.pat-1", "Consent"),
    ):
        house.fake.resources[("AuditEvent", found["id"])] = found

    shown = house.log_in(who, language).get(page).text

    assert f'<html lang="{language}">' in shown
    left = set(re.findall(r"[A-Za-z]{2,}", _own_text(shown))) - OWN_NAMES
    assert left == set()


@pytest.mark.parametrize("language", ["zh-Hant-HK", "zh-Hans"])
def test_the_confirmation_is_in_the_readers_language(language: str) -> None:
    house = PortalHouse()
    house.log_in("patient", language)
    house.send("/sharing", "/sharing/organization/st-b", to="off")

    shown = house.browser.get("/sharing").text

    note = re.search(r'banner__heading">(.*?)</p>', shown)
    assert note
    assert "聖乙醫院" in note[1]
    assert not re.search(r"[A-Za-z]", note[1])


@pytest.mark.parametrize(
    ("cookie", "accept", "tag"),
    [
        ("zh-Hans", "en", "zh-Hans"),
        ("made-up", "zh-HK,zh;q=0.8", "zh-Hant-HK"),
        (None, "zh-TW", "zh-Hant-HK"),
        (None, "zh-Hant", "zh-Hant-HK"),
        (None, "zh-Hans-HK", "zh-Hans"),
        (None, "zh", "zh-Hans"),
        (None, "en-GB,zh-HK;q=0.9", "en"),
        (None, "fr;q=1, zh-HK;q=0.2", "zh-Hant-HK"),
        (None, "fr", "en"),
        (None, "zh-HK;q=nonsense", "en"),
        (None, None, "en"),
    ],
)
def test_the_reader_gets_the_language_they_chose_or_their_browser_asks_for(
    cookie: str | None, accept: str | None, tag: str
) -> None:
    assert choose_language(cookie, accept).tag == tag


@pytest.mark.parametrize(
    ("value", "english", "chinese"),
    [
        ("2026-11-22T17:30:00Z", "23 Nov 2026", "2026年11月23日"),
        ("2026-11-22", "22 Nov 2026", "2026年11月22日"),
        ("2026-11", "Nov 2026", "2026年11月"),
        ("2026", "2026", "2026年"),
        ("", "", ""),
        ("nonsense", "", ""),
    ],
)
def test_a_day_is_told_in_hong_kong_at_the_precision_it_has(
    value: str, english: str, chinese: str
) -> None:
    assert localizer_for("en").format_day(value) == english
    assert localizer_for("zh-Hant-HK").format_day(value) == chinese


def test_a_choice_of_language_is_kept_and_leads_back_to_the_page() -> None:
    house = PortalHouse()

    answer = house.browser.get("/language/zh-Hans", params={"back": "/sharing"})

    assert answer.headers["location"] == "/sharing#chosen-language"
    assert '<html lang="zh-Hans">' in house.browser.get("/").text


def _own_text(page: str) -> str:
    # What stands in an element marked as another language is the record's, not the page's.
    body = page[page.index("<title>") :]
    body = re.sub(r'<(\w+)[^>]* lang="en"[^>]*>.*?</\1>', " ", body, flags=re.S)
    labels = " ".join(re.findall(r'aria-label="([^"]*)"', body))
    return re.sub(r"<[^>]*>|&\w+;", " ", body) + labels


def _strings(message: Message) -> tuple[str, ...]:
    string = message.string or ""
    return (string,) if isinstance(string, str) else tuple(string)


def _places(text: str) -> list[str]:
    return sorted(re.findall(r"%\(\w+\)s", text))
