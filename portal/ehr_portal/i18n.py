"""Languages of the pages: which one a reader gets, its texts, its dates and numbers.

Catalogues are read from their .po files at start, so nothing has to be compiled or kept in step.
"""

from __future__ import annotations

import gettext
import io
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_datetime, format_time
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal

HONG_KONG = ZoneInfo("Asia/Hong_Kong")


@dataclass(frozen=True)
class Language:
    """One language of the portal: its tag on the page, its locale, its own name."""

    tag: str
    locale: str
    name: str
    catalogue: str | None


LANGUAGES = (
    Language("en", "en_HK", "English", None),
    Language("zh-Hant-HK", "zh_Hant_HK", "繁體", "zh_Hant_HK"),
    Language("zh-Hans", "zh_Hans_CN", "简体", "zh_Hans_CN"),
)
BY_TAG = {language.tag: language for language in LANGUAGES}


def N_(message: str) -> str:
    """Mark a text for the catalogues; it is translated where it is shown."""
    return message


def choose(cookie: str | None, accept: str | None) -> Language:
    """Return the language the reader chose, else the best of what the browser asks for.

    >>> choose(None, "zh-TW,zh;q=0.9,en;q=0.5").tag
    'zh-Hant-HK'
    >>> choose(None, "fr, zh-CN;q=0.4").tag
    'zh-Hans'
    """
    if cookie in BY_TAG:
        return BY_TAG[cookie]
    for _, tag in sorted(_wanted(accept or ""), key=lambda pair: -pair[0]):
        found = _match(tag)
        if found:
            return found
    return LANGUAGES[0]


class Words:
    """Texts, dates and numbers in one language."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.translations = _translations(language.catalogue)

    def text(self, message: str) -> str:
        """Return the translation of a text marked with N_."""
        return self.translations.gettext(message) if message else ""

    def day(self, value: str | date | None) -> str:
        """Return a day as it is written here; a FHIR partial date keeps its precision."""
        if isinstance(value, str) and len(value) in (4, 7):
            return self._partial(value)
        moment = _moment(value) if isinstance(value, str) else value
        if moment is None:
            return ""
        return format_date(moment, self._pattern("d MMM y", "long"), locale=self.language.locale)

    def time(self, value: str) -> str:
        """Return the time of day in Hong Kong."""
        moment = _moment(value)
        if not isinstance(moment, datetime):
            return ""
        return format_time(moment, "HH:mm", tzinfo=HONG_KONG, locale=self.language.locale)

    def moment(self, value: str) -> str:
        """Return day and time in Hong Kong."""
        return f"{self.day(value)} {self.time(value)}".strip()

    def number(self, value: float) -> str:
        """Return a number with at most two decimals."""
        return format_decimal(round(value, 2), locale=self.language.locale)

    def percent(self, share: float) -> str:
        """Return a share of 1 as a percentage that never rounds a fault away."""
        shown = min(share * 100, 99.9) if share < 1 else 100.0
        return f"{format_decimal(round(shown, 1), locale=self.language.locale)}%"

    def _partial(self, value: str) -> str:
        if len(value) == 4:
            return f"{value}年" if self.language.catalogue else value
        first = date.fromisoformat(f"{value}-01")
        pattern = "y年M月" if self.language.catalogue else "MMM y"
        return format_datetime(first, pattern, locale=self.language.locale)

    def _pattern(self, latin: str, han: str) -> str:
        return han if self.language.catalogue else latin


@cache
def words(tag: str) -> Words:
    """Return the texts of a language."""
    return Words(BY_TAG[tag])


@cache
def _translations(catalogue: str | None) -> gettext.NullTranslations:
    if catalogue is None:
        return gettext.NullTranslations()
    source = files("ehr_portal") / "locale" / catalogue / "portal.po"
    compiled = io.BytesIO()
    with source.open("rb") as stream:
        write_mo(compiled, read_po(stream, locale=catalogue))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def _wanted(accept: str) -> list[tuple[float, str]]:
    wanted = []
    for part in accept.split(","):
        tag, _, quality = part.strip().partition(";q=")
        try:
            wanted.append((float(quality or 1), tag.lower()))
        except ValueError:
            continue
    return wanted


def _match(tag: str) -> Language | None:
    if tag.startswith("zh"):
        hant = any(part in ("hant", "hk", "tw", "mo") for part in tag.split("-"))
        return BY_TAG["zh-Hant-HK" if hant and "hans" not in tag else "zh-Hans"]
    return BY_TAG["en"] if tag.startswith("en") else None


def _moment(value: str) -> date | datetime | None:
    try:
        if len(value) == 10:
            return date.fromisoformat(value)
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.astimezone(HONG_KONG) if moment.tzinfo else moment
