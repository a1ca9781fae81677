"""Languages of the pages: which one a reader gets, its texts, its dates and numbers.

Catalogues are read from their .po files at start, so nothing has to be compiled or kept in step.
"""

from __future__ import annotations

import gettext
import io
from datetime import date, datetime, time
from functools import cache
from importlib.resources import files

from babel.dates import format_date, format_datetime, format_time
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal

from ehr_fhir.jurisdiction import JURISDICTION, Language

LANGUAGES = JURISDICTION.languages
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
        found = JURISDICTION.match_language(tag)
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
        """Return the time of day in the jurisdiction."""
        moment = _moment(value)
        if not isinstance(moment, datetime):
            return ""
        return format_time(moment, "HH:mm", tzinfo=JURISDICTION.zone, locale=self.language.locale)

    def moment(self, value: str) -> str:
        """Return day and time in the jurisdiction."""
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
            return f"{value}年" if self.language.tag.startswith("zh") else value
        first = date.fromisoformat(f"{value}-01")
        pattern = "y年M月" if self.language.tag.startswith("zh") else "MMM y"
        return format_datetime(first, pattern, locale=self.language.locale)

    def _pattern(self, latin: str, han: str) -> str:
        return han if self.language.tag.startswith("zh") else latin


@cache
def words(tag: str) -> Words:
    """Return the texts of a language."""
    return Words(BY_TAG[tag])


def day_start(day: date) -> str:
    """Return the first instant of a day in the jurisdiction's time zone, as a FHIR dateTime.

    >>> day_start(date(2026, 1, 1))
    '2026-01-01T00:00:00+08:00'
    """
    return datetime.combine(day, time(), JURISDICTION.zone).isoformat()


@cache
def _translations(catalogue: str) -> gettext.NullTranslations:
    if not catalogue:
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


def _moment(value: str) -> date | datetime | None:
    try:
        if len(value) == 10:
            return date.fromisoformat(value)
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.astimezone(JURISDICTION.zone) if moment.tzinfo else moment
