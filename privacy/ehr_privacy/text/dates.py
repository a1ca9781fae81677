"""Dates in a text, in the forms that notes have, and moving them by a patient's shift."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache

from ehr_privacy.text.alternatives import join_alternatives
from ehr_privacy.text.entities import Entity
from ehr_privacy.text.folding import narrow_text
from ehr_privacy.text.lexicon import load_lexicon

__all__ = ["TextDate", "find_dates", "shift_date"]

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


@dataclass(frozen=True)
class TextDate:
    """A date as a text has it; without a year, or without a day, it cannot be moved."""

    day: int | None
    month: int
    year: int | None
    # Writes another date in the same form.
    write: Callable[[date], str]


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
    """Return a date of a text moved by days, in the same form; None if it cannot be moved.

    >>> shift_date("29/11/2026", 7), shift_date("3 Dec 26", -7), shift_date("Dec 2026", 7)
    ('06/12/2026', '26 Nov 26', None)
    >>> shift_date("二零二六年十一月二十九日", 7)
    '二〇二六年十二月六日'
    """
    found = _parse(narrow_text(text))
    if found is None or found.day is None or found.year is None:
        return None
    try:
        moved = date(found.year, found.month, found.day) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return found.write(moved)


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


def _han_text(number: int) -> str:
    digits = "〇一二三四五六七八九"
    if number < 10:
        return digits[number]
    if number > 99:
        return "".join(digits[int(character)] for character in str(number))
    tens, ones = divmod(number, 10)
    return ("" if tens == 1 else digits[tens]) + "十" + (digits[ones] if ones else "")


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


def _parse(text: str) -> TextDate | None:
    for name, form in _FORMS.items():
        match = form.fullmatch(text)
        if match is not None:
            return _read_match(name, match)
    return None


def _read_match(name: str, match: re.Match[str]) -> TextDate | None:
    parts = match.groupdict()
    is_han = name.startswith("han")
    number = _han_number if is_han else int
    day = number(parts["d"]) if parts.get("d") else None
    year = number(parts["y"]) if parts.get("y") else None
    is_short = year is not None and year < 100
    if year is not None and is_short:
        # As people write it: no record is of the twenties of the next century, or before 1930.
        year += 2000 if year < 30 else 1900
    if parts.get("mon"):
        month = next(
            n for n, full in enumerate(_MONTHS, 1) if full[:3].lower() == parts["mon"][:3].lower()
        )
    else:
        month = number(parts["m"])

    def write(moved: date) -> str:
        return _write(name, match, moved, is_short)

    return TextDate(day, month, year, write)


def _write(name: str, match: re.Match[str], moved: date, is_short: bool) -> str:
    parts = match.groupdict()
    year = f"{moved.year % 100:02}" if is_short else str(moved.year)
    if name.startswith("han"):
        if not parts["m"].isdigit():
            year_text = _han_text(moved.year) if not parts["y"].isdigit() else year
            return f"{year_text}年{_han_text(moved.month)}月{_han_text(moved.day)}{parts['mark']}"
        return f"{year}年{moved.month}月{moved.day}{parts['mark']}"
    if name == "compact":
        return moved.strftime("%Y%m%d")
    if name in ("ymd", "dmy"):
        values = {"y": year, "m": f"{moved.month:02}", "d": f"{moved.day:02}"}
        return str(parts["sep"]).join(values[part] for part in name)
    full = _MONTHS[moved.month - 1]
    month = full if len(parts["mon"]) > 3 and parts["mon"].lower() != "sept" else full[:3]
    if name == "d_month_y":
        return f"{moved.day}{parts['s1'] or ' '}{month}{parts['s2'] or ' '}{year}"
    return f"{month} {moved.day}{parts['s2'] or ', '}{year}"
