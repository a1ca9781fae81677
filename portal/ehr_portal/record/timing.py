"""FHIR Timing in words: how often, when, on which days, for how long (R4 datatypes, Timing).

A code such as BID means the institution's own times and stays "twice a day"; nothing is turned
into hours of the clock that the record does not name.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from babel.dates import get_day_names

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import LANGUAGE_BY_TAG, N_, localizer_for
from ehr_portal.record.display import (
    Phrase,
    Text,
    compose,
    concept_text,
    join_phrases,
    list_separator,
)

# By unit of UCUM: several times in one, once in several, several times in several; `period` is a
# number, or two.
_RATES = {
    "s": (
        N_("%(times)s a second"),
        N_("every %(period)s seconds"),
        N_("%(times)s every %(period)s seconds"),
    ),
    "min": (
        N_("%(times)s a minute"),
        N_("every %(period)s minutes"),
        N_("%(times)s every %(period)s minutes"),
    ),
    "h": (
        N_("%(times)s an hour"),
        N_("every %(period)s hours"),
        N_("%(times)s every %(period)s hours"),
    ),
    "d": (
        N_("%(times)s a day"),
        N_("every %(period)s days"),
        N_("%(times)s every %(period)s days"),
    ),
    "wk": (
        N_("%(times)s a week"),
        N_("every %(period)s weeks"),
        N_("%(times)s every %(period)s weeks"),
    ),
    "mo": (
        N_("%(times)s a month"),
        N_("every %(period)s months"),
        N_("%(times)s every %(period)s months"),
    ),
    "a": (
        N_("%(times)s a year"),
        N_("every %(period)s years"),
        N_("%(times)s every %(period)s years"),
    ),
}
# A length of time: one, and several.
_LENGTHS = {
    "s": (N_("1 second"), N_("%(number)s seconds")),
    "min": (N_("1 minute"), N_("%(number)s minutes")),
    "h": (N_("1 hour"), N_("%(number)s hours")),
    "d": (N_("1 day"), N_("%(number)s days")),
    "wk": (N_("1 week"), N_("%(number)s weeks")),
    "mo": (N_("1 month"), N_("%(number)s months")),
    "a": (N_("1 year"), N_("%(number)s years")),
}
# HL7 v3 TimingEvent and FHIR's EventTiming.
_EVENTS = {
    "MORN": N_("in the morning"),
    "MORN.early": N_("early in the morning"),
    "MORN.late": N_("late in the morning"),
    "NOON": N_("at noon"),
    "AFT": N_("in the afternoon"),
    "AFT.early": N_("early in the afternoon"),
    "AFT.late": N_("late in the afternoon"),
    "EVE": N_("in the evening"),
    "EVE.early": N_("early in the evening"),
    "EVE.late": N_("late in the evening"),
    "NIGHT": N_("at night"),
    "PHS": N_("after going to sleep"),
    "HS": N_("before going to sleep"),
    "WAKE": N_("after waking up"),
    "C": N_("with a meal"),
    "CM": N_("with breakfast"),
    "CD": N_("with lunch"),
    "CV": N_("with dinner"),
    "AC": N_("before a meal"),
    "ACM": N_("before breakfast"),
    "ACD": N_("before lunch"),
    "ACV": N_("before dinner"),
    "PC": N_("after a meal"),
    "PCM": N_("after breakfast"),
    "PCD": N_("after lunch"),
    "PCV": N_("after dinner"),
}
# HL7 v3 GTSAbbreviation, as far as Timing.code names it.
_CODES: dict[str, Resource] = {
    "BID": {"frequency": 2, "period": 1, "periodUnit": "d"},
    "TID": {"frequency": 3, "period": 1, "periodUnit": "d"},
    "QID": {"frequency": 4, "period": 1, "periodUnit": "d"},
    "QD": {"frequency": 1, "period": 1, "periodUnit": "d"},
    "QOD": {"frequency": 1, "period": 2, "periodUnit": "d"},
    "Q1H": {"frequency": 1, "period": 1, "periodUnit": "h"},
    "Q2H": {"frequency": 1, "period": 2, "periodUnit": "h"},
    "Q3H": {"frequency": 1, "period": 3, "periodUnit": "h"},
    "Q4H": {"frequency": 1, "period": 4, "periodUnit": "h"},
    "Q6H": {"frequency": 1, "period": 6, "periodUnit": "h"},
    "Q8H": {"frequency": 1, "period": 8, "periodUnit": "h"},
    "WK": {"frequency": 1, "period": 1, "periodUnit": "wk"},
    "MO": {"frequency": 1, "period": 1, "periodUnit": "mo"},
    "AM": {"when": ["MORN"]},
    "PM": {"when": ["AFT"]},
    "BED": {"when": ["HS"]},
}
# Elements of Timing.repeat that are put into words below.
_KNOWN = frozenset(
    {
        "boundsDuration", "boundsRange", "boundsPeriod", "count", "countMax", "duration",
        "durationMax", "durationUnit", "frequency", "frequencyMax", "period", "periodMax",
        "periodUnit", "dayOfWeek", "timeOfDay", "when", "offset", "id",
    }
)  # fmt: skip
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class NotInWords(ValueError):
    """Part of a structure has no words here, so that the whole must not be told."""


def timing_parts(timing: Resource, language: str) -> dict[str, Phrase]:
    """Return a Timing in words, by what each part says: frequency, days, bounds, ...

    Raise NotInWords where some element would be lost.
    """
    repeat = timing.get("repeat", {})
    if timing.keys() & {"modifierExtension"} or repeat.keys() - _KNOWN:
        raise NotInWords("Timing.repeat")
    code = timing.get("code", {})
    parts: dict[str, Phrase] = {}
    if code and not repeat.keys() & {"frequency", "frequencyMax", "period", "when", "timeOfDay"}:
        parts["frequency"] = _code_phrase(code, language)
    _put(parts, "frequency", _frequency(repeat, language))
    _put(parts, "when", _events(repeat, language))
    _put(parts, "days", _days(repeat, language))
    _put(parts, "times", _times_of_day(repeat, language))
    _put(parts, "duration", _duration(repeat, language))
    _put(parts, "bounds", _bounds(repeat, language))
    _put(parts, "count", _count(repeat, language))
    if timing.get("event"):
        day = localizer_for(language).format_instant
        days = list_separator(language).join(day(event) for event in timing["event"])
        parts["event"] = compose(language, N_("on %(days)s"), days=days)
    return parts


def timing_text(timing: Resource, language: str) -> Phrase:
    """Return a Timing as one phrase; its code as it is written where it has no words."""
    try:
        parts = timing_parts(timing, language)
    except NotInWords:
        return Phrase((concept_text(timing.get("code"), language),))
    return join_phrases(parts.values(), list_separator(language), language)


def length_text(quantity: Resource, language: str) -> Phrase:
    """Return a Duration in words.

    >>> length_text({"value": 7, "code": "d"}, "en").text, length_text({"value": 1, "unit": "h"},
    ... "en").text
    ('7 days', '1 hour')
    """
    return _length(quantity.get("value"), None, _time_unit(quantity), language)


def _length(value: float | None, upper: float | None, unit: str, language: str) -> Phrase:
    if value is None or unit not in _LENGTHS:
        raise NotInWords("Duration")
    one, several = _LENGTHS[unit]
    if value == 1 and upper is None:
        return compose(language, one)
    return compose(language, several, number=number_or_span(value, upper, language))


def _time_unit(quantity: Resource) -> str:
    written = str(quantity.get("code") or quantity.get("unit") or "")
    plural = written.removesuffix("s") if len(written) > 1 else written
    words = {
        "day": "d", "week": "wk", "month": "mo", "year": "a", "hour": "h", "minute": "min",
        "second": "s",
    }  # fmt: skip
    return words.get(plural, written)


def number_or_span(value: float, upper: float | None, language: str) -> str:
    """Return a number, or two as the ends of a span.

    >>> number_or_span(4, 6, "en")
    '4 to 6'
    """
    if upper is None or upper == value:
        return grouped_number(value)
    return compose(
        language,
        N_("%(low)s to %(high)s"),
        low=grouped_number(value),
        high=grouped_number(upper),
    ).text


def grouped_number(value: float) -> str:
    """Return a number exactly, with a comma from 1,000 (ISMP's list of error-prone writing).

    >>> grouped_number(5000), grouped_number(0.125), grouped_number(2.0)
    ('5,000', '0.125', '2')
    """
    # The digits that stand in the JSON: a dose is never rounded.
    text = f"{Decimal(str(value)):,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _put(parts: dict[str, Phrase], name: str, phrase: Phrase | None) -> None:
    if phrase is not None:
        parts[name] = phrase


def _code_phrase(code: Resource, language: str) -> Phrase:
    for coding in code.get("coding", ()):
        repeat = _CODES.get(str(coding.get("code", "")).upper())
        if repeat:
            known = (_frequency(repeat, language), _events(repeat, language))
            return join_phrases((phrase for phrase in known if phrase), ", ", language)
    return Phrase((concept_text(code, language),))


def _frequency(repeat: Resource, language: str) -> Phrase | None:
    if not repeat.keys() & {"frequency", "frequencyMax", "period"}:
        return None
    unit = repeat.get("periodUnit", "")
    frequency, most = repeat.get("frequency"), repeat.get("frequencyMax")
    period, longest = repeat.get("period"), repeat.get("periodMax")
    times = _times(frequency, most, language)
    if period is None:
        return times
    if unit not in _RATES:
        raise NotInWords("Timing.repeat.periodUnit")
    in_one, every, several_in = _RATES[unit]
    if period == 1 and longest is None:
        return compose(language, in_one, times=times)
    number = number_or_span(period, longest, language)
    if frequency in (None, 1) and most is None:
        return compose(language, every, period=number)
    return compose(language, several_in, times=times, period=number)


def _times(frequency: int | None, most: int | None, language: str) -> Phrase:
    if frequency is None and most is not None:
        at_most = _times(most, None, language)
        return compose(language, N_("up to %(times)s"), times=at_most)
    if most is None and frequency in (None, 1):
        return compose(language, N_("once"))
    if most is None and frequency == 2:
        return compose(language, N_("twice"))
    number = number_or_span(frequency or 1, most, language)
    return compose(language, N_("%(number)s times"), number=number)


def _events(repeat: Resource, language: str) -> Phrase | None:
    if "when" not in repeat:
        return None
    unknown = set(repeat["when"]) - set(_EVENTS)
    if unknown:
        raise NotInWords("Timing.repeat.when")
    events = [compose(language, _EVENTS[event]) for event in repeat["when"]]
    phrase = join_phrases(events, list_separator(language), language)
    if "offset" not in repeat:
        return phrase
    offset = _length(repeat["offset"], None, "min", language)
    return compose(language, N_("%(length)s %(when)s"), length=offset, when=phrase)


def _days(repeat: Resource, language: str) -> Phrase | None:
    if "dayOfWeek" not in repeat:
        return None
    names = get_day_names("wide", locale=LANGUAGE_BY_TAG[language].locale)
    if set(repeat["dayOfWeek"]) - set(_DAYS):
        raise NotInWords("Timing.repeat.dayOfWeek")
    days = list_separator(language).join(
        names[_DAYS.index(day)] for day in sorted(repeat["dayOfWeek"], key=_DAYS.index)
    )
    return compose(language, N_("on %(days)s"), days=days)


def _times_of_day(repeat: Resource, language: str) -> Phrase | None:
    if "timeOfDay" not in repeat:
        return None
    # Seconds say nothing in an instruction.
    times = [time[:5] if time[5:] in ("", ":00") else time for time in repeat["timeOfDay"]]
    joined = list_separator(language).join(times)
    return compose(language, N_("at %(times)s"), times=joined)


def _duration(repeat: Resource, language: str) -> Phrase | None:
    if not repeat.keys() & {"duration", "durationMax"}:
        return None
    unit = repeat.get("durationUnit", "")
    shortest, longest = repeat.get("duration"), repeat.get("durationMax")
    if shortest is None:
        length = _length(longest, None, unit, language)
        return compose(language, N_("over at most %(length)s"), length=length)
    length = _length(shortest, longest, unit, language)
    return compose(language, N_("over %(length)s"), length=length)


def _bounds(repeat: Resource, language: str) -> Phrase | None:
    if "boundsDuration" in repeat:
        quantity = repeat["boundsDuration"]
        length = length_text(quantity, language)
        if quantity.get("comparator"):
            raise NotInWords("Timing.repeat.bounds")
        return compose(language, N_("for %(length)s"), length=length)
    if "boundsRange" in repeat:
        low, high = repeat["boundsRange"].get("low", {}), repeat["boundsRange"].get("high", {})
        unit = _time_unit(high or low)
        if low and high and _time_unit(low) == unit:
            length = _length(low.get("value"), high.get("value"), unit, language)
            return compose(language, N_("for %(length)s"), length=length)
        length = length_text(high or low, language)
        message = N_("for at most %(length)s") if high else N_("for at least %(length)s")
        if low and high:
            raise NotInWords("Timing.repeat.bounds")
        return compose(language, message, length=length)
    if "boundsPeriod" in repeat:
        return period_text(repeat["boundsPeriod"], language)
    return None


def period_text(period: Resource, language: str) -> Phrase:
    """Return a Period in words, at the precision it has."""
    shown = {end: date_text(period[end], language) for end in ("start", "end") if end in period}
    if len(shown) == 2:
        message = N_("from %(start)s to %(end)s")
        # One moment is no period.
        if period["start"][:16] == period["end"][:16]:
            return Phrase((Text(shown["start"], language),))
    else:
        message = N_("from %(start)s") if "start" in shown else N_("until %(end)s")
    return compose(language, message, **shown) if shown else Phrase(())


def date_text(value: str, language: str) -> str:
    """Return a FHIR date, dateTime or instant in the reader's language."""
    localizer = localizer_for(language)
    return localizer.format_instant(value) if len(value) > 10 else localizer.format_day(value)


def _count(repeat: Resource, language: str) -> Phrase | None:
    if not repeat.keys() & {"count", "countMax"}:
        return None
    fewest, most = repeat.get("count"), repeat.get("countMax")
    times = _times(fewest, most, language)
    return compose(language, N_("%(times)s in all"), times=times)


def known_events() -> Iterator[str]:
    """Yield the codes of events that have words here."""
    yield from _EVENTS
