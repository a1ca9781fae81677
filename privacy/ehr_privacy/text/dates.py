"""Dates in a text, in the forms that notes have, and moving them by a patient's shift."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from functools import cache

from ehr_privacy.text.alternatives import join_alternatives
from ehr_privacy.text.entities import Entity
from ehr_privacy.text.folding import narrow_text
from ehr_privacy.text.lexicon import load_lexicon

__all__ = ["find_dates", "shift_date"]

_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)[a-z]{0,7}"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_NUMBER = r"(?:0?[1-9]|1[0-2])"
_YEAR = r"(?:19|20)\d\d"
_HAN_YEAR = r"(?:[〇零一二三四五六七八九]{4}|(?:19|20)?\d\d)"
_HAN_DAY = r"(?:[廿卅一二三四五六七八九十]{1,3}|\d{1,2})"
_HAN_DIGITS = {"〇": 0, "零": 0, **{digit: n for n, digit in enumerate("一二三四五六七八九", 1)}}


def find_dates(narrow: str) -> Iterator[Entity]:
    """Yield the dates of a narrow text: days and months of a year, and holidays.

    A year alone is none.
    """
    for form in _FORMS.values():
        for match in form.finditer(narrow):
            yield Entity(*match.span(), "DATE", 0.95)
    for match in _DAY_OF_MONTH.finditer(narrow):
        yield Entity(*match.span("date"), "DATE", 0.6)
    for match in _holidays().finditer(narrow):
        yield Entity(*match.span(), "DATE", 0.8)


def shift_date(text: str, days: int) -> str | None:
    """Return a date of a text moved by days, in ISO 8601; None where the day is not known.

    >>> shift_date("29/11/2026", 7), shift_date("3 Dec 26", -7), shift_date("Dec 2026", 7)
    ('2026-12-06', '2026-11-26', None)
    >>> shift_date("二零二六年十一月二十九日", 7)
    '2026-12-06'
    """
    day = _parse(narrow_text(text))
    try:
        return None if day is None else (day + timedelta(days=days)).isoformat()
    except OverflowError:
        return None


def _han_number(text: str) -> int:
    """Return a number below a hundred, or the digits of a year.

    >>> _han_number("二十九"), _han_number("十"), _han_number("二零二六"), _han_number("廿一")
    (29, 10, 2026, 21)
    """
    if text.isdigit():
        return int(text)
    text = text.replace("廿", "二十").replace("卅", "三十")
    if "十" not in text:
        return int("".join(str(_HAN_DIGITS[character]) for character in text))
    tens, _, ones = text.partition("十")
    return 10 * _HAN_DIGITS.get(tens, 1) + _HAN_DIGITS.get(ones, 0)


_FORMS: Mapping[str, re.Pattern[str]] = {
    "ymd": re.compile(
        rf"(?<![\d./-])(?P<y>{_YEAR})(?P<sep>[-/.])(?P<m>{_NUMBER})(?P=sep)(?P<d>{_DAY})(?![\d/])"
    ),
    "dmy": re.compile(
        rf"(?<![\d./-])(?P<d>{_DAY})(?P<sep>[-/.])(?P<m>{_NUMBER})(?P=sep)(?P<y>{_YEAR}|\d\d)"
        r"(?![\d/]|\.\d)"
    ),
    "compact": re.compile(
        r"(?<![A-Za-z0-9./-])(?P<y>(?:19|20)\d\d)(?P<m>0[1-9]|1[0-2])"
        r"(?P<d>0[1-9]|[12]\d|3[01])(?![A-Za-z0-9]|[./-]\d)"
    ),
    "d_month_y": re.compile(
        rf"(?<![A-Za-z0-9./])(?P<d>{_DAY})(?P<ord>st|nd|rd|th)?(?P<s1>[ -]?)(?:of )?"
        rf"(?P<mon>{_MONTH})\b"
        rf"(?:\.?(?P<s2>,? ?|-)'?(?P<y>{_YEAR}|\d\d)(?![\d:]|\.\d| ?[a-z%]))?",
        re.IGNORECASE,
    ),
    "month_d_y": re.compile(
        rf"(?<![A-Za-z0-9./])(?P<mon>{_MONTH})\.? (?P<d>{_DAY})(?P<ord>st|nd|rd|th)?(?![\d/.])"
        rf"(?:(?P<s2>,? )(?P<y>{_YEAR}))?(?!\d)",
        re.IGNORECASE,
    ),
    "month_y": re.compile(
        rf"(?<![A-Za-z0-9./])(?:early|mid|late)?[ -]?(?P<mon>{_MONTH})\.?,?[ -]?"
        rf"(?P<y>{_YEAR})(?!\d)",
        re.IGNORECASE,
    ),
    "m_y": re.compile(rf"(?<![\d./-])(?P<m>0[1-9]|1[0-2])/(?P<y>{_YEAR})(?![\d/])"),
    "han": re.compile(
        rf"(?<!\d)(?:(?P<y>{_HAN_YEAR}) ?年 ?)(?P<m>{_HAN_DAY}) ?月"
        rf"(?: ?(?P<d>{_HAN_DAY}) ?(?P<mark>[日号]))?"
    ),
    "han_day": re.compile(
        rf"(?<![\d年个])(?P<m>{_HAN_DAY}) ?月 ?(?P<d>{_HAN_DAY}) ?(?P<mark>[日号])"
    ),
}


# 3/12 may be a fraction (three of twelve months), so a word must tell that it is a date.
_DAY_OF_MONTH = re.compile(
    rf"(?:\b(?:on|since|from|till|until|dated|date|fu|f/u|at|adm|admitted|by|of)[: ]{{1,2}}"
    rf"|[于在至到])(?P<date>{_DAY}/{_NUMBER})(?![\d/])",
    re.IGNORECASE,
)


@cache
def _holidays() -> re.Pattern[str]:
    lexicon = load_lexicon()
    latin = lexicon.list_words("places", "holidays")
    chinese = [narrow_text(day) for day in lexicon.list_words("places", "holidays_chinese")]
    return re.compile(
        rf"(?<![A-Za-z])(?:{join_alternatives(latin)})(?![A-Za-z])|{join_alternatives(chinese)}"
    )


def _parse(text: str) -> date | None:
    for name, form in _FORMS.items():
        match = form.fullmatch(text)
        if match is not None:
            return _read_match(name, match)
    return None


def _read_match(name: str, match: re.Match[str]) -> date | None:
    parts = match.groupdict()
    number = _han_number if name.startswith("han") else int
    if not parts.get("d") or not parts.get("y"):
        return None
    day, year = number(parts["d"]), number(parts["y"])
    if year < 100:
        # As people write it: no record is of the twenties of the next century, or before 1930.
        year += 2000 if year < 30 else 1900
    if parts.get("mon"):
        month = next(
            n for n, full in enumerate(_MONTHS, 1) if full[:3].lower() == parts["mon"][:3].lower()
        )
    else:
        month = number(parts["m"])
    try:
        return date(year, month, day)
    except ValueError:
        return None
