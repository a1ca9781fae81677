"""Languages of the pages: which one a reader gets, its texts, its dates and numbers.

Catalogues are read from their .po files at start, so nothing has to be compiled or kept in step.
"""

from __future__ import annotations

import gettext
import io
from datetime import date, datetime, time
from functools import cache, lru_cache
from importlib.resources import files

from babel.dates import format_date, format_datetime, format_time
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal

from ehr_fhir.jurisdiction import JURISDICTION, Language

LANGUAGES = JURISDICTION.languages
LANGUAGE_BY_TAG = {language.tag: language for language in LANGUAGES}


def N_(message: str) -> str:
    """Mark a text for the catalogues; it is translated where it is shown."""
    return message


def choose_language(cookie: str | None, accept_language: str | None) -> Language:
    """Return the language of the reader's cookie, else the best of Accept-Language (RFC 9110).

    >>> choose_language(None, "zh-TW,zh;q=0.9,en;q=0.5").tag
    'zh-Hant-HK'
    >>> choose_language(None, "fr, zh-CN;q=0.4").tag
    'zh-Hans'
    """
    if cookie in LANGUAGE_BY_TAG:
        return LANGUAGE_BY_TAG[cookie]
    for tag in _parse_accept_language(accept_language or ""):
        language = JURISDICTION.match_language(tag)
        if language:
            return language
    return JURISDICTION.default_language


class Localizer:
    """Texts, dates and numbers in one language; times are of the jurisdiction's zone."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.translations = _load_catalogue(language.catalogue)

    def translate(self, message: str) -> str:
        """Return the translation of a text marked with N_."""
        # gettext's translation of the empty text is the catalogue's header.
        return self.translations.gettext(message) if message else ""

    def format_day(self, value: str | date | None) -> str:
        """Return the day of a FHIR date, at the precision it has; empty if it is none.

        >>> localizer = localizer_for("en")
        >>> [localizer.format_day(value) for value in ("2026-11-22", "2026-11", "2026", "nonsense")]
        ['22 Nov 2026', 'Nov 2026', '2026', '']
        """
        if isinstance(value, str) and len(value) in (4, 7):
            return self._format_partial_date(value)
        day = _parse_fhir_date(value) if isinstance(value, str) else value
        if day is None:
            return ""
        # A date-time stands for its day in the zone it was parsed to.
        return _format_day(day.date() if isinstance(day, datetime) else day, self.language)

    def format_time(self, value: str) -> str:
        """Return the time of day of a FHIR instant; empty for a date without a time."""
        moment = _parse_fhir_date(value)
        if not isinstance(moment, datetime):
            return ""
        zone = JURISDICTION.zone
        return format_time(moment, "HH:mm", tzinfo=zone, locale=self.language.locale)

    def format_instant(self, value: str) -> str:
        """Return day and time of a FHIR instant."""
        return f"{self.format_day(value)} {self.format_time(value)}".strip()

    def format_short_instant(self, value: str) -> str:
        """Return day and time without the year, for what is of these days.

        >>> localizer_for("en").format_short_instant("2026-11-28T14:00:00+08:00")
        '28 Nov 14:00'
        """
        moment = _parse_fhir_date(value)
        if not isinstance(moment, datetime):
            return self.format_day(value)
        pattern = "M月d日 HH:mm" if self._is_chinese else "d MMM HH:mm"
        return format_datetime(
            moment, pattern, tzinfo=JURISDICTION.zone, locale=self.language.locale
        )

    def format_number(self, value: float) -> str:
        """Return a number with at most two decimals."""
        return format_decimal(round(value, 2), locale=self.language.locale)

    def format_percent(self, share: float) -> str:
        """Return a share of 1 as a percentage; only a full share is 100, however near it is.

        >>> localizer_for("en").format_percent(0.99999)
        '99.9%'
        """
        percent = min(share * 100, 99.9) if share < 1 else 100.0
        return f"{format_decimal(round(percent, 1), locale=self.language.locale)}%"

    @property
    def _is_chinese(self) -> bool:
        return self.language.tag.startswith("zh")

    def _format_partial_date(self, value: str) -> str:
        if len(value) == 4:
            return f"{value}年" if self._is_chinese else value
        first_day = date.fromisoformat(f"{value}-01")
        pattern = "y年M月" if self._is_chinese else "MMM y"
        return format_datetime(first_day, pattern, locale=self.language.locale)


@cache
def localizer_for(tag: str) -> Localizer:
    """Return the localizer of a language, read once."""
    return Localizer(LANGUAGE_BY_TAG[tag])


def day_start(day: date) -> str:
    """Return the first instant of a day in the jurisdiction's time zone, as a FHIR dateTime.

    >>> day_start(date(2026, 1, 1))
    '2026-01-01T00:00:00+08:00'
    """
    return datetime.combine(day, time(), JURISDICTION.zone).isoformat()


def has_time_of_day(fhir_date: str) -> bool:
    """Return whether a FHIR date says more than the day.

    >>> has_time_of_day("2026-11-28T14:00:00+08:00"), has_time_of_day("2026-11-28")
    (True, False)
    """
    return len(fhir_date) > len("2026-11-28")


def fhir_timestamp(fhir_date: str) -> float:
    """Return a FHIR date of any precision as seconds, at its first instant; 0 where there is none.

    >>> fhir_timestamp("2026-01-01T00:00:00Z") > fhir_timestamp("2026")
    True
    """
    first_day = {4: f"{fhir_date}-01-01", 7: f"{fhir_date}-01"}.get(len(fhir_date), fhir_date)
    try:
        if len(first_day) == len("1970-01-01"):
            first_day = day_start(date.fromisoformat(first_day))
        moment = datetime.fromisoformat(first_day)
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=JURISDICTION.zone)).timestamp()


# A page of results has hundreds of dates, and Babel takes some ten microseconds for each. Chosen:
# a few decades of days, in three languages.
@lru_cache(maxsize=32_768)
def _format_day(day: date, language: Language) -> str:
    pattern = "long" if language.tag.startswith("zh") else "d MMM y"
    return format_date(day, pattern, locale=language.locale)


def _load_catalogue(catalogue: str) -> gettext.NullTranslations:
    # The texts in the code are the catalogue of English.
    if not catalogue:
        return gettext.NullTranslations()
    source = files("ehr_portal") / "locale" / catalogue / "portal.po"
    compiled = io.BytesIO()
    with source.open("rb") as stream:
        write_mo(compiled, read_po(stream, locale=catalogue))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def _parse_accept_language(header: str) -> list[str]:
    """Return the tags of an Accept-Language header in lower case, the most wanted first."""
    tags: list[tuple[float, str]] = []
    for item in header.split(","):
        tag, _, quality = item.strip().partition(";q=")
        try:
            tags.append((float(quality or 1), tag.lower()))
        except ValueError:
            # Of a malformed header the rest still counts.
            continue
    return [tag for _, tag in sorted(tags, key=lambda item: -item[0])]


def local_date(moment: datetime) -> date:
    """Return the day that a moment has in the jurisdiction, whatever its zone.

    >>> local_date(datetime.fromisoformat("2026-11-27T17:00:00+00:00")).isoformat()
    '2026-11-28'
    """
    return moment.astimezone(JURISDICTION.zone).date()


def _parse_fhir_date(value: str) -> date | datetime | None:
    """Return a day, or an instant in the jurisdiction's zone; None if it is neither."""
    try:
        if len(value) == 10:
            return date.fromisoformat(value)
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.astimezone(JURISDICTION.zone) if moment.tzinfo else moment
