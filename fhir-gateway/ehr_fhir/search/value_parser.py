"""The values of search parameters: prefix, system, escape (R4 §3.1.1.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import inf, nextafter

from ehr_fhir.dates import date_interval
from ehr_fhir.errors import Invalid
from ehr_fhir.geo_positions import DEFAULT_DISTANCE, chord_length, unit_vector
from ehr_fhir.references import local_target, strip_version
from ehr_fhir.search.full_text_query import Conjunction, parse_full_text_query
from ehr_fhir.search.number_intervals import number_interval
from ehr_fhir.search_parameters import SearchParameter
from ehr_fhir.string_folding import shorten_for_index
from ehr_fhir.units import CANONICAL_SYSTEM, MAX_UNIT_CHARACTERS, canonical_unit

__all__ = ["PREFIXES", "SearchValue", "parse_value", "split_unescaped"]

PREFIXES = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
_PREFIX = re.compile(r"^(eq|ne|gt|lt|ge|le|sa|eb|ap)(?=[-+.\d])")
_URL = re.compile(r"^[a-z][a-z0-9+.-]*:")


@dataclass(frozen=True)
class SearchValue:
    """One value: which fields are set follows from the parameter's type and modifier.

    token: system (None any, "" none), code. string, uri: code. date: low, high (ms). number and
    quantity: exact, low, high, and system, code of the unit. reference: system is the type, code
    the id; or url. With `:in`, url names the value set. near: point, and high, the largest chord.
    _text and _content: conjunctions of words, one of which must hold.
    """

    prefix: str = "eq"
    system: str | None = None
    code: str | None = None
    url: str | None = None
    low: float = 0
    high: float = 0
    exact: float = 0
    point: tuple[float, float, float] | None = None
    conjunctions: tuple[Conjunction, ...] = ()


def split_unescaped(text: str, separator: str) -> list[str]:
    r"""Split at separators that no backslash escapes, leaving the escapes in.

    >>> split_unescaped(r"a\,b,c", ",")
    ['a\\,b', 'c']
    """
    parts, current, escaped = [], "", False
    for letter in text:
        if letter == separator and not escaped:
            parts.append(current)
            current = ""
        else:
            current += letter
        escaped = letter == "\\" and not escaped
    return [*parts, current]


def parse_value(parameter: SearchParameter, modifier: str | None, text: str) -> SearchValue:
    """Parse one value of a search parameter."""
    if text == "":
        raise Invalid("a value between commas is empty.")
    if parameter.is_full_text:
        return SearchValue(conjunctions=parse_full_text_query(_unescape(text)))
    if parameter.type == "date":
        return _date(text)
    if parameter.type == "number":
        return _number(text)
    if parameter.type == "quantity":
        return _quantity(text)
    if parameter.type == "special":
        return _near(text)
    if parameter.type == "token" or modifier == "identifier":
        return _TOKENS.get(modifier or "", _token)(text)
    if parameter.type == "reference":
        return _reference(parameter, modifier, _unescape(text))
    return SearchValue(code=_unescape(text))


def _date(text: str) -> SearchValue:
    prefix, rest = _prefixed(text)
    # In a URL that a client did not encode, the + of a time zone arrives as a space.
    low, high = date_interval(rest.replace(" ", "+"))
    return SearchValue(prefix, low=low, high=high)


def _number(text: str) -> SearchValue:
    prefix, rest = _prefixed(text)
    return _numeric(prefix, *map(float, number_interval(rest)))


def _numeric(prefix: str, exact: float, low: float, high: float) -> SearchValue:
    # Of a number of many digits the limits may round to the number itself, which must stay inside.
    return SearchValue(prefix, low=low, high=max(high, nextafter(exact, inf)), exact=exact)


def _quantity(text: str) -> SearchValue:
    number, *unit = split_unescaped(text, "|")
    if len(unit) not in (0, 2):
        raise Invalid("a quantity has the form `number` or `number|system|code`.")
    system, code = (_unescape(part) for part in unit) if unit else ("", "")
    base = canonical_unit(system, code)
    if base is None:
        value = _number(number)
        names = [shorten_for_index(part, MAX_UNIT_CHARACTERS) or None for part in (system, code)]
        return replace(value, system=names[0], code=names[1])
    prefix, rest = _prefixed(number)
    value = _numeric(prefix, *map(base.to_base_units, number_interval(rest)))
    return replace(value, system=CANONICAL_SYSTEM, code=base.unit)


def _token(text: str) -> SearchValue:
    parts = [_unescape(part) for part in split_unescaped(text, "|")]
    if len(parts) == 1:
        return SearchValue(code=parts[0])
    if len(parts) > 2 or parts == ["", ""]:
        raise Invalid("a token has the form `code`, `system|code`, `system|` or `|code`.")
    return SearchValue(system=shorten_for_index(parts[0]), code=parts[1] or None)


def _reference(parameter: SearchParameter, modifier: str | None, text: str) -> SearchValue:
    if modifier == "below":
        if not _URL.match(text):
            raise Invalid("`:below` takes a canonical address, with a version or without.")
        return SearchValue(url=text)
    if found := local_target(text):
        if modifier and modifier != found.type:
            raise Invalid("the type in the value is not the type in the modifier.")
        return SearchValue(system=found.type, code=found.id)
    if _URL.match(text):
        return SearchValue(url=shorten_for_index(strip_version(text)))
    if "/" in text:
        raise Invalid("a reference has the form `id`, `Type/id` or an absolute address.")
    only = next(iter(parameter.targets)) if len(parameter.targets) == 1 else None
    if parameter.code == "patient":
        # Its definitions name other targets too, and then take those that are patients.
        only = "Patient"
    return SearchValue(system=modifier or only, code=text)


def _of_type(text: str) -> SearchValue:
    parts = [_unescape(part) for part in split_unescaped(text, "|")]
    if len(parts) != 3 or not all(parts):
        raise Invalid(
            "an identifier of a type has the form `system|code|value`, of the type first."
        )
    # As ehr_fhir.index.converters writes the type of an identifier.
    return SearchValue(system=shorten_for_index(f"{parts[0]}|{parts[1]}"), code=parts[2])


def _text(text: str) -> SearchValue:
    return SearchValue(code=_unescape(text))


def _value_set(text: str) -> SearchValue:
    return SearchValue(url=_unescape(text))


def _coded(text: str) -> SearchValue:
    parts = [_unescape(part) for part in split_unescaped(text, "|")]
    if len(parts) != 2 or not all(parts):
        raise Invalid("a code and where it stands have the form `system|code`.")
    return SearchValue(system=parts[0], code=parts[1])


_TOKENS = {
    **dict.fromkeys(("in", "not-in"), _value_set),
    **dict.fromkeys(("above", "below"), _coded),
    "of-type": _of_type,
    "text": _text,
}


def _near(text: str) -> SearchValue:
    parts = split_unescaped(text, "|")
    try:
        latitude, longitude, *rest = [float(part) for part in parts[:3] if part]
    except ValueError:
        rest = None
    if rest is None or len(parts) > 4 or "" in parts[:2]:
        raise Invalid("a place has the form `latitude|longitude|distance|unit`.")
    limit = chord_length(rest[0] if rest else DEFAULT_DISTANCE, "".join(parts[3:]) or "km")
    return SearchValue(point=unit_vector(latitude, longitude), high=limit)


def _prefixed(text: str) -> tuple[str, str]:
    found = _PREFIX.match(text)
    return (found[1], text[2:]) if found else ("eq", text)


def _unescape(text: str) -> str:
    return re.sub(r"\\([\\,|$])", r"\1", text)
