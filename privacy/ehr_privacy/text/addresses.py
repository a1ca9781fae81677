"""Addresses in English and Chinese: flats, floors, buildings, streets and areas side by side."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Literal

from ehr_privacy.text.alternatives import join_alternatives
from ehr_privacy.text.entities import Entity
from ehr_privacy.text.folding import narrow_text
from ehr_privacy.text.lexicon import load_lexicon

__all__ = ["find_addresses"]

_GAP = re.compile(r"[ \t]{0,2}[,，、]?[ \t]{0,2}(?:\n[ \t]{0,4})?")
# A unit is of an address only beside a place; so floors of wards and blocks of nerves stay.
_Form = tuple[Literal["place", "unit"], re.Pattern[str]]
_NUMBER = r"[A-Z]?\d{1,4}[A-Z]?|[A-Z]"


def find_addresses(narrow: str) -> Iterator[Entity]:
    """Yield the addresses of a narrow text, each whole, and the areas that stand alone."""
    yield from _find_by_forms(narrow, _english_forms())
    yield from _find_by_forms(narrow, _chinese_forms())


def _find_by_forms(narrow: str, forms: Sequence[_Form]) -> Iterator[Entity]:
    parts = sorted(
        {
            (*match.span(), kind == "place")
            for kind, form in forms
            for match in form.finditer(narrow)
        }
    )
    for start, end, is_place in _join_parts(narrow, parts):
        if is_place:
            yield Entity(start, end, "ADDRESS", 0.8)


def _join_parts(narrow: str, parts: list[tuple[int, int, bool]]) -> list[tuple[int, int, bool]]:
    """Join parts that overlap or that a gap alone divides."""
    joined: list[tuple[int, int, bool]] = []
    for start, end, is_place in parts:
        if joined:
            first, last, was_place = joined[-1]
            if start <= last or _GAP.fullmatch(narrow, last, start):
                joined[-1] = (first, max(last, end), was_place or is_place)
                continue
        joined.append((start, end, is_place))
    return joined


@cache
def _english_forms() -> tuple[_Form, ...]:
    lexicon = load_lexicon()
    buildings = "|".join(lexicon.list_words("places", "buildings"))
    streets = "|".join(lexicon.list_words("places", "streets"))
    # A region alone stays: de-identified records have it too.
    regions = set(lexicon.list_words("places", "regions"))
    areas = join_alternatives(lexicon.areas - regions)
    capital = r"[A-Z][\w'’]*"
    return (
        (
            "unit",
            re.compile(
                rf"\b(?:(?:Flat|Flt|FLAT|Rm|RM|Room|ROOM|Unit|UNIT|Suite|suite|Apt|Shop|Block|BLOCK"
                rf"|Blk|Tower|House|Phase|flat|room)\.? ?(?:{_NUMBER})"
                rf"|(?:\d{{1,2}}|[GLU]|LG|UG)/?F\b|\d{{1,2}}(?:st|nd|rd|th) (?:[Ff]loor|[Ff]lr)"
                rf"|(?:No\.? ?)?\d{{1,4}}[A-Z]?(?:-\d{{1,4}})?)(?![\w/]|\.\d)"
            ),
        ),
        (
            "place",
            re.compile(
                rf"\b(?:{capital}[ ]){{1,4}}(?:{buildings}|{buildings.upper()})\b(?: \d{{1,2}}\b)?"
            ),
        ),
        (
            "place",
            re.compile(
                rf"\b(?:No\.? ?)?\d{{1,4}}[A-Z]?(?:-\d{{1,4}}[A-Z]?)?,? (?:{capital}[ ]){{1,4}}"
                rf"(?:{streets}|{streets.upper()})\b\.?"
                r"(?: (?:East|West|North|South|Central)\b)?"
            ),
        ),
        (
            "place",
            re.compile(
                rf"\b(?:{capital}[ ]){{1,4}}(?:Road|Street|Avenue|Lane|Praya|Crescent)\b"
                r"(?: (?:East|West|North|South|Central)\b)?"
            ),
        ),
        ("place", re.compile(rf"(?<![\w-])(?:{areas}|{areas.upper()})(?! Hospital| Clinic)(?!\w)")),
        ("unit", re.compile(rf"(?<!\w)(?:{join_alternatives(regions)})(?!\w)")),
        ("unit", re.compile(r"(?<!\w)(?:N\.?T\.?|KLN|Kln|HK|H\.K\.)(?!\w)")),
    )


@cache
def _chinese_forms() -> tuple[_Form, ...]:
    lexicon = load_lexicon()
    regions = lexicon.fold_words("places", "regions_chinese")
    areas = join_alternatives(set(lexicon.areas_chinese) - regions)
    # What begins a place and what comes before one are told apart by words of the sentence.
    character = r"[^\W\da-zA-Z_住于址在至到往由从送的及与和是了被去来回行经沿]"
    digits = r"(?:\d{1,4}[A-Z]?|[A-Z]\d{0,3}|[一二三四五六七八九十百零〇]{1,4})"
    return (
        ("place", re.compile(rf"(?:{areas})区?")),
        (
            "unit",
            re.compile(
                rf"{digits} ?(?:字楼|楼|座|室|号|期|单位)(?:[A-Z](?![A-Za-z])室?)?"
                rf"|第{digits}座|地下|地库|天台|{join_alternatives(regions)}"
            ),
        ),
        (
            "place",
            re.compile(
                narrow_text(
                    rf"{character}{{1,5}}(?:新邨|邨|屋苑|屋邨|花園|廣場|大廈|大樓|豪庭|山莊|新村)"
                    rf"|{character}{{2,4}}(?:苑|閣|樓|軒|村|臺|台|居|舍)(?= ?(?:{digits}|第))"
                    rf"|{character}{{1,4}}(?:大道|道|街|路|徑|里|巷)(?:東|西|南|北|中)?"
                    rf"(?= ?{digits} ?號)"
                )
            ),
        ),
    )
