"""The words of a resource, and the language that asks for them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_fhir.errors import Invalid, TooCostly
from ehr_fhir.index.full_text import PHRASE_BREAK, extract_full_text, tokenize
from ehr_fhir.search.filters import MAX_VALUES, parse_filter
from ehr_fhir.search.full_text_query import MAX_WORDS, Conjunction, Phrase, parse_full_text_query


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Müller's FOLLOW-UP, ＣＴ", "mullers follow up ct"),
        ("慢性B型肝炎", "慢性 性 b 型肝 肝炎 炎"),
        ("高血壓。糖尿", "高血 血压 压 糖尿 尿"),
        ("かゼ", "かセ セ"),
        ("5.4 mmol/L", "5 4 mmol l"),
        ("snake_case", "snake case"),
        ("!?-*\"'()&|:<>", ""),
        ("x" * 100, "x" * 32),
    ],
)
def test_texts_are_cut_into_folded_words(text: str, words: str) -> None:
    assert " ".join(tokenize(text)) == words


@given(st.text())
def test_words_hold_nothing_that_a_database_could_read_as_a_sign(text: str) -> None:
    for word in tokenize(text):
        assert word.isascii() <= word.isalnum()
        assert not set(word) & set(" '\"\\:*&|!<>()-_¶\0")
        assert len(word) <= 32


def narrative(html: str) -> str:
    div = f'<div xmlns="http://www.w3.org/1999/xhtml">{html}</div>'
    return extract_full_text(
        {"resourceType": "Basic", "text": {"status": "generated", "div": div}}
    ).narrative


def test_a_narrative_is_read_without_its_tags_block_by_block() -> None:
    html = '<p title="no">Sodium <b>H</b>igh &amp; on<br/>again</p><!-- no --><p>&#34880;</p>'

    assert narrative(html) == f"sodium high on {PHRASE_BREAK} again {PHRASE_BREAK} 血"


def test_content_is_what_is_written_for_people() -> None:
    resource: dict[str, Any] = {
        "resourceType": "Patient",
        "id": "identity",
        "meta": {"profile": ["http://example.org/profile"], "tag": [{"display": "Tagged"}]},
        "text": {"status": "generated", "div": "<div>narrative</div>"},
        "contained": [{"resourceType": "Organization", "id": "o", "name": "Inner"}],
        "extension": [
            {"url": "http://example.org/x", "valueString": "extended"},
            {"url": "http://example.org/y", "valueCode": "code"},
        ],
        "identifier": [{"system": "http://example.org", "value": "A123", "type": {"text": "Card"}}],
        "name": [{"use": "official", "family": "Chan", "given": ["Ka", "Ming"],
                  "_given": [None, {"extension": [{"url": "u", "valueString": "嘉"}]}]}],
        "gender": "female",
        "birthDate": "1980-02-03",
        "photo": [{"contentType": "image/png", "data": "QUJDRA==", "title": "Portrait"}],
        "generalPractitioner": [{"reference": "Practitioner/p", "display": "Dr Lee"}],
        "contact": [{"name": {"text": "Chan"}}],
    }  # fmt: skip

    words = extract_full_text(resource)

    assert words.narrative == "narrative"
    said = ["tagged", "inner", "extended", "card", "chan", "ka", "ming", "嘉", "portrait", "dr lee"]
    assert words.content == f" {PHRASE_BREAK} ".join(said)


def test_very_long_texts_are_cut_to_what_every_database_holds() -> None:
    many = extract_full_text(
        {"resourceType": "Basic", "code": {"text": "no " * 500 + "end"}}
    ).content
    long = extract_full_text(
        {"resourceType": "Basic", "code": {"text": " ".join(map(str, range(20000)))}}
    )
    wide = extract_full_text(
        {"resourceType": "Basic", "code": {"text": " ".join(f"{n:030}" for n in range(7000))}}
    )

    assert many.split().count("no") == 120
    assert many.split()[500] == "end"
    assert len(long.content.split()) == 8000
    assert len(wide.content) < 90_000


def phrase(text: str, **more: bool) -> Phrase:
    return Phrase(tuple(text.split()), **more)


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("Acute asthma", [Conjunction((phrase("acute"), phrase("asthma")))]),
        ("acute AND asthma", [Conjunction((phrase("acute"), phrase("asthma")))]),
        ('"acute asthma"', [Conjunction((phrase("acute asthma"),))]),
        ("follow-up", [Conjunction((phrase("follow up"),))]),
        ("fish & chips", [Conjunction((phrase("fish"), phrase("chips")))]),
        ("a b OR c", [Conjunction((phrase("a"), phrase("b"))), Conjunction((phrase("c"),))]),
        ("a -b NOT c", [Conjunction((phrase("a"),), (phrase("b"), phrase("c")))]),
        ('-"b c" a', [Conjunction((phrase("a"),), (phrase("b c"),))]),
        ("or not and", [Conjunction((phrase("or"), phrase("not"), phrase("and")))]),
        ('"OR"', [Conjunction((phrase("or"),))]),
        ("card*", [Conjunction((phrase("card", is_prefix=True),))]),
        ("血", [Conjunction((phrase("血", is_prefix=True),))]),
        ("血壓", [Conjunction((phrase("血压"),))]),
        ("高血壓", [Conjunction((phrase("高血 血压"),))]),
        ('"高 血壓"', [Conjunction((phrase("高 血压"),))]),
        ('"high 血"', [Conjunction((phrase("high 血", is_prefix=True),))]),
        ('"血壓 high"', [Conjunction((phrase("血压 压 high"),))]),
        ('"a") OR (*', None),
    ],
)
def test_a_text_is_understood(text: str, groups: list[Conjunction] | None) -> None:
    if groups is None:
        with pytest.raises(Invalid):
            parse_full_text_query(text)
        return
    assert list(parse_full_text_query(text)) == groups


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('secret "open', "quotation"),
        ("-secret", "leave out"),
        ("NOT secret", "leave out"),
        ("secret NOT", "after `NOT`"),
        ("secret NOT OR other", "before `OR`"),
        ("OR secret", "before `OR`"),
        ("secret OR", "a word to search"),
        ("secret OR -other", "leave out"),
        ("(secret)", "parentheses"),
        ("se*", "letters"),
        ("...", "a word to search"),
        ('""', "a word to search"),
    ],
)
def test_what_is_not_understood_is_refused_without_its_words(text: str, says: str) -> None:
    with pytest.raises(Invalid, match=says) as caught:
        parse_filter("Patient", "_content", text)

    assert str(caught.value).startswith("`_content`: ")
    assert "secret" not in str(caught.value)


def test_too_many_words_are_too_costly() -> None:
    enough = " ".join(["word"] * MAX_WORDS)

    assert parse_filter("Patient", "_text", enough)
    for text in (f"{enough} more", f"{enough},more", "a," * MAX_VALUES + "a"):
        with pytest.raises(TooCostly, match="`_text`"):
            parse_filter("Patient", "_text", text)


@pytest.mark.parametrize("name", ["_text:contains", "_content:missing", "_content:exact"])
def test_it_takes_no_modifier(name: str) -> None:
    with pytest.raises(Invalid, match="no modifier"):
        parse_filter("Patient", name, "true")


def test_it_is_no_comparison_of_a_filter() -> None:
    from ehr_fhir.search.filter_expression import parse_expression

    with pytest.raises(Invalid, match="beside `_filter`") as caught:
        parse_expression("Patient", "_content co secret")

    assert "secret" not in str(caught.value)
